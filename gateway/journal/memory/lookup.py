"""Looking things up in a journal in memory: found batches, the backlog, and closed gates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from gateway.journal.backlog import Backlog, Gate, make_backlog
from gateway.journal.memory.store import Store, StoredBatch, WaitingLane, now_ms
from gateway.journal.rows import group_waiting, make_finished_status, make_found, make_receipt, make_waiting_status
from gateway.journal.shared_limits import MAX_MS, OPERATOR, PAUSED, ClosedGate, SharedLimits, governing
from gateway.journal.types import DataPoint, DeliveryStatus, FoundBatch, Receipt


def find_all(store: Store, seqs: Iterable[int]) -> list[FoundBatch]:
    """Return stored batches with their state on each connection."""
    closed = list_closed(store, now_ms())
    return [_found(store, store.batches[seq], closed) for seq in seqs if seq in store.batches]


def _found(store: Store, batch: StoredBatch, closed: Mapping[str, Sequence[Gate]]) -> FoundBatch:
    entry, again = batch.entry, store.replayed.get(batch.seq)
    replay = None if again is None else store.replays.get(again.replay)
    row = (batch.seq, entry.user, entry.message, entry.part, entry.received_ms, entry.dialect, batch.body)
    since_ms = None if replay is None else replay.created_ms
    sightings = (*_list_finished(store, batch.seq), *_list_waiting(store, batch, closed))
    return make_found((*row, None if again is None else again.replay, since_ms), sightings)


def _list_finished(store: Store, seq: int) -> list[DeliveryStatus]:
    rows = sorted((connection, row) for (of, connection), row in store.ledger.items() if of == seq)
    return [make_finished_status((name, row.at_ms, row.outcomes), find_receipt(store, seq, name)) for name, row in rows]


def _list_waiting(store: Store, batch: StoredBatch, closed: Mapping[str, Sequence[Gate]]) -> list[DeliveryStatus]:
    lanes = sorted(
        ((name, lane) for (name, user), lane in store.lanes.items() if user == batch.entry.user), key=lambda one: one[0]
    )
    return [
        make_waiting_status(_waiting_row(store, name, lane, batch.seq), closed, find_receipt(store, batch.seq, name))
        for name, lane in lanes
        if batch.seq in lane.items
    ]


def _waiting_row(store: Store, name: str, lane: WaitingLane, seq: int) -> tuple[Any, ...]:
    sealed = store.sealed.get(name)
    reason, trouble = lane.reason, "" if sealed is None else sealed.trouble
    state = lane.due_ms, lane.attempts, reason.code, reason.detail, lane.fence is not None
    return name, lane.items[seq].progress, *state, trouble


def find_receipt(store: Store, seq: int, connection: str) -> Receipt | None:
    """Return the receipt of an erasure on a connection; None if there is none yet."""
    receipt = store.receipts.get((seq, connection))
    if receipt is None:
        return None
    touched = [
        (batch.entry.message, batch.entry.part, row.outcomes, not batch.body)
        for one in sorted(receipt.touched)
        if (batch := store.batches.get(one)) is not None and (row := store.ledger.get((one, connection))) is not None
    ]
    return make_receipt(len(receipt.removed), receipt.memories, touched)


def list_backlog(store: Store, at_ms: int) -> list[Backlog]:
    """Return the backlog and the closed gates by connection."""
    batches: Counter[str] = Counter()
    oldest: dict[str, int] = {}
    groups: dict[tuple[str, bool, str, str], list[WaitingLane]] = {}
    for (name, _), lane in store.lanes.items():
        groups.setdefault((name, lane.fence is not None, lane.reason.code, lane.reason.detail), []).append(lane)
        if lane.items:
            batches[name] += len(lane.items)
            oldest[name] = min(oldest.get(name, store.last_seq), *lane.items)
    rows = [
        (
            *(name, code, detail, claimed, len(lanes)),
            max(lane.due_ms for lane in lanes),
            max(lane.attempts for lane in lanes),
            min((lane.failing_since_ms for lane in lanes if lane.failing_since_ms), default=0),
        )
        for (name, claimed, code, detail), lanes in sorted(groups.items(), key=lambda one: one[0])
    ]
    rows.sort(key=lambda row: (row[0], row[3], -row[4]))
    waiting = {name: (count, store.batches[oldest[name]].entry.received_ms) for name, count in batches.items()}
    trouble = {name: one.trouble for name, one in store.sealed.items() if one.trouble}
    return make_backlog(waiting, group_waiting(rows), list_closed(store, at_ms), trouble)


def list_closed(store: Store, at_ms: int) -> dict[str, list[Gate]]:
    """Return every closed gate by connection."""
    latest: dict[tuple[str, str, str], Gate] = {}
    for (name, owner), gate in store.rests.items():
        if _is_paused(gate, at_ms) if owner == OPERATOR else _is_closed(gate, at_ms):
            key = name, gate.reason.code, gate.reason.detail
            if key not in latest or latest[key].until_ms < gate.until_ms:
                latest[key] = gate
    closed = [(name, gate) for (name, _, _), gate in sorted(latest.items(), key=lambda one: one[0])]
    scoped = sorted((key, gate) for key, (gate, _) in store.gates.items() if _is_closed(gate, at_ms))
    closed.extend((name, gate) for (name, _), gate in scoped)
    gates: dict[str, list[Gate]] = {}
    for name, gate in sorted(closed, key=lambda one: one[0]):
        gates.setdefault(name, []).append(gate)
    return gates


def _is_closed(gate: Gate, at_ms: int) -> bool:
    return at_ms < gate.until_ms <= at_ms + MAX_MS


def _is_paused(gate: Gate, at_ms: int) -> bool:
    return gate.until_ms == 0 or gate.until_ms > at_ms


def publish(store: Store, connection: str, owner: str, closings: Iterable[ClosedGate], at_ms: int) -> None:
    """Record the gates that a dispatcher closed; a longer closure of a scope stays."""
    for one in closings:
        gate = Gate(scope=one.scope, until_ms=at_ms + one.left_ms, reason=one.reason)
        if one.scope is None:
            store.rests[connection, owner] = gate
        elif (connection, one.scope) not in store.gates or (
            store.gates[connection, one.scope][0].until_ms < gate.until_ms
        ):
            store.gates[connection, one.scope] = gate, owner


def pause(store: Store, connection: str, left_ms: int | None, at_ms: int) -> bool:
    """Pause a connection, or resume it (0); return whether a pause ended."""
    if left_ms == 0:
        ended = store.rests.pop((connection, OPERATOR), None)
        return ended is not None and _is_paused(ended, at_ms)
    until_ms = 0 if left_ms is None else at_ms + left_ms
    store.rests[connection, OPERATOR] = Gate(scope=None, until_ms=until_ms, reason=PAUSED)
    return False


def read_shared_limits(store: Store, connection: str, owner: str, at_ms: int) -> SharedLimits:
    """Return what other dispatchers published of a connection, and whether an operator paused it."""
    paused = [store.rests.get((name, OPERATOR)) for name in governing(connection)]
    return SharedLimits(
        closings=tuple(
            ClosedGate(scope=scope, left_ms=gate.until_ms - at_ms, reason=gate.reason)
            for (name, scope), (gate, by) in store.gates.items()
            if name == connection and by != owner and _is_closed(gate, at_ms)
        ),
        paused=any(gate is not None and _is_paused(gate, at_ms) for gate in paused),
    )


def forget_gates(store: Store, at_ms: int) -> None:
    """Forget gates that are open again, and pauses that have ended."""
    store.gates = {key: one for key, one in store.gates.items() if at_ms <= one[0].until_ms <= at_ms + MAX_MS}
    ended = [key for key, gate in store.rests.items() if key[1] == OPERATOR and 1 <= gate.until_ms <= at_ms]
    for key in ended:
        del store.rests[key]


def prune(store: Store, *, before_ms: int, dead_before_ms: int, after_seq: int, limit: int) -> int | None:
    """Forget old finished batches; see the port."""
    old: list[StoredBatch] = []
    for seq in sorted(seq for seq in store.batches if seq > after_seq)[:limit]:
        if store.batches[seq].entry.received_ms >= before_ms:
            break
        old.append(store.batches[seq])
    dead = {seq for (seq, _), row in store.ledger.items() if row.dead}
    store.forget(
        batch.seq
        for batch in list(old)
        if not store.waits(batch) and not (batch.seq in dead and batch.entry.received_ms >= dead_before_ms)
    )
    store.requests = {key: row for key, row in store.requests.items() if row.received_ms >= dead_before_ms}
    alive = {row.replay for row in store.replayed.values()}
    store.replays = {id: one for id, one in store.replays.items() if one.created_ms >= dead_before_ms or id in alive}
    waiting = {name for name, _ in store.lanes}
    store.sealed = {name: one for name, one in store.sealed.items() if one.received_ms >= before_ms or name in waiting}
    forget_gates(store, now_ms())
    return old[-1].seq if len(old) == limit else None


def note_points(store: Store, points: Iterable[DataPoint], most: int) -> None:
    """Add data points to the catalog; beyond ``most``, forget those that were seen longest ago."""
    for new in points:
        key = new.connection, new.input, new.kind, new.name, new.attribute
        known = store.points.get(key)
        store.points[key] = new if known is None else _add_point(known, new)
    kept = sorted(store.points.items(), key=lambda one: one[1].last_ms)[-most:]
    if len(kept) < len(store.points):
        store.points = dict(kept)


def _add_point(known: DataPoint, new: DataPoint) -> DataPoint:
    first_ms, last_ms = min(known.first_ms, new.first_ms), max(known.last_ms, new.last_ms)
    return replace(new, first_ms=first_ms, last_ms=last_ms, times=known.times + new.times)
