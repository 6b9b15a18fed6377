"""Profiles: a user's attributes as the vars of their profile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gateway.sdk import JSON, AttributeChange, AudienceAttribute, Batch, Call, Skip, User
from gateway_sailthru import calls
from gateway_sailthru.addresses import address, address_of
from gateway_sailthru.names import owners, var_name
from gateway_sailthru.settings import SailthruSettings
from gateway_sailthru.values import list_attribute, removed, variables

OPTOUTS = ("none", "basic", "all", "blast")


def plan(
    changes: tuple[AttributeChange, ...], user: User, batch: Batch, settings: SailthruSettings
) -> Iterator[Call | Skip]:
    """Changes as they are; the whole profile where Sailthru cannot have it yet or nothing else was the purpose."""
    changed, lost = difference(changes, user)
    news = changed
    if _is_wanted_whole(batch, settings) or (not changed and not lost and _is_profile_only(batch)):
        news = {name: tag(value) for name, value in user.attributes.items() if name not in lost} | changed
    if not news and not lost:
        yield Skip(reason="unchanged")
        return
    email = address_of(user)
    if isinstance(email, Skip):
        yield email
        return
    sent, skips = profile_vars(news, lost, user, settings)
    optout = changed.get(settings.optout_attribute) if settings.optout_attribute else None
    if optout is not None and optout not in OPTOUTS:
        skips.append(Skip(reason="unknown_optout", what=settings.optout_attribute))
        optout = None
    if sent or optout:
        yield calls.upsert(email, vars=sent, optout_email=optout)
    yield from skips


def _is_profile_only(batch: Batch) -> bool:
    return not (batch.events or batch.quarantined or batch.identity_changes or batch.memberships or batch.audience)


def _is_wanted_whole(batch: Batch, settings: SailthruSettings) -> bool:
    """Whether a first address makes all of the profile news, or the settings ask for all of it every time."""
    gained = any(
        change.type == "email" and address(change.new) and not address(change.old) for change in batch.identity_changes
    )
    return gained or (settings.send_profile_with_events and bool(batch.events))


def difference(
    changes: Iterable[AttributeChange | AudienceAttribute], user: User
) -> tuple[dict[str, JSON], dict[str, None]]:
    """The attributes set, and (in order) those lost; of several changes the last counts.

    A list is taken from the profile, for not every change can express one.
    """
    changed: dict[str, JSON] = {}
    lost: dict[str, None] = dict.fromkeys(user.removed_attributes)
    for change in changes:
        changed.pop(change.name, None)
        lost.pop(change.name, None)
        if change.removed:
            lost[change.name] = None
        else:
            now = user.attributes.get(change.name)
            changed[change.name] = now if isinstance(now, list) else tag(change.value)
    return changed, lost


def tag(value: JSON) -> JSON:
    """The value to send: a tag, which has none, becomes true, since null means that an attribute was removed."""
    return True if value is None else value


def profile_vars(
    news: dict[str, JSON], lost: Iterable[str], user: User, settings: SailthruSettings
) -> tuple[dict[str, JSON], list[Skip]]:
    """Values as vars. A var that one attribute loses goes to another of the profile with a claim on it."""
    values = dict(news)
    rivals = user.attributes.keys() - set(lost)
    claims = owners([*values, *rivals], settings)
    gone: dict[str, JSON] = {}
    for name in _with_lists(lost, settings):
        var = var_name(name, unicode=settings.unicode_names)
        if var in claims:
            values.setdefault(claims[var], tag(user.attributes.get(claims[var])))
        else:
            gone[var] = removed(settings)
    sent, skips = variables(values, settings, rivals=rivals)
    return gone | sent, skips


def _with_lists(lost: Iterable[str], settings: SailthruSettings) -> Iterator[str]:
    for name in lost:
        yield name
        if settings.array_mode == "both":
            yield list_attribute(name)
