"""Profiles: a user's attributes as SessionM's profile fields and custom attributes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gateway.sdk import JSON, AttributeChange, Call, Skip, User
from gateway_sessionm.calls import write_profile
from gateway_sessionm.names import RESERVED, find_target, is_reserved, normalise, rank_claim
from gateway_sessionm.settings import SessionMSettings
from gateway_sessionm.steps import CallMemo, DeliveryStep
from gateway_sessionm.user_keys import collect_keys, find_mpid
from gateway_sessionm.values import to_text

MAX_ATTRIBUTES = 200
CUSTOM = "user_profile"


def plan_attributes(
    changes: tuple[AttributeChange, ...], user: User, settings: SessionMSettings
) -> Iterator[Call | Skip]:
    """Write the whole profile as mParticle has it."""
    mpid = find_mpid(user)
    if isinstance(mpid, Skip):
        yield mpid
        return
    profile, skips = build_profile(user.attributes, settings.user_tag_value)
    yield from skips
    yield from list_removals(user, changes)
    if profile:
        yield update_profile(profile, mpid, user, settings)
    else:
        yield Skip(reason="nothing_to_send")


def update_profile(profile: dict[str, Any], mpid: str, user: User, settings: SessionMSettings) -> Call:
    """Write these fields of the profile of the user with this MPID."""
    keys = collect_keys(user, settings.identity_types)
    return write_profile(
        CallMemo(step=DeliveryStep.UPDATE, mpid=mpid, identifiers=keys.identifiers, email=keys.email, user=profile)
    )


def build_profile(attributes: Mapping[str, JSON], user_tag_value: str) -> tuple[dict[str, Any], list[Skip]]:
    """Return the object below ``user`` in a profile, and a Skip for each attribute left out.

    A profile holds 200 attributes at most: those with a field of their own first, then the others as posted.
    """
    skips: list[Skip] = []
    claims: dict[tuple[bool, str], list[str]] = {}
    for key, value in attributes.items():
        reason = _find_obstacle(key, value, user_tag_value)
        if reason is None:
            claims.setdefault(find_target(key), []).append(key)
        else:
            skips.append(Skip(reason=reason, what=key))
    chosen = {min(keys, key=rank_claim): target for target, keys in claims.items()}
    for keys in claims.values():
        skips.extend(Skip(reason="key_collision", what=key) for key in keys if key not in chosen)
    ranked = sorted((key for key in attributes if key in chosen), key=lambda key: chosen[key][0])
    skips.extend(Skip(reason="over_limit", what=key) for key in ranked[MAX_ATTRIBUTES:])
    texts = {
        chosen[key]: user_tag_value if attributes[key] is None else to_text(attributes[key])
        for key in ranked[:MAX_ATTRIBUTES]
    }
    return _arrange(texts), skips


def list_removals(user: User, changes: Iterable[AttributeChange]) -> list[Skip]:
    """Return a Skip for each removed attribute, because removals are not passed on.

    A name that still has a value in the profile is not removed.
    """
    removed = (*user.removed_attributes, *(change.name for change in changes if change.removed))
    return [Skip(reason="attribute_removed", what=key) for key in dict.fromkeys(removed) if key not in user.attributes]


def count_attributes(profile: Mapping[str, Any]) -> int:
    """Return the number of attributes in a profile."""
    return sum(field in profile for field in RESERVED.values()) + len(profile.get(CUSTOM, {}))


def merge_profiles(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Return the one profile that has the effect of both, written one after the other."""
    both = {**earlier, **later}
    if CUSTOM in both:
        both[CUSTOM] = {**earlier.get(CUSTOM, {}), **later.get(CUSTOM, {})}
    return both


def _find_obstacle(key: str, value: JSON, user_tag_value: str) -> str | None:
    if value is None and (is_reserved(key) or key.startswith("$")):
        return "null_reserved"
    if is_reserved(key):
        return None
    if not normalise(key):
        return "empty_key"
    return "user_tag" if value is None and not user_tag_value.strip() else None


def _arrange(texts: Mapping[tuple[bool, str], str]) -> dict[str, Any]:
    profile: dict[str, Any] = {name: text for (is_custom, name), text in texts.items() if not is_custom}
    custom = {name: text for (is_custom, name), text in texts.items() if is_custom}
    return {**profile, CUSTOM: custom} if custom else profile
