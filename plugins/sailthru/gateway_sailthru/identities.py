"""Identities: e-mail addresses gained and changed, the profile's history kept."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.sdk import (
    Batch,
    Call,
    IdentityChange,
    Memory,
    Remember,
    Reply,
    Skip,
    User,
    Verdict,
    delivered,
    rejected,
)
from gateway_sailthru import calls
from gateway_sailthru.addresses import address, address_of, extid_of, has_further
from gateway_sailthru.replies import is_good, is_missing, judge, keys_of
from gateway_sailthru.settings import SailthruSettings
from gateway_sailthru.values import digest

LOOK_UP = "move:look_up"
MOVE = "move:by_sid"
CREATED = "created"
FURTHER = Skip(reason="further_email", what="email")


def plan(
    changes: tuple[IdentityChange, ...], user: User, batch: Batch, memory: Memory, settings: SailthruSettings
) -> Iterator[Call | Skip | Remember]:
    """Changes of address in order; then, where there is cause, the profile of the address that the user has now."""
    email = address_of(user)
    moves = [
        (old, new)
        for change in changes
        if change.type == "email"
        for old, new in ((address(change.old), address(change.new)),)
        if old and new and old != new
    ]
    for old, new in moves:
        last = new == (moves[-1][1] if isinstance(email, Skip) else email)
        yield look_up(old, new, create=last)
    skips = dict.fromkeys(unused(changes, email, settings))
    if not isinstance(email, Skip) and has_further(user, email):
        skips[FURTHER] = None
    yield from skips
    if isinstance(email, Skip):
        if not moves:
            yield email
        return
    if _is_news(changes, email, settings) or _is_unseen(email, batch, memory, settings):
        yield calls.upsert(email, keys=_keys(email, user, settings))
        if settings.create_before_events:
            yield Remember(key=CREATED, value=digest(email))
    elif not moves:
        yield Skip(reason="unchanged")


def unused(changes: tuple[IdentityChange, ...], email: str | Skip, settings: SailthruSettings) -> Iterator[Skip]:
    """A Skip for each change that Sailthru is not told of."""
    for change in changes:
        if change.type == "email":
            new = address(change.new)
            if new is None:
                hashed = change.new is not None and not change.new.is_raw
                reason = "removed" if change.new is None else "hashed" if hashed else "invalid"
                yield Skip(reason=f"{reason}_email", what="email")
            elif address(change.old) is None and new != email:
                yield FURTHER
        elif not _is_extid(change, settings):
            yield Skip(reason="not_forwarded", what=change.type)


def _keys(email: str, user: User, settings: SailthruSettings) -> dict[str, str]:
    """The extid, if it is sent, and with it the address: one that finds a profile by the extid must give it both."""
    extid = extid_of(user, wanted=settings.customer_id_as_extid)
    return {"email": email, **extid} if extid else {}


def _is_extid(change: IdentityChange, settings: SailthruSettings) -> bool:
    return settings.customer_id_as_extid and change.type == "customer_id" and change.new is not None


def _is_news(changes: tuple[IdentityChange, ...], email: str, settings: SailthruSettings) -> bool:
    """Whether the address, or the extid, is one that Sailthru may not know yet."""
    return any(
        _is_extid(change, settings)
        or (change.type == "email" and address(change.old) is None and address(change.new) == email)
        for change in changes
    )


def _is_unseen(email: str, batch: Batch, memory: Memory, settings: SailthruSettings) -> bool:
    return settings.create_before_events and bool(batch.events) and memory.user.get(CREATED) != digest(email)


def look_up(old: str, new: str, *, create: bool) -> Call:
    """Begin a change of address: find the profile's sid by the old one.

    Only then is it safe to repeat: once the address has changed, a change addressed to the old one would make
    a new profile of it. ``create`` says what to do where no profile has the old address: make sure of one that
    has the new address, or (another change follows) nothing.
    """
    return calls.find(old, "email", {"step": LOOK_UP, "old": old, "new": new, "create": create})


def on_looked_up(call: Call, reply: Reply, settings: SailthruSettings) -> Call | Verdict | None:
    """The old address was looked up: give its profile the new one, or see that the new one has a profile."""
    memo = call.memo
    if is_missing(reply):
        return calls.upsert(memo["new"]) if memo["create"] else delivered("already_changed")
    sid = keys_of(reply).get("sid")
    if not isinstance(sid, str):
        return rejected("no_sid") if is_good(reply) else judge(call, reply, settings)
    change = {
        "id": sid,
        "key": "sid",
        "keys": {"email": memo["new"]},
        "keysconflict": "merge",
        "fields": {"keys": 1},
    }
    return calls.request("POST", "user", change, memo={**memo, "step": MOVE})


def on_moved(call: Call, reply: Reply, settings: SailthruSettings) -> Call | Verdict | None:
    """The profile was given its new address: check that it has it; begin again where it went away in between."""
    memo = call.memo
    if is_missing(reply):
        return look_up(memo["old"], memo["new"], create=memo["create"])
    email = str(keys_of(reply).get("email", memo["new"]))
    if email.lower() != memo["new"]:
        return rejected("address_not_changed")
    return judge(call, reply, settings)
