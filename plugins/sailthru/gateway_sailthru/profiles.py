"""Profiles: a user's attributes as the vars of their profile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import msgspec

from gateway.sdk import JSON, AttributeChange, AudienceAttribute, Batch, Call, Memory, Remember, Skip, User
from gateway_sailthru import calls
from gateway_sailthru.names import assign_vars, make_var_name
from gateway_sailthru.settings import SailthruSettings
from gateway_sailthru.user_keys import find_email, normalise_address
from gateway_sailthru.values import get_removed_value, hash_json, make_vars, name_list_attribute

OPTOUTS = ("none", "basic", "all", "blast")
PROFILE = "profile"
"""The memory key of the fingerprint of the profile that was last sent."""


def plan_attributes(
    changes: tuple[AttributeChange, ...], user: User, batch: Batch, memory: Memory, settings: SailthruSettings
) -> Iterator[Call | Skip | Remember]:
    """Write the changes alone, or the whole profile unless Sailthru is known to have all the rest of it."""
    email = find_email(user)
    if isinstance(email, Skip):
        yield email
        return
    user, changes, nulls = leave_out_nulls(user, changes)
    changed, lost = split_changes(changes, user)
    whole = {name: tag(value) for name, value in user.attributes.items() if name not in lost} | changed
    known, now = memory.user.get(PROFILE), make_fingerprint(email, whole, settings)
    before = make_fingerprint(_find_previous_email(email, batch), _undo_changes(whole, changes), settings)
    news = changed if known in (now, before) else whole
    if known != now:
        yield Remember(key=PROFILE, value=now)
    if not news and not lost:
        yield from nulls
        yield Skip(reason="unchanged")
        return
    sent, skips = build_vars(news, lost, user, settings)
    skips += nulls
    optout = changed.get(settings.optout_attribute) if settings.optout_attribute else None
    if optout is not None and optout not in OPTOUTS:
        skips.append(Skip(reason="unknown_optout", what=settings.optout_attribute))
        optout = None
    if sent or optout:
        yield calls.upsert(email, vars=sent, optout_email=optout)
    yield from skips


def make_fingerprint(email: str, attributes: dict[str, JSON], settings: SailthruSettings) -> str:
    """Return the hash of a profile, of its address and its vars; it is remembered when the profile is sent."""
    return hash_json([email, make_vars(attributes, settings)[0]])


def _find_previous_email(email: str, batch: Batch) -> str:
    """Return the address before the batch's changes of address, with which a profile keeps its vars."""
    for change in reversed(batch.identity_changes):
        if change.type == "email" and normalise_address(change.new) == email:
            email = normalise_address(change.old) or email
    return email


def _undo_changes(whole: dict[str, JSON], changes: tuple[AttributeChange, ...]) -> dict[str, JSON]:
    """Return the attributes before the changes; one whose old value is not stated is left out."""
    before = dict(whole)
    for change in reversed(changes):
        before.pop(change.name, None)
        if change.old is not None:
            before[change.name] = change.old
    return before


Changes = TypeVar("Changes", AttributeChange, AudienceAttribute)


def leave_out_nulls(user: User, changes: Iterable[Changes]) -> tuple[User, tuple[Changes, ...], list[Skip]]:
    """Return the user and the changes without reserved attributes that are null, and a Skip for each of these names.

    mParticle's reserved attributes ($FirstName) are fields of a profile: a null one is no tag, and says nothing.
    """
    changes = tuple(changes)
    nulls = dict.fromkeys(name for name, value in user.attributes.items() if is_null_reserved(name, value))
    nulls |= dict.fromkeys(
        change.name for change in changes if not change.removed and is_null_reserved(change.name, change.value)
    )
    if not nulls:
        return user, changes, []
    kept = {name: value for name, value in user.attributes.items() if name not in nulls or value is not None}
    usable = tuple(one for one in changes if one.name not in nulls or one.name in kept)
    skips = [Skip(reason="null_reserved", what=name) for name in nulls if name not in kept]
    return msgspec.structs.replace(user, attributes=kept), usable, skips


def is_null_reserved(name: str, value: JSON) -> bool:
    """Return whether an attribute is one of mParticle's reserved ones without a value."""
    return value is None and name.startswith("$")


def split_changes(
    changes: Iterable[AttributeChange | AudienceAttribute], user: User
) -> tuple[dict[str, JSON], dict[str, None]]:
    """Return the attributes set and (in order) those lost; of several changes of one attribute the last counts.

    The profile beside the changes is newer than each of them: an attribute that it has is not lost, even if a change
    removes it, and has the profile's value.
    """
    changed: dict[str, JSON] = {}
    lost: dict[str, None] = dict.fromkeys(name for name in user.removed_attributes if name not in user.attributes)
    for change in changes:
        changed.pop(change.name, None)
        lost.pop(change.name, None)
        if change.name in user.attributes:
            changed[change.name] = tag(user.attributes[change.name])
        elif change.removed:
            lost[change.name] = None
        else:
            changed[change.name] = tag(change.value)
    return changed, lost


def tag(value: JSON) -> JSON:
    """Return the value to send: a tag, which has none, becomes true, because null means that it was removed."""
    return True if value is None else value


def build_vars(
    news: dict[str, JSON], lost: Iterable[str], user: User, settings: SailthruSettings
) -> tuple[dict[str, JSON], list[Skip]]:
    """Return values as vars. A var that one attribute loses goes to another of the profile that claims it."""
    values = dict(news)
    rivals = user.attributes.keys() - set(lost)
    claims = assign_vars([*values, *rivals], settings)
    gone: dict[str, JSON] = {}
    for name in _add_list_attributes(lost, settings):
        var = make_var_name(name, unicode=settings.unicode_names)
        if var in claims:
            values.setdefault(claims[var], tag(user.attributes.get(claims[var])))
        else:
            gone[var] = get_removed_value(settings)
    sent, skips = make_vars(values, settings, rivals=rivals)
    return gone | sent, skips


def _add_list_attributes(lost: Iterable[str], settings: SailthruSettings) -> Iterator[str]:
    for name in lost:
        yield name
        if settings.array_mode == "both":
            yield name_list_attribute(name)
