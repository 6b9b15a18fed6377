"""The profile that SessionM keeps of a customer, made from user attributes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from gateway.sdk import JSON, AttributeChange, Skip, User
from gateway_sessionm.values import as_text

RESERVED = {
    "$FirstName": "first_name",
    "$LastName": "last_name",
    "$Gender": "gender",
    "$Country": "country",
    "$State": "state",
    "$City": "city",
    "$Zip": "zip",
    "$Address": "address",
}
"""mParticle's reserved attributes that have a field of their own at SessionM."""

SPELLINGS = {name.lower(): name for name in RESERVED}
MAX_ATTRIBUTES = 200
CUSTOM = "user_profile"
ODD = re.compile(r"[^A-Za-z0-9]")


@lru_cache(maxsize=8192)  # customers share the names of their attributes
def normalise(key: str) -> str:
    """The name of a custom attribute at SessionM: ASCII letters, digits and underscores, none of them leading."""
    return ODD.sub("_", key).lstrip("_")


def profile_of(attributes: Mapping[str, JSON], user_tag_value: str) -> tuple[dict[str, Any], list[Skip]]:
    """What stands below ``user`` in a profile, and each attribute left out with the reason.

    At most 200 attributes: those with a field of their own first, then the others in the order posted.
    """
    skips: list[Skip] = []
    claims: dict[tuple[bool, str], list[str]] = {}
    for key, value in attributes.items():
        reason = _obstacle(key, value, user_tag_value)
        if reason is None:
            claims.setdefault(_target(key), []).append(key)
        else:
            skips.append(Skip(reason=reason, what=key))
    chosen = {min(keys, key=_preference): target for target, keys in claims.items()}
    for keys in claims.values():
        skips.extend(Skip(reason="key_collision", what=key) for key in keys if key not in chosen)
    ranked = sorted((key for key in attributes if key in chosen), key=lambda key: chosen[key][0])
    skips.extend(Skip(reason="over_limit", what=key) for key in ranked[MAX_ATTRIBUTES:])
    texts = {
        chosen[key]: user_tag_value if attributes[key] is None else as_text(attributes[key])
        for key in ranked[:MAX_ATTRIBUTES]
    }
    return _body(texts), skips


def removals(user: User, changes: Iterable[AttributeChange]) -> list[Skip]:
    """A skip for each removed attribute: a removal is not passed on. A name that still has a value counts as live."""
    removed = (*user.removed_attributes, *(change.name for change in changes if change.removed))
    return [Skip(reason="attribute_removed", what=key) for key in dict.fromkeys(removed) if key not in user.attributes]


def size(user: Mapping[str, Any]) -> int:
    """How many attributes a profile carries."""
    return sum(field in user for field in RESERVED.values()) + len(user.get(CUSTOM, {}))


def merged(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """The one profile that has the effect of both, written one after the other."""
    both = {**earlier, **later}
    if CUSTOM in both:
        both[CUSTOM] = {**earlier.get(CUSTOM, {}), **later.get(CUSTOM, {})}
    return both


def _obstacle(key: str, value: JSON, user_tag_value: str) -> str | None:
    if key.lower() in SPELLINGS:
        return "null_reserved" if value is None else None
    if not normalise(key):
        return "empty_key"
    return "user_tag" if value is None and not user_tag_value.strip() else None


def _target(key: str) -> tuple[bool, str]:
    """Where the attribute goes: whether among the custom ones, and its name there."""
    spelling = SPELLINGS.get(key.lower())
    return (True, normalise(key)) if spelling is None else (False, RESERVED[spelling])


def _preference(key: str) -> tuple[bool, str]:
    """Least for the key that wins its name: one spelt right already, then by code point, never by position."""
    return (key not in RESERVED and key != normalise(key), key)


def _body(texts: Mapping[tuple[bool, str], str]) -> dict[str, Any]:
    body: dict[str, Any] = {name: text for (is_custom, name), text in texts.items() if not is_custom}
    custom = {name: text for (is_custom, name), text in texts.items() if is_custom}
    return {**body, CUSTOM: custom} if custom else body
