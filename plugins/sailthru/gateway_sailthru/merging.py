"""Merging: the updates that wait for one user become one call."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gateway.sdk import Call
from gateway_sailthru.sizes import fits

FIELDS = frozenset({"id", "key", "keysconflict", "keys", "vars", "lists", "optout_email", "pixel_tracking_consent"})
READERS = frozenset({"event", "purchase"})


def merge_calls(lane: Iterable[Call]) -> list[Call]:
    """Return one lane's calls, in order, with updates joined to the first that they follow.

    An update may so come before an event that it followed, never after an event that followed it: an event must find
    the profile that it was sent to find. No update crosses a call other than events and purchases: a change of
    address, an erasure, another user's profile.
    """
    calls: list[Call] = []
    joinable: int | None = None
    for call in lane:
        if is_update(call):
            if joinable is not None and is_compatible(calls[joinable], call):
                both = join_updates(calls[joinable], call)
                if fits(both):
                    calls[joinable] = both
                    continue
            joinable = len(calls)
        elif call.path not in READERS:
            joinable = None
        calls.append(call)
    return calls


def is_update(call: Call) -> bool:
    """Return whether the call only sets fields of an address's profile, so that it may be joined with others."""
    return (
        (call.method, call.path) == ("POST", "user")
        and call.memo is None
        and call.json["key"] == "email"
        and call.json.keys() <= FIELDS
    )


def is_compatible(first: Call, second: Call) -> bool:
    """Return whether two updates may become one: they are of one profile, and the second adds no key to it.

    Such a key may merge the profile with another, whose values then count too.
    """
    known, stated = first.json.get("keys", {}), second.json.get("keys", {})
    return first.json["id"] == second.json["id"] and all(known.get(key) == stated[key] for key in stated)


def join_updates(first: Call, second: Call) -> Call:
    """Return both updates as one, in the place of the first; it is in a pool if one of them is."""
    payload = {**first.json, **second.json}
    for field in ("keys", "vars", "lists"):
        if field in payload:
            payload[field] = {**first.json.get(field, {}), **second.json.get(field, {})}
    pool = first.pool or second.pool
    return msgspec.structs.replace(first, json=payload, pool=pool, covers=(*list_covered(first), *list_covered(second)))


def list_covered(call: Call) -> tuple[str, ...]:
    """Return the ids of all calls that this one stands for."""
    return call.covers or (call.id,)
