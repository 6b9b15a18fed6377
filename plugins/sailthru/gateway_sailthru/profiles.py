"""Profiles: a user's attributes as the vars of their profile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gateway.sdk import JSON, AttributeChange, AudienceAttribute, Batch, Call, Memory, Remember, Skip, User
from gateway_sailthru import calls
from gateway_sailthru.addresses import address, address_of
from gateway_sailthru.names import owners, var_name
from gateway_sailthru.settings import SailthruSettings
from gateway_sailthru.values import digest, list_attribute, removed, variables

OPTOUTS = ("none", "basic", "all", "blast")
PROFILE = "profile"


def plan(
    changes: tuple[AttributeChange, ...], user: User, batch: Batch, memory: Memory, settings: SailthruSettings
) -> Iterator[Call | Skip | Remember]:
    """Changes as they are, or the whole profile where Sailthru is not known to have all the rest of it."""
    email = address_of(user)
    if isinstance(email, Skip):
        yield email
        return
    changed, lost = difference(changes, user)
    whole = {name: tag(value) for name, value in user.attributes.items() if name not in lost} | changed
    known, now = memory.user.get(PROFILE), mark(email, whole, settings)
    has_the_rest = known in (now, mark(_address_before(email, batch), _before(whole, changes), settings))
    news = changed if has_the_rest else whole
    if known != now:
        yield Remember(key=PROFILE, value=now)
    if not news and not lost:
        yield Skip(reason="unchanged")
        return
    sent, skips = profile_vars(news, lost, user, settings)
    optout = changed.get(settings.optout_attribute) if settings.optout_attribute else None
    if optout is not None and optout not in OPTOUTS:
        skips.append(Skip(reason="unknown_optout", what=settings.optout_attribute))
        optout = None
    if sent or optout:
        yield calls.upsert(email, vars=sent, optout_email=optout)
    yield from skips


def mark(email: str, attributes: dict[str, JSON], settings: SailthruSettings) -> str:
    """What is remembered of a profile that was sent: a digest of its address and of its vars, in whatever order."""
    return digest([email, variables(attributes, settings)[0]])


def _address_before(email: str, batch: Batch) -> str:
    """Where the profile was ahead of the batch's changes of address: it keeps its vars when it moves."""
    for change in reversed(batch.identity_changes):
        if change.type == "email" and address(change.new) == email:
            email = address(change.old) or email
    return email


def _before(whole: dict[str, JSON], changes: tuple[AttributeChange, ...]) -> dict[str, JSON]:
    """The attributes ahead of the changes, as far as these tell: an untold old value makes it another profile."""
    before = dict(whole)
    for change in reversed(changes):
        before.pop(change.name, None)
        if change.old is not None:
            before[change.name] = change.old
    return before


def difference(
    changes: Iterable[AttributeChange | AudienceAttribute], user: User
) -> tuple[dict[str, JSON], dict[str, None]]:
    """The attributes set, and (in order) those lost; of several changes the last counts.

    What the profile has is not lost, whatever is said to be. A list is taken from the profile, for not every change
    can express one.
    """
    changed: dict[str, JSON] = {}
    lost: dict[str, None] = dict.fromkeys(name for name in user.removed_attributes if name not in user.attributes)
    for change in changes:
        changed.pop(change.name, None)
        lost.pop(change.name, None)
        now = user.attributes.get(change.name)
        if change.removed and change.name not in user.attributes:
            lost[change.name] = None
        else:
            changed[change.name] = tag(now if change.removed or isinstance(now, list) else change.value)
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
