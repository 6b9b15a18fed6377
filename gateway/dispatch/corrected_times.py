"""Corrected times: senders' mistakes that the ledger shows, with each fact whose time was corrected.

A time more than a day after its message was received is wrong, and is replaced by that of receipt. A time that can only
be in seconds was read as seconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from msgspec.structs import replace

from gateway.facts import Fact, iter_facts
from gateway.mparticle.fields import sane_ms
from gateway.sdk import AttributeChange, Batch, Event, IdentityChange, Skip

DAY_MS = 86_400_000
FUTURE_TIME = Skip(reason="future_time", what="time")
"""The part that the ledger shows as left out of a fact whose time was replaced."""
TIME_IN_SECONDS = Skip(reason="time_in_seconds", what="time")
"""The part that the ledger shows for a fact whose time was given in seconds."""
SECONDS = re.compile(rb'"timestamp_(?:unixtime_)?ms"\s*:\s*"?\s*([0-9]{9,11})(?![0-9])')

Timed = TypeVar("Timed", Event, AttributeChange, IdentityChange)


def correct_times(batch: Batch, body: bytes, received_ms: int) -> tuple[Batch, Mapping[str, Skip]]:
    """Return the batch without times more than a day after ``received_ms``, and what to note, by fact.

    ``body`` is the document that the batch was decoded from.
    """
    bound = received_ms + DAY_MS
    times = _list_times(batch)
    notes: dict[str, Skip] = {}
    if any(time_ms % 1000 == 0 for time_ms in times):  # one that was in seconds is such a number
        seconds = {1000 * given for given in map(int, SECONDS.findall(body)) if sane_ms(given) == 1000 * given}
        notes.update(_note(batch, seconds.__contains__, TIME_IN_SECONDS))
    if not times or max(times) <= bound:
        return batch, notes
    notes.update(_note(batch, lambda time_ms: time_ms > bound, FUTURE_TIME))
    return (
        replace(
            batch,
            events=_clamp(batch.events, bound, received_ms),
            attribute_changes=_clamp(batch.attribute_changes, bound, received_ms),
            identity_changes=_clamp(batch.identity_changes, bound, received_ms),
        ),
        notes,
    )


def _list_times(batch: Batch) -> list[int]:
    timed: list[Event | AttributeChange | IdentityChange] = [
        *batch.events,
        *batch.attribute_changes,
        *batch.identity_changes,
    ]
    return [one.time_ms for one in timed if one.time_ms is not None]


def _note(batch: Batch, is_wrong: Callable[[int], bool], skip: Skip) -> Iterator[tuple[str, Skip]]:
    """Yield the note for each fact that has a wrong time."""
    return ((fact.id, skip) for fact in iter_facts(batch) if any(map(is_wrong, _iter_times(fact))))


def _iter_times(fact: Fact) -> Iterator[int]:
    """Yield the times of the events and changes that a fact holds."""
    for argument in fact.arguments.values():
        for one in argument if isinstance(argument, tuple) else (argument,):
            if isinstance(one, (Event, AttributeChange, IdentityChange)) and one.time_ms is not None:
                yield one.time_ms


def _clamp(timed: Iterable[Timed], bound: int, received_ms: int) -> tuple[Timed, ...]:
    return tuple(
        _set_time(one, received_ms) if one.time_ms is not None and one.time_ms > bound else one for one in timed
    )


def _set_time(timed: Timed, time_ms: int) -> Timed:
    """Return an event or a change with another time; the event that states a change has the same."""
    stating = getattr(timed, "event", None)
    changed = {} if stating is None else {"event": replace(stating, time_ms=time_ms)}
    return replace(timed, time_ms=time_ms, **changed)
