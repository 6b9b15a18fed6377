"""Merging: the profile writes that wait for one user become one call."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gateway.sdk import Call
from gateway_sessionm.calls import write_profile
from gateway_sessionm.profiles import MAX_ATTRIBUTES, count_attributes, merge_profiles
from gateway_sessionm.steps import CallMemo, DeliveryStep, read_memo


def merge_calls(calls: Iterable[Call]) -> list[Call]:
    """Merge each user's profile writes into the first of them, and leave all other calls as they are.

    Events keep their number and their order. No write is moved across a call of another kind (an erasure, a
    follow-up call). Two writes stay apart if no single write has the effect of both: if it would carry more
    attributes than it may, or if the two state different ids.
    """
    kept: list[Call] = []
    open_writes: dict[tuple[str, str], int] = {}
    for call in calls:
        memo = read_memo(call)
        user = (call.lane, memo.mpid)
        if memo.step in (DeliveryStep.UPDATE, DeliveryStep.IDENTIFY):
            at = open_writes.get(user)
            both = None if at is None else _merge(kept[at], call)
            if at is not None and both is not None:
                kept[at] = both
                continue
            open_writes[user] = len(kept)
        elif memo.step is not DeliveryStep.SEND:
            open_writes = {key: at for key, at in open_writes.items() if key[0] != call.lane}
        kept.append(call)
    return kept


def _merge(first: Call, second: Call) -> Call | None:
    """Return one call with the effect of both, the second's values winning, or None if there is none."""
    earlier, later = read_memo(first), read_memo(second)
    user = merge_profiles(earlier.user, later.user)
    if count_attributes(user) > MAX_ATTRIBUTES or earlier.identifiers != later.identifiers:
        return None
    both = CallMemo(
        step=DeliveryStep.UPDATE,
        mpid=earlier.mpid,
        identifiers=earlier.identifiers,
        unconfirmed=earlier.unconfirmed or later.unconfirmed,
        email=later.email or earlier.email,
        user=user,
    )
    covers = tuple(dict.fromkeys((*(first.covers or (first.id,)), *(second.covers or (second.id,)))))
    return msgspec.structs.replace(write_profile(both), id=first.id, lane=first.lane, covers=covers)
