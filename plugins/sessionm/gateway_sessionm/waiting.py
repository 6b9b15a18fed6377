"""The calls that wait for one user, with fewer profile writes among them."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gateway.sdk import Call
from gateway_sessionm.errand import Errand, Step, errand_of, write_profile
from gateway_sessionm.profile import MAX_ATTRIBUTES, merged, size


def folded(calls: Iterable[Call]) -> list[Call]:
    """The same calls with each user's profile writes made one, in the first one's place.

    Events keep their number and their order. Nothing is moved across a call of another kind (an
    erasure, a step of an errand already begun), and two writes stay two where one could not have the effect
    of both: where it would carry more than it may, or where they tell of different ids.
    """
    kept: list[Call] = []
    open_writes: dict[tuple[str, str], int] = {}
    for call in calls:
        errand = errand_of(call)
        user = (call.lane, errand.mpid)
        if errand.step in (Step.UPDATE, Step.IDENTIFY):
            at = open_writes.get(user)
            both = None if at is None else _both(kept[at], call)
            if at is not None and both is not None:
                kept[at] = both
                continue
            open_writes[user] = len(kept)
        elif errand.step is not Step.SEND:
            open_writes = {key: at for key, at in open_writes.items() if key[0] != call.lane}
        kept.append(call)
    return kept


def _both(first: Call, second: Call) -> Call | None:
    """One call with the effect of both, the second winning, or None where there is none."""
    earlier, later = errand_of(first), errand_of(second)
    user = merged(earlier.user, later.user)
    if size(user) > MAX_ATTRIBUTES or earlier.identifiers != later.identifiers:
        return None
    both = Errand(
        step=Step.UPDATE,
        mpid=earlier.mpid,
        identifiers=earlier.identifiers,
        unconfirmed=earlier.unconfirmed or later.unconfirmed,
        email=later.email or earlier.email,
        user=user,
    )
    covers = tuple(dict.fromkeys((*(first.covers or (first.id,)), *(second.covers or (second.id,)))))
    return msgspec.structs.replace(write_profile(both), id=first.id, lane=first.lane, covers=covers)
