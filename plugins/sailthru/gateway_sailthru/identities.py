"""Identities: e-mail addresses gained and changed, with the profile's history kept."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.sdk import Batch, Call, IdentityChange, Memory, Remember, Skip, User
from gateway_sailthru import calls
from gateway_sailthru.settings import SailthruSettings
from gateway_sailthru.user_keys import find_email, find_extid, has_further_email, normalise_address
from gateway_sailthru.values import hash_json

CREATED = "created"
"""The memory key of the address whose profile was created."""
FURTHER = Skip(reason="further_email", what="email")


def plan_identities(
    changes: tuple[IdentityChange, ...], user: User, batch: Batch, memory: Memory, settings: SailthruSettings
) -> Iterator[Call | Skip | Remember]:
    """Make the changes of address in order; then, if there is reason to, create the profile of the present address."""
    email = find_email(user)
    moves = _list_moves(changes)
    for old, new in moves:
        is_last = new == (moves[-1][1] if isinstance(email, Skip) else email)
        yield calls.find_moved(old, new, create=is_last)
    skips = dict.fromkeys(_list_unused(changes, email, settings))
    if not isinstance(email, Skip) and has_further_email(user, email):
        skips[FURTHER] = None
    yield from skips
    if isinstance(email, Skip):
        if not moves:
            yield email
        return
    if _is_news(changes, email, settings) or _is_unseen(email, batch, memory, settings):
        yield calls.upsert(email, keys=_list_keys(email, user, settings))
        if settings.create_before_events:
            yield Remember(key=CREATED, value=hash_json(email))
    elif not moves:
        yield Skip(reason="unchanged")


def _list_moves(changes: tuple[IdentityChange, ...]) -> list[tuple[str, str]]:
    """Return each change from one address to another, old and new."""
    pairs = (
        (normalise_address(change.old), normalise_address(change.new)) for change in changes if change.type == "email"
    )
    return [(old, new) for old, new in pairs if old and new and old != new]


def _list_unused(changes: tuple[IdentityChange, ...], email: str | Skip, settings: SailthruSettings) -> Iterator[Skip]:
    """Yield a Skip for each change that Sailthru is not sent."""
    for change in changes:
        if change.type == "email":
            new = normalise_address(change.new)
            if new is None:
                is_hashed = change.new is not None and not change.new.is_raw
                reason = "removed" if change.new is None else "hashed" if is_hashed else "invalid"
                yield Skip(reason=f"{reason}_email", what="email")
            elif normalise_address(change.old) is None and new != email:
                yield FURTHER
        elif not _sets_extid(change, settings):
            yield Skip(reason="not_forwarded", what=change.type)


def _list_keys(email: str, user: User, settings: SailthruSettings) -> dict[str, str]:
    """Return the extid, if it is sent, together with the address: a profile found by the extid must have both."""
    extid = find_extid(user, wanted=settings.customer_id_as_extid)
    return {"email": email, **extid} if extid else {}


def _sets_extid(change: IdentityChange, settings: SailthruSettings) -> bool:
    return settings.customer_id_as_extid and change.type == "customer_id" and change.new is not None


def _is_news(changes: tuple[IdentityChange, ...], email: str, settings: SailthruSettings) -> bool:
    """Return whether the changes state an address or extid that Sailthru may not know yet."""
    return any(
        _sets_extid(change, settings)
        or (change.type == "email" and normalise_address(change.old) is None and normalise_address(change.new) == email)
        for change in changes
    )


def _is_unseen(email: str, batch: Batch, memory: Memory, settings: SailthruSettings) -> bool:
    return settings.create_before_events and bool(batch.events) and memory.user.get(CREATED) != hash_json(email)
