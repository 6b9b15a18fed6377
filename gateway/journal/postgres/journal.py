"""The journal port on PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from gateway.journal import types
from gateway.journal.backlog import Backlog
from gateway.journal.operations import group_by_kind
from gateway.journal.postgres import (
    accept,
    accounts,
    claim,
    data_points,
    erase,
    gates,
    indexing,
    lookup,
    prune,
    replay,
    schema,
    settle,
)
from gateway.journal.postgres.accept import Accept
from gateway.journal.postgres.address import Address
from gateway.journal.postgres.group_commit import GroupCommit
from gateway.journal.postgres.hints import HintChannel
from gateway.journal.postgres.link import TROUBLE, Connection, PostgresLink, connect, described
from gateway.journal.replays import PickedFacts, Replay, ReplayOrigin, Selection
from gateway.journal.rows import salt_entries
from gateway.journal.shared_limits import ClosedGate, SharedLimits
from gateway.journal.types import (
    Count,
    DataPoint,
    Entry,
    FoundBatch,
    JournalUnavailable,
    Lane,
    SealedSettings,
    Settlement,
    Tombstone,
)
from gateway.journal.wait_reasons import WaitReason

T = TypeVar("T")
LEASE_S = 15.0
SHARDS = 64
CRASHED = """
    UPDATE work SET crashes = crashes + 1, crashed_in = $4 WHERE user_hash = $1 AND connection = $2 AND seq = $3
"""
PING = """
    INSERT INTO memory (user_hash, connection, key, value) VALUES (0, '', 'ping', $1)
    ON CONFLICT (user_hash, connection, key) DO UPDATE SET value = excluded.value
"""


async def prepare(address: Address) -> None:
    """Make the journal, or bring an older one up to date. Raises JournalUnusable and JournalUnavailable."""
    await _at(address, schema.migrate)


async def inspect(address: Address) -> bool:
    """Return whether there is a journal yet. Raises as ``prepare`` does if none can be made."""
    return await _at(address, schema.version) > 0


async def _at(address: Address, work: Callable[[Connection], Awaitable[T]]) -> T:
    try:
        connection = await connect(address)
        try:
            return await work(connection)
        finally:
            await connection.close(timeout=1.0)
    except (*TROUBLE, ValueError) as error:
        raise JournalUnavailable(f"{address}: {described(error)}") from error


class PostgresJournal:
    """The journal port on PostgreSQL, for one of many processes. Make one inside a running event loop.

    It connects when needed, and reconnects after an outage. Its claims hold for ``lease_s`` and are renewed; the claims
    of another process that does not renew them for as long are taken over. A process takes over nothing before it has
    been connected for ``lease_s``: after an outage every process can first record its work.
    """

    def __init__(self, address: Address, *, lease_s: float = LEASE_S) -> None:
        self._lease_ms = int(lease_s * 1000)
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._shard = secrets.randbelow(SHARDS)
        self._storing = PostgresLink(address)
        self._working = PostgresLink(address)
        self._reading = PostgresLink(address)
        self._aside = PostgresLink(address)
        self._accepts = GroupCommit(self._accept)
        self._steps = GroupCommit(self._step)
        self._looks = GroupCommit(self._look)
        self._hints = HintChannel(address)
        self._held: dict[claim.Key, float] = {}
        self._tasks: dict[Callable[[], Any], asyncio.Task[None]] = {}
        self._salt: bytes | None = None
        self._is_dispatcher = False

    @classmethod
    async def open(cls, address: Address, *, lease_s: float = LEASE_S) -> PostgresJournal:
        """Open the journal, even while the server cannot be reached."""
        made = cls(address, lease_s=lease_s)
        await made._learn()
        return made

    @property
    def salt(self) -> bytes:
        """Return the salt of ids; see the port. Raises JournalUnavailable until the server was reached once."""
        if self._salt is None:
            self._go_on(self._learn)
            raise JournalUnavailable("the journal has not been reached yet")
        return self._salt

    async def accept(
        self, new: Sequence[Entry], connections: Sequence[str], sealed: Sequence[SealedSettings] = ()
    ) -> int:
        """Store batches durably; see the port."""
        salted = salt_entries(new, self.salt)
        return await self._accepts.submit(Accept(salted, tuple(connections), tuple(sealed)))

    async def conflicting(self, entries: Sequence[Entry]) -> list[Entry]:
        """Return the batches whose id is stored with another document; see the port."""
        return await self._aside.run(accept.conflicting, entries, self.salt)

    async def claim(self, connection: str, *, now_ms: int, lanes: int, items: int) -> list[Lane]:
        """Claim lanes that are due; see the port."""
        order = claim.Claim(
            connection=connection,
            now_ms=now_ms,
            lease_ms=self._lease_ms,
            lanes=lanes,
            items=items,
            owner=self._owner,
            fence=secrets.randbits(62),
        )
        claimed = await self._steps.submit(order)
        self._held.update(((lane.user, lane.connection, lane.fence), time.monotonic()) for lane in claimed)
        if self._held:
            self._go_on(self._renew)
        return claimed

    async def settle(self, settlement: Settlement) -> bool:
        """Record a settlement; see the port. Raises TypeError for a value that is no JSON."""
        msgspec.json.encode((settlement.memos, settlement.progress))  # nobody else in the commit may suffer for it
        held = await self._steps.submit(settle.Settle(settlement, _now_ms()))
        if settlement.release or not held:
            self._held.pop((settlement.user, settlement.connection, settlement.fence), None)
            self._hints.heed()
        return held

    async def wake(self, connection: str, reason: WaitReason, *, now_ms: int) -> None:
        """Make lanes due that wait for a reason; see the port."""
        await self._aside.run(claim.wake, connection, reason, now_ms)
        self._hints.give()

    async def reschedule_after_clock_jump(self, *, after_ms: int, now_ms: int, limit: int) -> int:
        """Make lanes due that were put off for too long; see the port."""
        return await self._aside.run(claim.reschedule_after_clock_jump, after_ms, now_ms, limit, self._lease_ms)

    async def is_dealt_with(self, connection: str, ref: bytes, before_seq: int) -> bool:
        """Return whether no older item waits of batches with an id; see the port."""
        return await self._aside.run(lookup.is_dealt_with, connection, ref, before_seq)

    async def prune(self, *, before_ms: int, dead_before_ms: int, after_seq: int, limit: int) -> int | None:
        """Forget finished batches; see the port."""
        order = prune.Prune(before_ms, dead_before_ms, after_seq, limit)
        return await self._aside.run(prune.prune, order)

    async def erase(self, connection: str, names: Sequence[str], *, everywhere: bool, seq: int) -> bool:
        """Withhold a user's older items, and remove their documents; see the port."""
        order = erase.Erase(connection, self.salt, tuple(names), everywhere, seq)
        return await self._aside.run(erase.erase, order)

    async def tombstone(self, connection: str, names: Sequence[bytes]) -> Tombstone | None:
        """Return the tombstone of these names; see the port."""
        return await self._looks.submit(lookup.CheckTombstone(connection, tuple(names)))

    async def crashed(self, connection: str, user: int, seq: int, doing: str) -> None:
        """Count a crash of the process on an item; see the port."""
        await self._aside.run(_execute, CRASHED, user, connection, seq, doing)

    async def backlog(self) -> list[Backlog]:
        """Return the backlog; see the port."""
        return await self._aside.run(lookup.backlog)

    async def room(self) -> int | None:
        """Return None: the room on its disk is the server's own affair; see the port."""
        return None

    async def ping(self) -> None:
        """Write to the journal; see the port."""
        await self._aside.run(_execute, PING, str(_now_ms()))

    async def shared_memory(self, connection: str) -> dict[str, Any]:
        """Return the shared memories of a connection; see the port."""
        return await self._looks.submit(lookup.SharedMemory(connection))

    async def lane_is_empty(self, connection: str, user: int, before_seq: int) -> bool:
        """Return whether nothing older is left in a lane; see the port."""
        return await self._looks.submit(lookup.CheckLaneEmpty(user, connection, before_seq))

    async def find(self, wanted: Sequence[bytes], *, limit: int = 100) -> list[FoundBatch]:
        """Return the batches with these ids; see the port."""
        return await self._aside.run(lookup.find, wanted, limit)

    async def erasures(self, *, limit: int) -> list[FoundBatch]:
        """Return the newest erasures; see the port."""
        return await self._aside.run(lookup.erasures, limit)

    async def sealed(self, connection: str) -> SealedSettings | None:
        """Return the stored settings of an account's connection; see the port."""
        return next(iter(await self._reading.run(accounts.sealed, connection)), None)

    async def all_sealed(self) -> list[SealedSettings]:
        """Return the stored settings of every account; see the port."""
        return await self._aside.run(accounts.sealed, None)

    async def note_trouble(self, connection: str, print: bytes, trouble: str) -> None:
        """Record the problem of an account's settings; see the port."""
        await self._aside.run(accounts.note, connection, print, trouble)

    async def reseal(self, print: bytes, sealed: SealedSettings) -> None:
        """Replace settings by the same ones, sealed again; see the port."""
        await self._aside.run(accounts.reseal, print, sealed)

    async def due(self, connection: str, now_ms: int) -> list[tuple[str, bytes | None]]:
        """Return the connections on which something is due; see the port."""
        return await self._reading.run(accounts.due, connection, now_ms)

    async def counts(self) -> list[Count]:
        """Return the counts of facts; see the port."""
        return await self._aside.run(lookup.counts)

    async def note(self, points: Sequence[DataPoint]) -> None:
        """Add to the catalog of data points; see the port."""
        if points:
            await self._aside.run(data_points.note, points, types.MAX_DATA_POINTS)

    async def data_points(self) -> list[DataPoint]:
        """Return the catalog of data points; see the port."""
        return await self._aside.run(data_points.data_points)

    async def forget_data_points(self, name: str) -> int:
        """Remove a name from the catalog; see the port."""
        return await self._aside.run(data_points.forget, name)

    async def pick(
        self, selection: Selection, *, after_seq: int, upto: int, limit: int, surveys: bool = False
    ) -> tuple[list[PickedFacts], int | None]:
        """Return the facts that a selection matches; see the port."""
        return await self._aside.run(replay.pick, selection, self.salt, (after_seq, upto, limit), surveys)

    async def begin_replay(self, new: Replay) -> None:
        """Record a new replay; see the port."""
        await self._aside.run(replay.begin, new)

    async def replays(self) -> list[Replay]:
        """Return every known replay; see the port."""
        return await self._aside.run(replay.replays)

    async def advance_replay(self, id: str, *, cursor: int, done: bool) -> bool:
        """Record the progress of a replay; see the port."""
        return await self._aside.run(replay.advance, id, cursor, done)

    async def abort_replay(self, id: str) -> bool:
        """Abort a replay; see the port."""
        is_known = await self._aside.run(replay.abort, id)
        self._hints.give()
        return is_known

    async def withdrawn(self, user: int, again: ReplayOrigin) -> str:
        """Return why a redelivered batch must not be sent; see the port."""
        return await self._reading.run(replay.withdrawn, user, again)

    async def wait(self, connections: Sequence[str], *, now_ms: int, timeout_s: float) -> None:
        """Return once a lane may be due; see the port."""
        end = time.monotonic() + timeout_s
        with self._hints.watching() as hinted:
            await self._hints.listen()
            due_ms = await self._reading.run(lookup.next_due_ms, list(connections))
            left_s = end - time.monotonic()
            until_due_s = left_s if due_ms is None else (due_ms - now_ms) / 1000
            with suppress(TimeoutError):
                await asyncio.wait_for(hinted.wait(), max(0.0, min(left_s, until_due_s)))

    async def take_over(self) -> bool:
        """Become one of the journal's dispatchers; see the port."""
        await self._aside.run(claim.retry_refused)
        await self._learn()
        self._is_dispatcher = True
        self._go_on(self._shelve)
        return True

    async def exchange(self, connection: str, closings: Sequence[ClosedGate]) -> SharedLimits:
        """Tell and hear what is closed; see the port."""
        order = gates.ExchangeGates(connection, self._owner, self._lease_ms, tuple(closings))
        return await self._reading.run(gates.exchange, order)

    async def pause(self, connection: str, left_ms: int | None) -> bool:
        """Pause or resume a connection; see the port."""
        return await self._aside.run(gates.pause, connection, left_ms)

    async def close(self) -> None:
        """Finish what is in hand, give back what is claimed, and let go of the server."""
        for group in (self._accepts, self._steps, self._looks):
            await group.close()
        for task in self._tasks.values():
            task.cancel()
        with suppress(JournalUnavailable):
            if self._held:
                await self._working.run(claim.let_go, list(self._held))
            if self._is_dispatcher:
                await self._working.run(gates.leave, self._owner)
        await self._hints.close()
        for link in (self._storing, self._working, self._reading, self._aside):
            await link.close()

    async def _accept(self, accepts: Sequence[Accept]) -> list[int]:
        stored = await self._storing.run(accept.accept, accepts, self._shard)
        self._hints.give()
        return stored

    async def _step(self, steps: Sequence[Any]) -> list[Any]:
        return await self._working.run(self._transact, steps)

    async def _transact(self, connection: Connection, steps: Sequence[Any]) -> list[Any]:
        """Settle and claim in one transaction: first what makes lanes free."""
        results: list[Any] = [None] * len(steps)
        takes_over = 1000 * (time.monotonic() - self._working.since) >= self._lease_ms
        kinds = group_by_kind(steps)
        async with connection.transaction():
            if settles := kinds.get(settle.Settle, []):
                told = await settle.settle(connection, [steps[place] for place in settles], self._shard)
                for place, holds in zip(settles, told, strict=True):
                    results[place] = holds
            for place in kinds.get(claim.Claim, []):
                one = steps[place]
                held = [user for user, name, _ in self._held if name == one.connection]
                results[place] = await claim.claim(connection, one, takes_over=takes_over, held=held)
        return results

    async def _look(self, looks: Sequence[Any]) -> list[Any]:
        return await self._reading.run(lookup.look, looks)

    def _go_on(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Have this done beside all else, unless it is being done."""
        if work not in self._tasks or self._tasks[work].done():
            self._tasks[work] = asyncio.create_task(work())

    async def _learn(self) -> None:
        with suppress(JournalUnavailable):
            self._salt = await self._reading.run(lookup.salt)

    async def _shelve(self) -> None:
        await indexing.keep_shelving(self._aside)

    async def _renew(self) -> None:
        """Keep the lanes that are worked on for long."""
        every_s = self._lease_ms / 3000
        while True:
            await asyncio.sleep(every_s)
            old = [key for key, since in self._held.items() if since < time.monotonic() - every_s / 2]
            with suppress(JournalUnavailable):
                if old:
                    await self._reading.run(claim.renew, old, self._lease_ms)


async def _execute(connection: Connection, statement: str, *arguments: Any) -> None:
    await connection.execute(statement, *arguments)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
