"""The journal in one SQLite file: WAL, every commit synced, one writer at a time across processes."""

from __future__ import annotations

import asyncio
import os
import secrets
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from typing import Any, TypeVar

import msgspec

from gateway.journal import types
from gateway.journal.backlog import Backlog
from gateway.journal.replays import PickedFacts, Replay, ReplayOrigin, Selection
from gateway.journal.rows import hash_lanes, salt_entries
from gateway.journal.shared_limits import ClosedGate, SharedLimits
from gateway.journal.sqlite import (
    accept,
    accounts,
    arrivals,
    claim,
    data_points,
    erase,
    gates,
    lookup,
    refs,
    replay,
    settle,
    transactions,
)
from gateway.journal.sqlite.checkpoint import Checkpointer
from gateway.journal.sqlite.file import STORAGE_ERRORS, connect, path_of
from gateway.journal.sqlite.group_commit import Committer
from gateway.journal.sqlite.indexing import Indexer
from gateway.journal.sqlite.locks import WriterLock, dispatching, writing
from gateway.journal.sqlite.operations import SqliteOperation
from gateway.journal.types import (
    Count,
    DataPoint,
    Entry,
    FoundBatch,
    JournalRejected,
    JournalUnavailable,
    Lane,
    SealedSettings,
    Settlement,
    Tombstone,
    hash_ref,
)
from gateway.journal.wait_reasons import WaitReason

T = TypeVar("T")
LOOK_AGAIN_S = 0.005
REJECTED = (OverflowError, TypeError, ValueError, sqlite3.DataError, sqlite3.InterfaceError)
"""Errors that a value causes, and not the storage."""


class SqliteJournal:
    """The journal port on SQLite. Make one inside a running event loop, after ``prepare``."""

    def __init__(self, url: str) -> None:
        self._path = path_of(url)
        with ExitStack() as unusable:
            self._writer = unusable.enter_context(closing(connect(self._path)))
            self._read_on(self._writer, accept.prepare)
            self._reader = unusable.enter_context(closing(connect(self._path)))
            self.salt: bytes = self._read(refs.salt)
            at = self._path.stat()
            self._file = at.st_dev, at.st_ino
            self._turn = unusable.enter_context(closing(WriterLock(self._path)))
            self._checkpointer = Checkpointer(self._path, connect, self._turn_of_its_own)
            unusable.pop_all()
        self._committer = Committer(self._transact, self._turn)
        self._owner: int | None = None
        self._name = secrets.token_hex(8)
        self._shared: dict[str, bytes] = {}  # shared memories that the dispatcher has read; only it writes them
        self._sharing: Counter[str] = Counter()  # settlements in progress that write them
        self._unread: set[int] = set()  # fences of claims whose lanes could not be read
        self._indexer: Indexer | None = None
        self._aside: sqlite3.Connection | None = None

    async def accept(
        self, new: Sequence[Entry], connections: Sequence[str], sealed: Sequence[SealedSettings] = ()
    ) -> int:
        """Store batches durably; see the port."""
        return await self._do(accept.Accept(salt_entries(new, self.salt), tuple(connections), tuple(sealed)))

    async def conflicting(self, entries: Sequence[Entry]) -> list[Entry]:
        """Return the batches whose id is stored with another document; see the port."""
        return self._read(accept.conflicting, entries, self.salt)

    async def claim(self, connection: str, *, now_ms: int, lanes: int, items: int) -> list[Lane]:
        """Claim lanes that are due; see the port."""
        await self._let_go()
        fence = secrets.randbits(62)
        found = await self._do(claim.Claim(connection, now_ms, lanes, fence))
        if not found:
            return []
        self._unread.add(fence)
        claimed = self._read(claim.read, connection, fence, items)
        self._unread.remove(fence)
        return claimed

    async def settle(self, settlement: Settlement) -> bool:
        """Record a settlement; see the port. Raises TypeError for a value that is no JSON."""
        msgspec.json.encode((settlement.memos, settlement.progress))  # nobody else in the commit may suffer for it
        shares = any(memo.shared for memo in settlement.memos)
        self._sharing[settlement.connection] += shares
        try:
            held = await self._do(settle.Settle(settlement, _now_ms()))
        finally:
            self._sharing[settlement.connection] -= shares
            if shares:
                self._shared.pop(settlement.connection, None)
        return held

    async def wake(self, connection: str, reason: WaitReason, *, now_ms: int) -> None:
        """Make lanes due that wait for a reason; see the port."""
        await self._do(lookup.Wake(connection, reason, now_ms))

    async def reschedule_after_clock_jump(self, *, after_ms: int, now_ms: int, limit: int) -> int:
        """Make lanes due that were put off for too long; see the port."""
        return await self._do(lookup.RescheduleAfterClockJump(after_ms, now_ms, limit))

    async def is_dealt_with(self, connection: str, ref: bytes, before_seq: int) -> bool:
        """Return whether no older item waits of batches with an id; see the port."""
        return await self._do(lookup.CheckRefFinished(connection, ref, before_seq))

    async def prune(self, *, before_ms: int, dead_before_ms: int, after_seq: int, limit: int) -> int | None:
        """Forget finished batches; see the port."""
        return await self._do(lookup.Prune(before_ms, dead_before_ms, after_seq, limit))

    async def erase(self, connection: str, names: Sequence[str], *, everywhere: bool, seq: int) -> bool:
        """Withhold a user's older items, and remove their documents; see the port."""
        found = tuple(self._read(refs.seqs, [hash_ref(name, self.salt) for name in names]))
        return await self._do(erase.Erase(connection, hash_lanes(names, self.salt), found, everywhere, seq))

    async def tombstone(self, connection: str, names: Sequence[bytes]) -> Tombstone | None:
        """Return the tombstone of these names; see the port."""
        return self._read(erase.tombstone, connection, names)

    async def crashed(self, connection: str, user: int, seq: int, doing: str) -> None:
        """Count a crash of the process on an item; see the port."""
        await self._do(lookup.Crashed(connection, user, seq, doing))

    async def backlog(self) -> list[Backlog]:
        """Return the backlog; see the port."""
        return await asyncio.to_thread(self._look_aside, lookup.backlog, _now_ms())

    async def room(self) -> int | None:
        """Return the free bytes on the disk and inside the file; see the port."""
        try:
            disk = os.statvfs(self._path.parent)
        except OSError as error:
            raise JournalUnavailable(f"{self._path}: {error.strerror}") from error
        return disk.f_bavail * disk.f_frsize + self._read(lookup.free_bytes)

    async def ping(self) -> None:
        """Write to the journal; see the port."""
        await self._do(lookup.Ping(_now_ms()))

    async def shared_memory(self, connection: str) -> dict[str, Any]:
        """Return the shared memories of a connection; see the port."""
        if self._owner is None or self._sharing[connection]:
            return self._read(lookup.shared_memory, connection)
        if connection not in self._shared:
            self._shared[connection] = msgspec.json.encode(self._read(lookup.shared_memory, connection))
        return msgspec.json.decode(self._shared[connection], type=dict[str, Any])

    async def lane_is_empty(self, connection: str, user: int, before_seq: int) -> bool:
        """Return whether nothing older is left in a lane; see the port."""
        await self._put_away(before_seq)
        return self._read(lookup.lane_is_empty, connection, user, before_seq)

    async def find(self, wanted: Sequence[bytes], *, limit: int = 100) -> list[FoundBatch]:
        """Return the batches with these ids; see the port."""
        return self._read(lookup.find, wanted, limit)

    async def erasures(self, *, limit: int) -> list[FoundBatch]:
        """Return the newest erasures; see the port."""
        return self._read(lookup.erasures, limit)

    async def sealed(self, connection: str) -> SealedSettings | None:
        """Return the stored settings of an account's connection; see the port."""
        return next(iter(self._read(accounts.sealed, connection)), None)

    async def all_sealed(self) -> list[SealedSettings]:
        """Return the stored settings of every account; see the port."""
        return self._read(accounts.sealed, None)

    async def note_trouble(self, connection: str, print: bytes, trouble: str) -> None:
        """Record the problem of an account's settings; see the port."""
        await self._do(accounts.NoteTrouble(connection, print, trouble))

    async def reseal(self, print: bytes, sealed: SealedSettings) -> None:
        """Replace settings by the same ones, sealed again; see the port."""
        await self._do(accounts.Reseal(print, sealed))

    async def due(self, connection: str, now_ms: int) -> list[tuple[str, bytes | None]]:
        """Return the connections on which something is due; see the port."""
        await self._let_go()
        await self._put_away()
        return self._read(accounts.due, connection, now_ms)

    async def counts(self) -> list[Count]:
        """Return the counts of facts; see the port."""
        return self._read(lookup.counts)

    async def note(self, points: Sequence[DataPoint]) -> None:
        """Add to the catalog of data points; see the port."""
        await self._do(data_points.NoteDataPoints(tuple(points), types.MAX_DATA_POINTS))

    async def data_points(self) -> list[DataPoint]:
        """Return the catalog of data points; see the port."""
        return self._read(data_points.all_points)

    async def forget_data_points(self, name: str) -> int:
        """Remove a name from the catalog; see the port."""
        return await self._do(data_points.PruneDataPoints(name))

    async def pick(
        self, selection: Selection, *, after_seq: int, upto: int, limit: int, surveys: bool = False
    ) -> tuple[list[PickedFacts], int | None]:
        """Return the facts that a selection matches; see the port. The temporary tables of a survey are made once."""
        if self._aside is None:
            self._aside = connect(self._path)
        look = partial(replay.pick, surveys=surveys)
        return await asyncio.to_thread(self._read_on, self._aside, look, selection, self.salt, (after_seq, upto, limit))

    async def begin_replay(self, new: Replay) -> None:
        """Record a new replay; see the port."""
        await self._do(replay.Begin(new))

    async def replays(self) -> list[Replay]:
        """Return every known replay; see the port."""
        return await asyncio.to_thread(self._look_aside, replay.replays)

    async def advance_replay(self, id: str, *, cursor: int, done: bool) -> bool:
        """Record the progress of a replay; see the port."""
        return await self._do(replay.Advance(id, cursor, done))

    async def abort_replay(self, id: str) -> bool:
        """Abort a replay; see the port."""
        return await self._do(replay.Abort(id))

    async def withdrawn(self, user: int, again: ReplayOrigin) -> str:  # noqa: ARG002  # batches are found without it
        """Return why a redelivered batch must not be sent; see the port."""
        return self._read(replay.withdrawn, again)

    async def wait(self, connections: Sequence[str], *, now_ms: int, timeout_s: float) -> None:
        """Return once a lane may be due; see the port."""
        start = time.monotonic()
        while (looked := time.monotonic()) < start + timeout_s:
            if self._read(lookup.any_due, connections, now_ms + int(1000 * (looked - start))):
                return
            await asyncio.sleep(max(LOOK_AGAIN_S, 20 * (time.monotonic() - looked)))  # it looks past what is in hand

    async def take_over(self) -> bool:
        """Become the only dispatcher of this journal, and release a dead one's claims; see the port."""
        if self._owner is None:
            try:
                self._owner = self._own()
            except BlockingIOError:
                return False
            except (OSError, *STORAGE_ERRORS) as error:
                raise JournalUnavailable(f"{self._path}: {error}") from error
            self._committer.write_here()
        return True

    def _own(self) -> int:
        """Lock out other dispatchers and release a dead one's claims; return the descriptor of the lock."""
        descriptor = dispatching(self._path)
        try:
            with self._turn_of_its_own():
                claim.release_all(self._reader)
                gates.succeed(self._reader)
            self._indexer = Indexer(connect(self._path), self._turn_of_its_own)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    async def exchange(self, connection: str, closings: Sequence[ClosedGate]) -> SharedLimits:
        """Publish and return closed gates; see the port. Other dispatchers can only be earlier ones."""
        if closings:
            await self._do(gates.PublishGates(connection, self._name, tuple(closings), _now_ms()))
        return self._read(gates.apply_remote, connection, self._name, _now_ms())

    async def pause(self, connection: str, left_ms: int | None) -> bool:
        """Pause or resume a connection; see the port."""
        return await self._do(gates.Pause(connection, left_ms, _now_ms()))

    async def close(self) -> None:
        """Finish the open operations and close the file."""
        await self._committer.close()
        if self._indexer is not None:
            self._indexer.close()
        self._checkpointer.close()
        self._writer.close()
        self._reader.close()
        if self._aside is not None:
            self._aside.close()
        self._turn.close()
        if self._owner is not None:
            os.close(self._owner)

    @property
    def waiting(self) -> int:
        """The number of operations that wait for the next commit."""
        return self._committer.waiting

    def _turn_of_its_own(self) -> Any:
        return writing(self._path)

    async def _put_away(self, before_seq: int | None = None) -> None:
        """Put every batch (older than ``before_seq``) into its lanes."""
        if self._read(arrivals.any_left, before_seq):
            await self._do(arrivals.MoveArrivals())

    async def _let_go(self) -> None:
        """Release lanes that were claimed and could not be read."""
        if self._unread:
            unread = tuple(self._unread)
            await self._do(claim.ReleaseClaims(unread))
            self._unread -= set(unread)

    async def _do(self, operation: SqliteOperation[T]) -> T:
        try:
            return await self._committer.submit(operation)
        except (
            sqlite3.IntegrityError,
            UnicodeDecodeError,
        ) as error:  # the journal's fault, not that of what was posted
            raise JournalUnavailable(f"{self._path}: {error}") from error
        except REJECTED as error:
            raise JournalRejected(f"cannot be stored: {type(error).__name__}") from error

    def _read(self, look: Callable[..., T], *arguments: Any) -> T:
        return self._read_on(self._reader, look, *arguments)

    def _read_on(self, database: sqlite3.Connection, look: Callable[..., T], *arguments: Any) -> T:
        try:
            return look(database, *arguments)
        except STORAGE_ERRORS as error:
            raise JournalUnavailable(f"{self._path}: {error}") from error

    def _look_aside(self, look: Callable[..., T], *arguments: Any) -> T:
        """Read on a connection of its own, for reads that take long."""
        with closing(connect(self._path)) as database:
            return self._read_on(database, look, *arguments)

    def _still_there(self) -> None:
        """Check that the file is still there, as writes to a removed file are lost. Raises JournalUnavailable."""
        try:
            found = self._path.stat()
        except OSError as error:
            raise JournalUnavailable(f"{self._path}: {error.strerror}") from error
        if (found.st_dev, found.st_ino) != self._file:
            raise JournalUnavailable(f"{self._path}: another file is in its place; restart the gateway")

    def _transact(self, operations: Sequence[SqliteOperation[Any]]) -> Sequence[Any]:
        """Run operations of all kinds in one transaction: those of a kind together, where that is cheaper."""
        self._still_there()
        try:
            return transactions.commit(self._writer, operations)
        except (*REJECTED, sqlite3.IntegrityError):  # the fault of one operation, to which `_do` gives its name
            raise
        except (sqlite3.Error, OSError, MemoryError) as error:  # no memory: a hook is at its bound
            raise JournalUnavailable(f"{self._path}: {str(error) or 'no memory'}") from error


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
