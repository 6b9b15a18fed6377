"""Future times: a time more than a day after its message was received is wrong, and is replaced by that of receipt."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from msgspec.structs import replace

from gateway.facts import iter_facts
from gateway.sdk import AttributeChange, Batch, Event, IdentityChange, Skip

DAY_MS = 86_400_000
FUTURE_TIME = Skip(reason="future_time", what="time")
"""The part that the ledger shows as left out of a fact whose time was replaced."""

Timed = TypeVar("Timed", Event, AttributeChange, IdentityChange)


def clamp_future(batch: Batch, received_ms: int) -> tuple[Batch, frozenset[str]]:
    """Return the batch without times more than a day after ``received_ms``, and the ids of the facts concerned."""
    bound = received_ms + DAY_MS
    stated: list[Event | AttributeChange | IdentityChange] = [
        *batch.events,
        *batch.attribute_changes,
        *batch.identity_changes,
    ]
    if all(one.time_ms is None or one.time_ms <= bound for one in stated):
        return batch, frozenset()
    clamped = {
        fact.id
        for fact in iter_facts(batch)
        for argument in fact.arguments.values()
        for one in (argument if isinstance(argument, tuple) else (argument,))
        if (getattr(one, "time_ms", None) or 0) > bound
    }
    return (
        replace(
            batch,
            events=_clamp(batch.events, bound, received_ms),
            attribute_changes=_clamp(batch.attribute_changes, bound, received_ms),
            identity_changes=_clamp(batch.identity_changes, bound, received_ms),
        ),
        frozenset(clamped),
    )


def _clamp(timed: Iterable[Timed], bound: int, received_ms: int) -> tuple[Timed, ...]:
    return tuple(
        _set_time(one, received_ms) if one.time_ms is not None and one.time_ms > bound else one for one in timed
    )


def _set_time(timed: Timed, time_ms: int) -> Timed:
    """Return an event or a change with another time; the event that states a change has the same."""
    stating = getattr(timed, "event", None)
    changed = {} if stating is None else {"event": replace(stating, time_ms=time_ms)}
    return replace(timed, time_ms=time_ms, **changed)
