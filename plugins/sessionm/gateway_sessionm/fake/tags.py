"""Tags: names attached to a customer, which count or end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway_sessionm.fake.errors import ApiError


class Tag(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tag: it either counts how often it was attached, or ends at a time in seconds since 1970."""

    counter: int | None = None
    ends: float | None = None


def drop_ended(tags: Mapping[str, Tag], now: float) -> dict[str, Tag]:
    """Return the tags that have not ended."""
    return {name: tag for name, tag in tags.items() if tag.ends is None or tag.ends > now}


def attach(tags: Mapping[str, Tag], body: Mapping[str, Any], now: float) -> dict[str, Tag]:
    """Return the tags with those of a body attached, counted again or prolonged. Raises ApiError for a bad body."""
    names, ttl = body.get("tags"), body.get("ttl")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise ApiError("missing_data", "tags must be a list of names")
    if ttl is not None and (not isinstance(ttl, int) or ttl <= 0):
        raise ApiError("argument_error", "ttl must be a number of seconds")
    if ttl is not None and "counter" in body:
        raise ApiError("validation", "a tag has a counter or a ttl, not both")
    result = drop_ended(tags, now)
    for name in names:
        old = result.get(name)
        if old is not None and (old.ends is None) != (ttl is None):
            raise ApiError("validation", f"{name} has a counter or a ttl already, and cannot have both")
        count = old.counter if old is not None and old.counter is not None else 0
        result[name] = Tag(counter=count + 1) if ttl is None else Tag(ends=now + ttl)
    return result


def to_json(tags: Mapping[str, Tag], now: float) -> list[dict[str, Any]]:
    """Return the tags that have not ended, as a reply shows them."""
    return [
        {"tag": name, "counter": tag.counter} if tag.ends is None else {"tag": name, "ttl": round(tag.ends - now)}
        for name, tag in drop_ended(tags, now).items()
    ]
