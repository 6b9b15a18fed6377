"""Merging: one person's waiting updates as one."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gateway.sdk import Call
from gateway_sailthru.sizes import fits

FIELDS = frozenset({"id", "key", "keysconflict", "keys", "vars", "lists", "optout_email"})
READERS = frozenset({"event", "purchase"})


def is_update(call: Call) -> bool:
    """Whether the call only sets things on the profile of an address, and so may be merged with others like it."""
    return (
        (call.method, call.path) == ("POST", "user")
        and call.memo is None
        and call.json["key"] == "email"
        and call.json.keys() <= FIELDS
    )


def merged(lane: Iterable[Call]) -> list[Call]:
    """One lane's calls, in order, with updates joined to the first that they follow.

    An update may so come before an event that it followed, never after one that followed it: an event must find
    the profile that it was sent to find. Anything but events and purchases (a change of address, an erasure,
    another person's profile) is a line that no update crosses.
    """
    calls: list[Call] = []
    joinable: int | None = None
    for call in lane:
        if is_update(call):
            if joinable is not None and is_compatible(calls[joinable], call):
                both = joined(calls[joinable], call)
                if fits(both):
                    calls[joinable] = both
                    continue
            joinable = len(calls)
        elif call.path not in READERS:
            joinable = None
        calls.append(call)
    return calls


def is_compatible(first: Call, second: Call) -> bool:
    """Whether two updates may become one: the same profile, and no key that is news to it.

    Such a key may merge the profile with another, whose values then count too.
    """
    known, told = first.json.get("keys", {}), second.json.get("keys", {})
    return first.json["id"] == second.json["id"] and all(known.get(key) == told[key] for key in told)


def joined(first: Call, second: Call) -> Call:
    """Both updates as one, in the place of the first; in a pool if one of them is."""
    payload = {**first.json, **second.json}
    for field in ("keys", "vars", "lists"):
        if field in payload:
            payload[field] = {**first.json.get(field, {}), **second.json.get(field, {})}
    pool = first.pool or second.pool
    return msgspec.structs.replace(first, json=payload, pool=pool, covers=(*covered(first), *covered(second)))


def covered(call: Call) -> tuple[str, ...]:
    """The ids of all that a call stands for."""
    return call.covers or (call.id,)
