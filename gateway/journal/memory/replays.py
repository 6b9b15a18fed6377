"""Replays in memory: what a selection matches, and how far a replay has come."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec.structs import replace

from gateway.journal.memory.store import Store, StoredBatch, WaitingLane, read_outcomes_of
from gateway.journal.replays import (
    DIALECT,
    Chosen,
    PickedFacts,
    Replay,
    ReplayOrigin,
    Selection,
    choose_all,
    find_cut,
    make_picked,
)
from gateway.journal.rows import why_withdrawn
from gateway.journal.types import Outcome, hash_ref


def pick(
    store: Store, selection: Selection, place: tuple[int, int, int], *, surveys: bool
) -> tuple[list[PickedFacts], int | None]:
    """Return the facts that a selection matches; ``place`` is (after, up to, how many)."""
    after, upto, limit = place
    known = sorted(store.batches)
    if selection.message is not None:
        known = store.find_seqs([hash_ref(selection.message, store.salt)])
    seqs = [seq for seq in known if after < seq <= upto][:limit]
    reached = seqs[-1] if len(seqs) == limit else None
    found = _choose(store, selection, seqs)
    wanted = sorted({seq for seq, _ in found})
    cut = find_cut((seq, len(store.batches[seq].body)) for seq in wanted)
    if cut is not None:
        reached, wanted = cut, [seq for seq in wanted if seq <= cut]
    picked = make_picked(found, map(_document, (store.batches[seq] for seq in wanted)))
    return [_survey(store, one) for one in picked] if surveys else picked, reached


def _document(batch: StoredBatch) -> tuple[object, ...]:
    of = batch.entry
    return batch.seq, of.user, of.message, of.part, of.dialect, of.received_ms, batch.body


def _choose(store: Store, selection: Selection, seqs: list[int]) -> Chosen:
    finished = [
        (seq, name, _read(store, seq, name))
        for seq in seqs
        if _matches(selection, store.batches[seq])
        for name in sorted(name for of, name in store.ledger if of == seq)
        if selection.connection in (None, name, name.partition("/")[0])
    ]
    later = (
        (row.of, row.connection, read_outcomes_of(store.ledger.get((seq, row.connection))))
        for seq, row in sorted(store.replayed.items())
        if row.of in set(seqs)
    )
    return choose_all(selection, finished, later)


def _matches(selection: Selection, batch: StoredBatch) -> bool:
    received_ms = batch.entry.received_ms
    return (
        batch.entry.dialect != DIALECT
        and selection.message in (None, batch.entry.message)
        and (selection.since_ms is None or received_ms >= selection.since_ms)
        and (selection.until_ms is None or received_ms < selection.until_ms)
    )


def _read(store: Store, seq: int, connection: str) -> tuple[Outcome, ...]:
    return read_outcomes_of(store.ledger.get((seq, connection))) or ()


def _survey(store: Store, one: PickedFacts) -> PickedFacts:
    """Return picked facts with the memories of their user, and whether a newer batch was delivered."""
    newer = any(
        seq > one.seq
        and store.batches[seq].entry.user == one.user
        and store.batches[seq].entry.dialect != DIALECT
        and any(outcome.state == "delivered" for outcome in _read(store, seq, name))
        for seq, name in store.ledger
        if name == one.connection
    )
    memory = store.memory.get((one.user, one.connection), {})
    return replace(one, newer=newer, memory={key: msgspec.json.decode(value) for key, value in memory.items()})


def list_all(store: Store) -> list[Replay]:
    """Return every known replay, oldest first, with the facts stored again and the batches that wait."""
    known = sorted(store.replays.values(), key=lambda one: (one.created_ms, one.id))
    return [
        replace(
            one,
            facts=sum(row.facts for row in store.replayed.values() if row.replay == one.id),
            waiting=sum(1 for _ in _iter_waiting(store, one.id)),
        )
        for one in known
    ]


def _iter_waiting(store: Store, id: str) -> Iterator[WaitingLane]:
    """Yield the lane of each batch of a replay that waits."""
    for seq, row in store.replayed.items():
        batch = store.batches.get(seq)
        lane = None if batch is None else store.lanes.get((row.connection, batch.entry.user))
        if row.replay == id and lane is not None and seq in lane.items:
            yield lane


def advance(store: Store, id: str, *, cursor: int, done: bool) -> bool:
    """Record the progress of a replay, unless it was aborted."""
    one = store.replays.get(id)
    if one is None or one.state == "aborted":
        return False
    store.replays[id] = replace(one, cursor=max(one.cursor, cursor), state="done" if done else one.state)
    return True


def abort(store: Store, id: str) -> bool:
    """Abort a replay, and make its waiting batches due."""
    one = store.replays.get(id)
    if one is None:
        return False
    store.replays[id] = replace(one, state="aborted")
    for lane in _iter_waiting(store, id):
        lane.due_ms = 0
    return True


def find_withdrawal(store: Store, again: ReplayOrigin) -> str:
    """Return why a redelivered batch must not be sent; "" if it may be."""
    replay, original = store.replays.get(again.replay), store.batches.get(again.of)
    return why_withdrawn(
        is_aborted=replay is not None and replay.state == "aborted",
        is_erased=original is not None and not original.body,
    )
