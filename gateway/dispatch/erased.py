"""Erased events: data about a user that is older than the user's request to be forgotten, and arrives after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec.structs import replace

from gateway.facts import number_fact_id
from gateway.journal.port import Journal
from gateway.journal.types import Item, Outcome, Tombstone, hash_ref
from gateway.mparticle.parts import erasure_keys
from gateway.sdk import Batch


async def find_tombstone(journal: Journal, connection: str, batch: Batch) -> Tombstone | None:
    """Return the tombstone of the batch's user, or None if nobody asked to erase them. Raises JournalUnavailable.

    None too for an erasure itself: it is made, however often it is asked for.
    """
    keys = [] if batch.erasure is not None else erasure_keys(batch.user)
    return await journal.tombstone(connection, [hash_ref(key, journal.salt) for key in keys]) if keys else None


def drop_erased(batch: Batch, item: Item, tombstone: Tombstone | None) -> tuple[Batch, Sequence[Outcome] | None]:
    """Return the batch without events that are older than the erasure of its user, and the outcomes of these.

    None in the place of the outcomes means that all of the batch is erased. If the item was accepted before the
    erasure and a replay stored it again, that is so too.
    """
    if tombstone is None:
        return batch, ()
    before_ms = tombstone.before_ms
    if is_older(batch, before_ms) or (item.again is not None and item.again.accepted_ms < before_ms):
        return batch, None
    batch, dropped = drop_events(batch, before_ms)
    return batch, [Outcome(fact=event, state="skipped", reason="erased") for event in dropped]


def is_older(batch: Batch, before_ms: int) -> bool:
    """Return whether all that a batch states is older than ``before_ms``.

    An event or change without a time is as old as the batch.
    """
    happened = [one.time_ms for one in batch.events]
    happened += [one.time_ms for one in batch.identity_changes]
    happened += [one.time_ms for one in batch.attribute_changes]
    times = [batch.received_ms if time is None else time for time in happened or [None]]
    return all(time is not None and time < before_ms for time in times)


def drop_events(batch: Batch, before_ms: int) -> tuple[Batch, list[str]]:
    """Return the batch without the events older than ``before_ms``, and the ids of their facts.

    Events that share an id are number_fact_id: first those that are kept, as the plan numbers them, then those dropped.
    """
    old = [event for event in batch.events if event.time_ms is not None and event.time_ms < before_ms]
    if not old:
        return batch, []
    kept = tuple(event for event in batch.events if event not in old)
    seen, dropped = Counter(event.id for event in kept), []
    for event in old:
        seen[event.id] += 1
        dropped.append(number_fact_id(event.id, seen[event.id]))
    return replace(batch, events=kept), dropped
