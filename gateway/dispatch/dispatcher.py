"""The dispatcher: works on one connection's lanes, from the claim in the journal to the recorded outcomes.

::

    lanes = claim(connection)          lanes with work that is due, each with its oldest items in order
    prepared = prepare(item)           decode, look up, rewrite, govern, plan; or wait for older work
    outcomes = deliver(prepared)       in order inside a lane, concurrent across lanes
    settle(outcomes)                   one outcome for every fact
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
from gateway.deliver.deliveries import Deliveries
from gateway.deliver.executor import Wait
from gateway.deliver.lane_worker import StaleClaim
from gateway.dispatch.barriers import MIN_WAIT_MS, OTHER_LANES, LaneLookup
from gateway.dispatch.catalog import Catalog
from gateway.dispatch.planner import ItemPlanner
from gateway.dispatch.prepare import Prepared, prepare
from gateway.journal.port import Journal
from gateway.journal.types import JournalUnavailable, Lane, Settlement
from gateway.journal.wait_reasons import FAILED, WaitReason
from gateway.log import logger
from gateway.plugins.connections import Connection
from gateway.settings import DeliverySettings

MAX_ITEMS = 16
"""The most items of a lane that are claimed at once."""
IDLE_S = 0.5
"""The longest wait for new work before the dispatcher looks again."""
TROUBLE_S = 1.0
"""The wait after an error of the journal."""


@dataclass(slots=True, kw_only=True)
class Dispatcher:
    """Works on one connection's lanes until it is stopped.

    ``is_replaced``: another dispatcher has taken its place, so it only finishes what it has in hand. ``freed`` is set
    when a lane in hand is done.
    """

    connection: Connection
    journal: Journal
    delivery: DeliverySettings
    planner: ItemPlanner
    deliveries: Deliveries
    catalog: Catalog
    clock: Clock
    working: set[asyncio.Task[None]] = field(default_factory=set)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    freed: asyncio.Event = field(default_factory=asyncio.Event)
    is_replaced: bool = False

    async def run(self) -> None:
        """Claim lanes and work on them. Return once stopped and all lanes in hand are given back."""
        self.start_sharing()
        try:
            while not self.stopped.is_set():
                await self._try_once()
            if self.working:
                await asyncio.wait(self.working)
        finally:
            self.deliveries.stop_sharing()

    def start_sharing(self) -> None:
        """Start to share the destination's rate limits with other dispatchers of the same connection."""
        exchange = partial(self.journal.exchange, self.connection.name)
        self.deliveries.start_sharing(exchange)

    async def _try_once(self) -> None:
        try:
            await self._work_once()
        except JournalUnavailable as error:
            logger.error("journal unavailable", problem=str(error))
            await self._sleep(TROUBLE_S)
        except Exception:  # noqa: BLE001  # no error may stop the work on a connection
            logger.exception("round failed", connection=self.connection.name)
            await self._sleep(TROUBLE_S)

    async def _work_once(self) -> None:
        """Claim lanes, or wait: for room, for an open gate, or for work."""
        if self.deliveries.count_room(len(self.working)) <= 0:
            self.freed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.freed.wait(), IDLE_S)
            return
        if closed_s := self.deliveries.closed_for_s():
            await self._sleep(closed_s)
            return
        if not await self.start_work():
            await self.journal.wait([self.connection.name], now_ms=self.clock.now_ms(), timeout_s=IDLE_S)

    async def start_work(self) -> int:
        """Claim as many lanes as there is room for, and start to work on them; return how many."""
        room = self.deliveries.count_room(len(self.working))
        if room <= 0 or self.deliveries.closed_for_s():
            return 0
        self.deliveries.begin_claim()
        name, now_ms = self.connection.name, self.clock.now_ms()
        lanes = await self.journal.claim(name, now_ms=now_ms, lanes=room, items=MAX_ITEMS)
        self.deliveries.end_claim(is_full=len(lanes) == room)
        for lane in lanes:
            task = asyncio.create_task(self._work(lane))
            self.working.add(task)
            task.add_done_callback(self._forget_task)
        return len(lanes)

    async def close(self) -> None:
        """Close every connection to the destination."""
        await self.deliveries.close()

    async def _work(self, lane: Lane) -> None:
        try:
            prepared = await self._prepare_all(lane)
            if isinstance(prepared, Wait):
                await self._put_back(lane, prepared.seconds, prepared.reason)
                return
            if lane.items and lane.items[0].seq < lane.erased_seq:  # the call that the lane stopped at will not be made
                lane = replace(lane, attempts=0, failing_since_ms=0)
            await self.deliveries.deliver(lane, [one.progress for one in prepared])
            self._count_data_points(prepared)
        except StaleClaim:
            logger.warning("claim lost", connection=lane.connection)
        except Exception:  # noqa: BLE001  # an error costs this lane alone
            logger.exception("lane failed", connection=lane.connection)
            await self._put_back(lane, self.delivery.retry_most_s, FAILED)

    async def _put_back(self, lane: Lane, seconds: float, reason: WaitReason) -> None:
        await self.settle(put_back(lane, self.clock.now_ms() + ceil(1000 * seconds), reason))

    def _count_data_points(self, prepared: Sequence[Prepared]) -> None:
        """Count the data points of finished batches in the catalog, once each."""
        for one in prepared:
            if one.progress.is_finished and one.plan.batch is not None and one.plan.item.again is None:
                self.catalog.count(self.connection.configured_as, one.plan.batch, self.clock.now_ms())

    def _forget_task(self, task: asyncio.Task[None]) -> None:
        self.working.discard(task)
        self.freed.set()

    async def _prepare_all(self, lane: Lane) -> list[Prepared] | Wait:
        """Prepare the lane's items up to one that waits, and up to an erasure. Return Wait if the first item waits."""
        lookup = LaneLookup(self.journal, lane, self.clock.now_ms)
        prepared: list[Prepared] = []
        in_hand: set[str] = set()
        remembered = dict(lane.memory)
        for item in lane.items:
            one = self.deliveries.suspended() or await prepare(item, remembered, self.planner, lookup)
            if isinstance(one, Wait):
                return prepared or one
            calls = {call.id for call in one.progress.open_calls()}
            if not in_hand.isdisjoint(calls):
                break  # the same message came for all connections and for this one: deliver one after the other
            in_hand |= calls
            prepared.append(one)
            if one.batch.erasure is not None:
                break
            remembered.update((memory.key, memory.value) for memory in one.plan.expected_memories())
        return prepared or Wait(seconds=MIN_WAIT_MS / 1000, reason=OTHER_LANES)

    async def settle(self, settlement: Settlement) -> bool:
        """Record a settlement, and retry while the journal is unavailable. Return False if the claim is lost."""
        while True:
            try:
                return await self.journal.settle(settlement)
            except JournalUnavailable as error:
                logger.error("journal unavailable", problem=str(error))
                if self.stopped.is_set() and not self.is_replaced:
                    return False
                await (asyncio.sleep(TROUBLE_S) if self.is_replaced else self._sleep(TROUBLE_S))

    async def _sleep(self, seconds: float) -> None:
        """Sleep until the time is over or the dispatcher is stopped."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.stopped.wait(), max(0.0, seconds))


def put_back(lane: Lane, due_ms: int, reason: WaitReason) -> Settlement:
    """Return the settlement that gives a lane back unchanged until ``due_ms``."""
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
