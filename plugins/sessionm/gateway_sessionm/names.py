"""Names: the field of a profile, or the custom attribute, that each user attribute becomes."""

from __future__ import annotations

import re
from functools import lru_cache

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
NOT_ALPHANUMERIC = re.compile(r"[^A-Za-z0-9]")


@lru_cache(maxsize=8192)  # customers share the names of their attributes
def normalise(key: str) -> str:
    """Return the name of a custom attribute at SessionM: ASCII letters, digits and inner or trailing underscores."""
    return NOT_ALPHANUMERIC.sub("_", key).lstrip("_")


def is_reserved(key: str) -> bool:
    """Return whether the attribute has a field of its own at SessionM, in any spelling of upper and lower case."""
    return key.lower() in SPELLINGS


def find_target(key: str) -> tuple[bool, str]:
    """Return where an attribute goes: whether among the custom attributes, and its name there."""
    spelling = SPELLINGS.get(key.lower())
    return (True, normalise(key)) if spelling is None else (False, RESERVED[spelling])


def rank_claim(key: str) -> tuple[bool, str]:
    """Return the rank of an attribute's claim to its name; the lowest wins.

    A key that is spelt right already comes first, then code points decide. The order posted never does.
    """
    return (key not in RESERVED and key != normalise(key), key)
