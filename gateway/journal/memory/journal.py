"""The journal's port in memory. It says what the port means, and the other engines pass the same tests.

Every operation takes effect at once and as a whole. Several journals may share a store, as processes share a file.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from gateway.journal import types
from gateway.journal.backlog import Backlog
from gateway.journal.memory import lookup, replays
from gateway.journal.memory.store import SHARED, Store, now_ms
from gateway.journal.replays import PickedFacts, Replay, ReplayOrigin, Selection
from gateway.journal.rows import hash_lanes, make_lanes
from gateway.journal.shared_limits import OPERATOR, ClosedGate, SharedLimits
from gateway.journal.types import (
    Count,
    DataPoint,
    Entry,
    FoundBatch,
    Lane,
    SealedSettings,
    Settlement,
    Tombstone,
    hash_ref,
    salt_dedupe,
)
from gateway.journal.wait_reasons import WaitReason

LOOK_AGAIN_S = 0.005


class MemoryJournal:
    """The journal port on a store in memory."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._name = secrets.token_hex(8)
        self.salt: bytes = store.salt

    async def accept(
        self, new: Sequence[Entry], connections: Sequence[str], sealed: Sequence[SealedSettings] = ()
    ) -> int:
        """Store batches; see the port."""
        return self._store.accept(new, connections, sealed)

    async def conflicting(self, entries: Sequence[Entry]) -> list[Entry]:
        """Return the batches whose id is stored with another document; see the port."""
        known = [(one, self._store.known.get(salt_dedupe(one.dedupe, self.salt))) for one in entries]
        return [one for one, batch in known if batch is not None and batch.body not in (b"", one.body)]

    async def claim(self, connection: str, *, now_ms: int, lanes: int, items: int) -> list[Lane]:
        """Claim due lanes; see the port."""
        fence = secrets.randbits(62)
        free = [(user, lane) for user, lane in self._store.iter_lanes(connection) if lane.fence is None]
        due = sorted((one for one in free if one[1].due_ms <= now_ms), key=lambda one: one[1].due_ms)[:lanes]
        rows: list[Any] = []
        for user, lane in due:
            lane.fence = fence
            rows.extend((user, *self._item_row(seq, lane.items[seq])) for seq in sorted(lane.items)[:items])
        taken = [(user, lane.attempts, lane.failing_since_ms, lane.erased_seq) for user, lane in due]
        memory = [
            (user, key, value)
            for user, _ in due
            for key, value in self._store.memory.get((user, connection), {}).items()
        ]
        return make_lanes((connection, fence), taken, rows, memory, wishes=bool(self._store.requests))

    def _item_row(self, seq: int, item: Any) -> tuple[Any, ...]:
        batch = self._store.batches[seq]
        of = batch.entry
        document = seq, of.message, of.part, of.dialect, of.received_ms, of.facts, batch.body
        return *document, item.progress, item.crashes, item.crashed_in

    async def settle(self, settlement: Settlement) -> bool:
        """Record a settlement; see the port. Raises TypeError for what is no JSON."""
        return self._store.settle(settlement)

    async def wake(self, connection: str, reason: WaitReason, *, now_ms: int) -> None:
        """Make lanes due that wait for a reason; see the port."""
        for _, lane in self._store.iter_lanes(connection):
            if lane.reason == reason:
                lane.due_ms = min(lane.due_ms, now_ms)

    async def reschedule_after_clock_jump(self, *, after_ms: int, now_ms: int, limit: int) -> int:
        """Make lanes due that were put off for too long; see the port."""
        late = [lane for lane in self._store.lanes.values() if lane.due_ms > after_ms][:limit]
        for lane in late:
            lane.due_ms = now_ms
        return len(late)

    async def crashed(self, connection: str, user: int, seq: int, doing: str) -> None:
        """Count a crash of the process on an item; see the port."""
        lane = self._store.lanes.get((connection, user))
        if lane is not None and seq in lane.items:
            lane.items[seq].crashes += 1
            lane.items[seq].crashed_in = doing

    async def shared_memory(self, connection: str) -> dict[str, Any]:
        """Return the shared memories of a connection; see the port."""
        known = self._store.memory.get((SHARED, connection), {})
        return {key: msgspec.json.decode(value) for key, value in known.items()}

    async def lane_is_empty(self, connection: str, user: int, before_seq: int) -> bool:
        """Return whether nothing older is left in a lane; see the port."""
        lane = self._store.lanes.get((connection, user))
        return lane is None or all(seq >= before_seq for seq in lane.items)

    async def is_dealt_with(self, connection: str, ref: bytes, before_seq: int) -> bool:
        """Return whether nothing older waits of batches with this id; see the port."""
        older = [seq for seq in self._store.find_seqs([ref]) if seq < before_seq]
        return not any(seq in lane.items for _, lane in self._store.iter_lanes(connection) for seq in older)

    async def erase(self, connection: str, names: Sequence[str], *, everywhere: bool, seq: int) -> bool:
        """Withhold a user's older items, and remove their documents; see the port."""
        found = self._store.find_seqs(hash_ref(name, self.salt) for name in names)
        lanes = hash_lanes(names, self.salt)
        return self._store.erase(connection, lanes, found, everywhere=everywhere, seq=seq)

    async def tombstone(self, connection: str, names: Sequence[bytes]) -> Tombstone | None:
        """Return the tombstone of these names; see the port."""
        rows = [row for name in names if (row := self._store.requests.get((name, connection))) is not None]
        if not rows:
            return None
        lanes = [(self._store.lanes.get((connection, row.user)), row.seq) for row in rows]
        return Tombstone(
            before_ms=max(row.before_ms for row in rows),
            is_under_way=any(lane is not None and seq in lane.items for lane, seq in lanes),
        )

    async def take_over(self) -> bool:
        """Become the only dispatcher, and end the claims of a dead one; see the port."""
        if self._store.owner is None:
            self._store.owner = self
            for lane in self._store.lanes.values():
                lane.fence = None
            self._store.retry_refused()
            self._store.rests = {key: gate for key, gate in self._store.rests.items() if key[1] == OPERATOR}
        return self._store.owner is self

    async def wait(self, connections: Sequence[str], *, now_ms: int, timeout_s: float) -> None:
        """Return once a lane may be due, or after the timeout; see the port."""
        start = time.monotonic()
        while (looked := time.monotonic()) < start + timeout_s:
            at_ms = now_ms + int(1000 * (looked - start))
            lanes = [lane for name in connections for _, lane in self._store.iter_lanes(name)]
            if any(lane.fence is None and lane.due_ms <= at_ms for lane in lanes):
                return
            await asyncio.sleep(LOOK_AGAIN_S)

    async def find(self, wanted: Sequence[bytes], *, limit: int = 100) -> list[FoundBatch]:
        """Return the newest batches that have one of these ids; see the port."""
        return lookup.find_all(self._store, self._store.find_seqs(wanted)[-limit:])

    async def erasures(self, *, limit: int) -> list[FoundBatch]:
        """Return the newest erasures; see the port."""
        seqs = {seq for seq, _ in self._store.receipts} | {row.seq for row in self._store.requests.values()}
        return lookup.find_all(self._store, sorted(seqs)[-limit:])

    async def sealed(self, connection: str) -> SealedSettings | None:
        """Return the stored settings of an account's connection; see the port."""
        return self._store.sealed.get(connection)

    async def all_sealed(self) -> list[SealedSettings]:
        """Return the stored settings of every account; see the port."""
        return [one for _, one in sorted(self._store.sealed.items())]

    async def note_trouble(self, connection: str, print: bytes, trouble: str) -> None:
        """Record the problem of an account's settings; see the port."""
        known = self._store.sealed.get(connection)
        if known is not None and known.print == print:
            self._store.sealed[connection] = replace(known, trouble=trouble)

    async def reseal(self, print: bytes, sealed: SealedSettings) -> None:
        """Replace settings by the same ones, sealed again; see the port."""
        known = self._store.sealed.get(sealed.connection)
        if known is not None and known.print == print:
            self._store.sealed[sealed.connection] = replace(known, print=sealed.print, sealed=sealed.sealed)

    async def due(self, connection: str, now_ms: int) -> list[tuple[str, bytes | None]]:
        """Return the connections on which something is due; see the port."""
        names = {
            name
            for (name, _), lane in self._store.lanes.items()
            if name.partition("/")[0] == connection or name == connection
            if lane.fence is None and lane.due_ms <= now_ms
        }
        sealed = {name: self._store.sealed.get(name) for name in names}
        return [(name, None if (one := sealed[name]) is None else one.print) for name in sorted(names)]

    async def counts(self) -> list[Count]:
        """Return the counts of facts; see the port."""
        rows = sorted(self._store.counts.items())
        return [Count(connection=c, state=s, reason=r, facts=n) for (c, s, r), n in rows]

    async def note(self, points: Sequence[DataPoint]) -> None:
        """Add to the catalog of data points; see the port."""
        lookup.note_points(self._store, points, types.MAX_DATA_POINTS)

    async def data_points(self) -> list[DataPoint]:
        """Return the catalog of data points; see the port."""
        points = self._store.points.values()
        return sorted(points, key=lambda one: (one.kind, one.name, one.attribute, one.connection, one.input))

    async def forget_data_points(self, name: str) -> int:
        """Remove a name from the catalog; see the port."""
        gone = [key for key, point in self._store.points.items() if name in (point.name, point.attribute)]
        for key in gone:
            del self._store.points[key]
        return len(gone)

    async def backlog(self) -> list[Backlog]:
        """Return the backlog; see the port."""
        return lookup.list_backlog(self._store, now_ms())

    async def prune(self, *, before_ms: int, dead_before_ms: int, after_seq: int, limit: int) -> int | None:
        """Forget finished batches; see the port."""
        bounds = {"before_ms": before_ms, "dead_before_ms": dead_before_ms}
        return lookup.prune(self._store, **bounds, after_seq=after_seq, limit=limit)

    async def room(self) -> int | None:
        """Return None: nobody knows how much memory is left."""
        return None

    async def ping(self) -> None:
        """Do nothing: memory can always be written."""

    async def exchange(self, connection: str, closings: Sequence[ClosedGate]) -> SharedLimits:
        """Publish and return closed gates; see the port."""
        at_ms = now_ms()
        lookup.publish(self._store, connection, self._name, closings, at_ms)
        return lookup.read_shared_limits(self._store, connection, self._name, at_ms)

    async def pause(self, connection: str, left_ms: int | None) -> bool:
        """Pause or resume a connection; see the port."""
        return lookup.pause(self._store, connection, left_ms, now_ms())

    async def pick(
        self, selection: Selection, *, after_seq: int, upto: int, limit: int, surveys: bool = False
    ) -> tuple[list[PickedFacts], int | None]:
        """Return the facts that a selection matches; see the port."""
        return replays.pick(self._store, selection, (after_seq, upto, limit), surveys=surveys)

    async def begin_replay(self, new: Replay) -> None:
        """Record a new replay; see the port."""
        self._store.replays[new.id] = replace(new, upto=max(self._store.batches, default=0), cursor=0, state="open")

    async def replays(self) -> list[Replay]:
        """Return every known replay; see the port."""
        return replays.list_all(self._store)

    async def advance_replay(self, id: str, *, cursor: int, done: bool) -> bool:
        """Record the progress of a replay; see the port."""
        return replays.advance(self._store, id, cursor=cursor, done=done)

    async def abort_replay(self, id: str) -> bool:
        """Abort a replay; see the port."""
        return replays.abort(self._store, id)

    async def withdrawn(self, user: int, again: ReplayOrigin) -> str:  # noqa: ARG002  # batches are found without it
        """Return why a redelivered batch must not be sent; see the port."""
        return replays.find_withdrawal(self._store, again)

    async def close(self) -> None:
        """Let another become the dispatcher; the contents stay."""
        if self._store.owner is self:
            self._store.owner = None
