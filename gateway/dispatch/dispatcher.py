"""The way of a batch, from the journal to the partner.

::

    lanes  = claim(connection)                   whole users, each with its oldest work in order
    batch  = decode(item)                        what was posted, as facts
    batch  = rewrite(batch)                      a platform team's own rules
    facts  = facts(batch)                        everything it says
    passed = govern(batch, facts)                what this connection may be sent
    plan   = plan(passed)                        the plugin turns facts into calls; all of them or none
    ends   = deliver(plan)                       in order inside a lane, concurrent across lanes
    record(ends)                                 a word for every fact
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from math import ceil

from msgspec.structs import replace

from gateway.clock import Clock
from gateway.deliver.gates import SLOW
from gateway.deliver.lane import Courier, StaleClaim
from gateway.deliver.making import Wait
from gateway.deliver.sharing import share_limits
from gateway.dispatch.barriers import MIN_WAIT_MS, OTHER_LANES, LaneLookup
from gateway.dispatch.catalog import Catalog
from gateway.dispatch.planner import ItemPlanner
from gateway.dispatch.prepare import Prepared, prepare
from gateway.journal.port import Journal
from gateway.journal.types import JournalUnavailable, Lane, Settlement
from gateway.log import logger
from gateway.plugins.connections import Connection
from gateway.settings import Delivery

MAX_ITEMS = 16
"""The most items of a lane that are claimed at once."""
IDLE_S = 0.5
TROUBLE_S = 1.0
PAUSED_S = 0.1


@dataclass(slots=True, kw_only=True)
class Dispatcher:
    """Works on one connection's lanes until it is stopped."""

    connection: Connection
    journal: Journal
    delivery: Delivery
    planner: ItemPlanner
    courier: Courier
    catalog: Catalog
    clock: Clock
    working: set[asyncio.Task[None]] = field(default_factory=set)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    sharing: asyncio.Task[None] | None = None
    freed: asyncio.Event = field(default_factory=asyncio.Event)
    replaced: bool = False

    async def run(self) -> None:
        """Claim lanes and work on them; returns when stopped and what is in hand has been let go."""
        self.share()
        try:
            while not self.stopped.is_set():
                await self._one_round()
            if self.working:
                await asyncio.wait(self.working)
        finally:
            self.unshare()

    def share(self) -> None:
        """Begin to share the limits of the destination with others who work on the same connection."""
        exchange = partial(self.journal.exchange, self.connection.name)
        self.sharing = asyncio.create_task(share_limits(self.courier.maker.gates, exchange))

    def unshare(self) -> None:
        """Share them no longer."""
        if self.sharing is not None:
            self.sharing.cancel()

    async def _one_round(self) -> None:
        try:
            await self._round()
        except JournalUnavailable as error:
            logger.error("journal unavailable", problem=str(error))
            await self._rest(TROUBLE_S)
        except Exception:  # noqa: BLE001  # whatever it is, a connection never stops being worked
            logger.exception("round failed", connection=self.connection.name)
            await self._rest(TROUBLE_S)

    async def _round(self) -> None:
        """Claim what there is room for, or wait until there is something, or room."""
        if self._room() <= 0:
            self.freed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.freed.wait(), IDLE_S)
            return
        gates = self.courier.maker.gates
        closed = gates.connection.closed(gates.clock())
        if gates.paused:
            await self._rest(PAUSED_S)
            return
        if closed is not None:
            await self._rest(closed.until - gates.clock())
            return
        if not await self.take_up():
            await self.journal.wait([self.connection.name], now_ms=self.clock.now_ms(), timeout_s=IDLE_S)

    async def take_up(self) -> int:
        """Claim what there is room for now, and begin to work on it; returns how many lanes."""
        gates, room = self.courier.maker.gates, self._room()
        if room <= 0 or gates.paused or gates.connection.closed(gates.clock()) is not None:
            return 0
        name, pools = self.connection.name, self.courier.pools
        pools.more = True
        lanes = await self.journal.claim(name, now_ms=self.clock.now_ms(), lanes=room, items=MAX_ITEMS)
        pools.more = len(lanes) == room and not gates.connection.on_trial
        for lane in lanes:
            task = asyncio.create_task(self._work(lane))
            self.working.add(task)
            task.add_done_callback(self._done)
        return len(lanes)

    async def close(self) -> None:
        """Let go of every connection to the destination."""
        self.unshare()
        await self.courier.maker.sender.close()

    def _room(self) -> int:
        """How many lanes to claim now: none until a good part of those in hand are done, one while on trial.

        Lanes in pools take no room: they have to be many, and pools bound them.
        """
        if self.courier.maker.gates.connection.on_trial:
            return 1 - len(self.working)
        room = self.delivery.in_flight - len(self.working) + self.courier.pools.held
        return room if room >= max(1, self.delivery.in_flight // 4) else 0

    async def _work(self, lane: Lane) -> None:
        try:
            prepared = await self._prepare_all(lane)
            if isinstance(prepared, Wait):
                await self._put_back(lane, prepared.seconds, prepared.reason)
                return
            if lane.items and lane.items[0].seq < lane.erased_seq:  # the call that the lane stopped at will not be made
                lane = replace(lane, attempts=0, failing_since_ms=0)
            await self.courier.deliver(lane, [one.progress for one in prepared])
            self._note(prepared)
        except StaleClaim:
            logger.warning("claim lost", connection=lane.connection)
        except Exception:  # noqa: BLE001  # whatever it is, this lane alone must suffer
            logger.exception("lane failed", connection=lane.connection)
            await self._put_back(lane, self.delivery.retry_most_s, "failed")

    async def _put_back(self, lane: Lane, seconds: float, reason: str) -> None:
        await self.settle(put_back(lane, self.clock.now_ms() + ceil(1000 * seconds), reason))

    def _note(self, prepared: Sequence[Prepared]) -> None:
        """Count the data points of what was finished, each batch once."""
        for one in prepared:
            if one.progress.told and one.plan.batch is not None and one.plan.item.again is None:
                self.catalog.note(self.connection.configured_as, one.plan.batch, self.clock.now_ms())

    def _done(self, task: asyncio.Task[None]) -> None:
        self.working.discard(task)
        self.freed.set()

    async def _prepare_all(self, lane: Lane) -> list[Prepared] | Wait:
        """Prepare the lane's items up to one that has to wait, and up to an erasure; Wait if the first has to wait."""
        lookup = LaneLookup(self.journal, lane, self.clock.now_ms)
        prepared: list[Prepared] = []
        in_hand: set[str] = set()
        remembered = dict(lane.memory)
        for item in lane.items:
            one = self._plugin_rest() or await prepare(item, remembered, self.planner, lookup)
            if isinstance(one, Wait):
                return prepared or one
            calls = {call.id for call in one.progress.open_calls()}
            if not in_hand.isdisjoint(calls):
                break  # a message that came for all connections, and for this one too: each by itself
            in_hand |= calls
            prepared.append(one)
            if one.batch.erasure is not None:
                break
            remembered.update((memory.key, memory.value) for memory in one.plan.expected_memories())
        return prepared or Wait(seconds=MIN_WAIT_MS / 1000, reason=OTHER_LANES)

    def _plugin_rest(self) -> Wait | None:
        """Return how long the plugin may not run because of the time that it has cost the others."""
        now = self.courier.maker.gates.clock()
        closed = self.courier.maker.gates.connection.closed(now)
        return None if closed is None or closed.reason != SLOW else Wait(seconds=closed.until - now, reason=SLOW)

    async def settle(self, settlement: Settlement) -> bool:
        """Record a settlement, however long the journal takes to come back; False where the claim is lost."""
        while True:
            try:
                return await self.journal.settle(settlement)
            except JournalUnavailable as error:
                logger.error("journal unavailable", problem=str(error))
                if self.stopped.is_set() and not self.replaced:
                    return False
                await (asyncio.sleep(TROUBLE_S) if self.replaced else self._rest(TROUBLE_S))

    async def _rest(self, seconds: float) -> None:
        """Sleep, or until stopped."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.stopped.wait(), max(0.0, seconds))


def put_back(lane: Lane, due_ms: int, reason: str) -> Settlement:
    """Give a lane back as it was."""
    return Settlement(
        connection=lane.connection,
        user=lane.user,
        fence=lane.fence,
        release=True,
        due_ms=due_ms,
        attempts=lane.attempts,
        failing_since_ms=lane.failing_since_ms,
        reason=reason,
    )
