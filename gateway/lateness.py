"""Lateness: what is told of somebody who has asked to be forgotten since it happened."""

from __future__ import annotations

from msgspec.structs import replace

from gateway.sdk import Batch


def is_late(batch: Batch, before_ms: int) -> bool:
    """Whether nothing that a batch tells of happened since then. What has no time happened when the batch was made."""
    happened = [one.time_ms for one in batch.events]
    happened += [one.time_ms for one in batch.identity_changes]
    happened += [one.time_ms for one in batch.attribute_changes]
    times = [batch.received_ms if time is None else time for time in happened or [None]]
    return all(time is not None and time < before_ms for time in times)


def without_late(batch: Batch, before_ms: int) -> tuple[Batch, list[str]]:
    """A batch without the events that happened before then, and the ids of these."""
    late = [event for event in batch.events if event.time_ms is not None and event.time_ms < before_ms]
    if not late:
        return batch, []
    kept = tuple(event for event in batch.events if event not in late)
    return replace(batch, events=kept), [event.id for event in late]
