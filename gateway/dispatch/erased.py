"""Lateness: what is told of somebody who has asked to be forgotten since it happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec.structs import replace

from gateway.facts import numbered
from gateway.journal.port import Item, Journal, Outcome, hash_ref
from gateway.mparticle.parts import meant
from gateway.sdk import Batch


async def told_late(
    journal: Journal, connection: str, item: Item, batch: Batch
) -> tuple[Batch, Sequence[Outcome] | None]:
    """A batch without what happened before its user asked to be forgotten; and words for that, None for all of it.

    What was accepted before then and is sent again now is late as a whole.
    """
    if batch.erasure is not None:
        return batch, ()
    names = [hash_ref(name, journal.salt) for name in meant(batch.user)]
    before_ms = await journal.erased_before(connection, names) if names else 0
    if not before_ms:
        return batch, ()
    if is_late(batch, before_ms) or (item.again is not None and item.again.accepted_ms < before_ms):
        return batch, None
    batch, late = without_late(batch, before_ms)
    return batch, [Outcome(fact=event, word="skipped", reason="erased") for event in late]


def is_late(batch: Batch, before_ms: int) -> bool:
    """Whether nothing that a batch tells of happened since then. What has no time happened when the batch was made."""
    happened = [one.time_ms for one in batch.events]
    happened += [one.time_ms for one in batch.identity_changes]
    happened += [one.time_ms for one in batch.attribute_changes]
    times = [batch.received_ms if time is None else time for time in happened or [None]]
    return all(time is not None and time < before_ms for time in times)


def without_late(batch: Batch, before_ms: int) -> tuple[Batch, list[str]]:
    """A batch without the events that happened before then, and the ids of these.

    Of events with one id those that are left count first, as they do in what is planned of them.
    """
    late = [event for event in batch.events if event.time_ms is not None and event.time_ms < before_ms]
    if not late:
        return batch, []
    kept = tuple(event for event in batch.events if event not in late)
    seen, names = Counter(event.id for event in kept), []
    for event in late:
        seen[event.id] += 1
        names.append(numbered(event.id, seen[event.id]))
    return replace(batch, events=kept), names
