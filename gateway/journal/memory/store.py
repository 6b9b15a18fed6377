"""The contents of a journal in memory: batches, lanes, the ledger, and what belongs to them."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from gateway.journal.backlog import Gate
from gateway.journal.replays import Replay
from gateway.journal.rows import count_dead, count_outcomes, make_request_rows
from gateway.journal.types import (
    DataPoint,
    Entry,
    Finished,
    JournalRejected,
    Outcome,
    SealedSettings,
    Settlement,
    salt_dedupe,
)
from gateway.journal.wait_reasons import NO_REASON, REFUSED, WaitReason

SHARED = 0
"""The user under which a connection's shared memory is kept."""
HOUR_MS = 3_600_000
BITS = 63


def now_ms() -> int:
    """Return the time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class StoredBatch:
    """A stored batch. Its ``body`` is empty once it was removed."""

    seq: int
    entry: Entry
    body: bytes


@dataclass(slots=True)
class WaitingItem:
    """The state of a batch that waits in a lane; ``progress`` is JSON."""

    progress: bytes = b""
    crashes: int = 0
    crashed_in: str = ""


@dataclass(slots=True)
class WaitingLane:
    """The lane of a user on a connection: its items by seq, and when it is due; claimed if it has a ``fence``."""

    due_ms: int
    items: dict[int, WaitingItem] = field(default_factory=dict)
    attempts: int = 0
    failing_since_ms: int = 0
    reason: WaitReason = NO_REASON
    erased_seq: int = 0
    fence: int | None = None


@dataclass(slots=True)
class LedgerRow:
    """The outcomes of a batch on a connection, as JSON."""

    at_ms: int
    dead: int
    outcomes: bytes


@dataclass(slots=True)
class ErasureRow:
    """An erasure's request for one name on one connection; ``user`` and ``seq`` are those of its batch."""

    before_ms: int
    received_ms: int
    user: int
    seq: int


@dataclass(slots=True)
class ReceiptRow:
    """The receipt of an erasure: the lanes and batches that it touched, those removed, and the memories forgotten."""

    lanes: frozenset[int]
    touched: tuple[int, ...]
    removed: frozenset[int]
    memories: int = 0


@dataclass(slots=True)
class ReplayedRow:
    """A batch that a replay stored again: the original batch, the connection, the replay, and the number of facts."""

    of: int
    connection: str
    replay: str
    facts: int


@dataclass(slots=True)
class Store:
    """One journal, which several MemoryJournals may have open. ``owner`` is the one that dispatches."""

    salt: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    owner: object | None = None
    last_seq: int = 0
    batches: dict[int, StoredBatch] = field(default_factory=dict)
    known: dict[bytes, StoredBatch] = field(default_factory=dict)
    lanes: dict[tuple[str, int], WaitingLane] = field(default_factory=dict)
    ledger: dict[tuple[int, str], LedgerRow] = field(default_factory=dict)
    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    memory: dict[tuple[int, str], dict[str, bytes]] = field(default_factory=dict)
    requests: dict[tuple[bytes, str], ErasureRow] = field(default_factory=dict)
    receipts: dict[tuple[int, str], ReceiptRow] = field(default_factory=dict)
    sealed: dict[str, SealedSettings] = field(default_factory=dict)
    points: dict[tuple[str, ...], DataPoint] = field(default_factory=dict)
    replays: dict[str, Replay] = field(default_factory=dict)
    replayed: dict[int, ReplayedRow] = field(default_factory=dict)
    gates: dict[tuple[str, str], tuple[Gate, str]] = field(default_factory=dict)
    rests: dict[tuple[str, str], Gate] = field(default_factory=dict)

    def accept(self, entries: Sequence[Entry], connections: Sequence[str], sealed: Sequence[SealedSettings]) -> int:
        """Store batches with their items, all or none. Raises JournalRejected."""
        for entry in entries:
            check_storable(entry.user, entry.part, entry.received_ms, entry.facts)
            check_storable(*(text for text in (entry.message, entry.dialect, entry.scope) if text is not None))
            if entry.wish is not None:
                check_storable(entry.wish.before_ms)
        new = [batch for entry in entries if (batch := self._store(entry, connections)) is not None]
        self._begin_erasures([(batch.seq, batch.entry) for batch in new if batch.entry.wish is not None], connections)
        for one in sealed:
            self._keep_sealed(one)
        return len(new)

    def _store(self, entry: Entry, connections: Sequence[str]) -> StoredBatch | None:
        dedupe = salt_dedupe(entry.dedupe, self.salt)
        if dedupe in self.known:
            return None
        self.last_seq += 1
        batch = self.batches[self.last_seq] = self.known[dedupe] = StoredBatch(self.last_seq, entry, entry.body)
        for connection in connections:
            if entry.scope in (None, connection):
                lane = self.lanes.setdefault((connection, entry.user), WaitingLane(entry.received_ms))
                lane.items[batch.seq] = WaitingItem()
                self.counts[connection, "received", ""] += entry.facts
        if entry.again is not None and entry.scope is not None:
            again = entry.again
            self.replayed[batch.seq] = ReplayedRow(again.of, entry.scope, again.replay, entry.facts)
        return batch

    def _begin_erasures(self, requests: Sequence[tuple[int, Entry]], connections: Sequence[str]) -> None:
        for seq, entry in requests:
            for connection in connections:
                if entry.scope in (None, connection):
                    lane = self.lanes[connection, entry.user]
                    lane.erased_seq, lane.due_ms = max(lane.erased_seq, seq), 0
        for name, connection, *row in make_request_rows(requests, connections):
            new, older = ErasureRow(*row), self.requests.get((name, connection))
            if older is not None:
                new.before_ms = max(older.before_ms, new.before_ms)
            self.requests[name, connection] = new

    def _keep_sealed(self, new: SealedSettings) -> None:
        """Keep settings unless newer ones are known; equal ones only extend the time that they are kept."""
        old = self.sealed.get(new.connection)
        if old is not None:
            is_same = new.print == old.print
            if new.told_ms < old.told_ms or (is_same and new.received_ms < old.received_ms + HOUR_MS):
                return
            new = msgspec.structs.replace(new, trouble=old.trouble if is_same else "")
        self.sealed[new.connection] = new
        self.retry_refused(new.connection)

    def retry_refused(self, connection: str | None = None) -> None:
        """Make the refused lanes of a connection due, or those of all."""
        for (name, _), lane in self.lanes.items():
            if lane.reason.code == REFUSED and connection in (None, name):
                lane.due_ms = 0

    def settle(self, settlement: Settlement) -> bool:
        """Record a settlement; return False if the claim is lost. Raises TypeError, and JournalRejected."""
        memos = {(memo.shared, memo.key): msgspec.json.encode(memo.value) for memo in settlement.memos}
        progress = {seq: msgspec.json.encode(state) for seq, state in settlement.progress.items()}
        check_storable(settlement.reason.code, settlement.reason.detail, settlement.due_ms)
        of = settlement.connection, settlement.user
        lane = self.lanes.get(of)
        if lane is None or lane.fence != settlement.fence:
            return False
        for finished in settlement.finished:
            self._finish(settlement, finished, lane)
        for seq, reached in progress.items():
            if seq in lane.items:
                lane.items[seq].progress = reached
        for finished in settlement.finished:
            if finished.is_wish:
                self._forget_memories(finished.seq, settlement.connection, settlement.user)
        self.remove([one.seq for one in settlement.finished if one.unkept], dead=False)
        for (is_shared, key), value in memos.items():
            self._remember((SHARED if is_shared else settlement.user, settlement.connection), key, value)
        if settlement.release:
            self._release(of, settlement)
        for connection, state, reason, facts in count_outcomes((of[0], one) for one in settlement.finished):
            self.counts[connection, state, reason] += facts
        return True

    def _finish(self, settlement: Settlement, finished: Finished, lane: WaitingLane) -> None:
        outcomes = msgspec.json.encode(finished.outcomes)
        row = LedgerRow(now_ms(), count_dead(finished), outcomes)
        self.ledger[finished.seq, settlement.connection] = row
        del lane.items[finished.seq]

    def _remember(self, of: tuple[int, str], key: str, value: bytes) -> None:
        known = self.memory.setdefault(of, {})
        known[key] = value
        if value == b"null":
            del known[key]

    def _release(self, of: tuple[str, int], settlement: Settlement) -> None:
        lane = self.lanes[of]
        lane.fence = None
        if not lane.items:
            del self.lanes[of]
            return
        lane.due_ms, lane.attempts = settlement.due_ms, settlement.attempts
        lane.failing_since_ms, lane.reason = settlement.failing_since_ms, settlement.reason

    def _forget_memories(self, seq: int, connection: str, user: int) -> None:
        """Complete an erasure on a connection: forget what was remembered of the user, and count it."""
        receipt = self.receipts.get((seq, connection))
        users = {user} if receipt is None else {user, *receipt.lanes}
        forgotten = [self.memory.pop((one, connection), {}) for one in users - {SHARED}]
        if receipt is not None:
            receipt.memories += sum(map(len, forgotten))

    def erase(self, connection: str, lanes: Iterable[int], found: Sequence[int], *, everywhere: bool, seq: int) -> bool:
        """Withhold a user's older items, or else remove the documents of what is finished; see the port."""
        users = {*lanes, *(self.batches[one].entry.user for one in found if everywhere)}
        waiting = [
            self.lanes[connection, user]
            for user in users
            if (connection, user) in self.lanes and any(one < seq for one in self.lanes[connection, user].items)
        ]
        for lane in waiting:
            lane.erased_seq, lane.due_ms = max(lane.erased_seq, seq - 1), 0
        if waiting:
            return False
        older = [
            self.batches[one]
            for one in found
            if one < seq and (one, connection) in self.ledger and (everywhere or self.batches[one].entry.user in users)
        ]
        touched = tuple(batch.seq for batch in older)
        before = self.receipts.get((seq, connection))
        removed = self.remove(touched, dead=True) | (before.removed if before is not None else frozenset())
        self.receipts[seq, connection] = ReceiptRow(
            lanes=frozenset({*lanes, *(batch.entry.user for batch in older)}),
            touched=touched,
            removed=frozenset(removed),
            memories=before.memories if before is not None else 0,
        )
        return True

    def remove(self, seqs: Iterable[int], *, dead: bool) -> set[int]:
        """Remove the documents of batches that wait nowhere; those with dead letters only if ``dead``."""
        removed = set()
        for seq in seqs:
            batch = self.batches.get(seq)
            is_kept = not dead and any(row.dead for (of, _), row in self.ledger.items() if of == seq)
            if batch is not None and batch.body and not is_kept and not self.waits(batch):
                batch.body = b""
                removed.add(seq)
        return removed

    def waits(self, batch: StoredBatch) -> bool:
        """Return whether a batch waits on any connection."""
        return any(user == batch.entry.user and batch.seq in lane.items for (_, user), lane in self.lanes.items())

    def find_seqs(self, wanted: Iterable[bytes]) -> list[int]:
        """Return the batches that have one of these hashed ids, in order."""
        ids = set(wanted)
        return sorted(batch.seq for batch in self.batches.values() if ids & set(batch.entry.refs))

    def iter_lanes(self, connection: str) -> Iterator[tuple[int, WaitingLane]]:
        """Yield the lanes of a connection with their users."""
        return ((user, lane) for (name, user), lane in self.lanes.items() if name == connection)

    def forget(self, seqs: Iterable[int]) -> None:
        """Forget batches, and everything that belongs to them."""
        gone = set(seqs)
        self.batches = {seq: batch for seq, batch in self.batches.items() if seq not in gone}
        self.known = {dedupe: batch for dedupe, batch in self.known.items() if batch.seq not in gone}
        self.ledger = {key: row for key, row in self.ledger.items() if key[0] not in gone}
        self.receipts = {key: row for key, row in self.receipts.items() if key[0] not in gone}
        self.replayed = {seq: row for seq, row in self.replayed.items() if seq not in gone}


def read_outcomes_of(row: LedgerRow | None) -> tuple[Outcome, ...] | None:
    """Return the outcomes of a row of the ledger; None if there is none yet."""
    return None if row is None else msgspec.json.decode(row.outcomes, type=tuple[Outcome, ...])


def check_storable(*values: object) -> None:
    """Raise JournalRejected if a number has more than 64 bits, or a text holds half of a character."""
    for value in values:
        if isinstance(value, int) and value.bit_length() > BITS:
            raise JournalRejected("cannot be stored: OverflowError")
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError:
                raise JournalRejected("cannot be stored: UnicodeEncodeError") from None
