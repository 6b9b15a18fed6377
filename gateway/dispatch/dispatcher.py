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
from typing import Protocol

from msgspec.structs import replace

from gateway.clock import Clock, now_ms
from gateway.deliver.gates import SLOW
from gateway.deliver.lane import Courier, StaleClaim
from gateway.deliver.progress import ItemPlan
from gateway.deliver.sharing import share_limits
from gateway.dispatch.catalog import Catalog
from gateway.dispatch.erased import told_late
from gateway.facts import facts
from gateway.govern.governed import Governed
from gateway.govern.rewrite import RewriteFault, Rewriter
from gateway.govern.rules import Governor
from gateway.journal.port import Item, Journal, JournalUnavailable, Lane, Outcome, Settlement, hash64, hash_ref
from gateway.journal.replays import ABORTED
from gateway.log import logger
from gateway.mparticle.decoding import decode
from gateway.mparticle.parts import called
from gateway.plan import Planned, PluginFault, plan
from gateway.plugins.connections import Connection
from gateway.plugins.watchdog import TooLong, Watchdog
from gateway.sdk import Batch, Memory
from gateway.settings import Delivery

ITEMS_A_LANE = 16
IDLE_S = 0.5
BARRIER_MS = 200
MOST_PATIENCE_MS = 10_000
TROUBLE_S = 1.0
PAUSED_S = 0.1
RULES = "rules.packages"
MOST_CRASHES = 3


class Plans(Protocol):
    """Whatever plans a connection's items."""

    def plan_item(self, item: Item, batch: Batch, memory: Memory) -> ItemPlan:
        """Plan one item."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planner:
    """Turns one connection's items into item plans. ``guard`` bounds how long planning one may take."""

    connection: Connection
    governor: Governor
    rewriter: Rewriter
    guard: Watchdog
    clock: Clock

    def plan_item(self, item: Item, batch: Batch, memory: Memory) -> ItemPlan:
        """Plan one item. Where its plan has to be discarded, every fact is dead, and says why.

        So is all that has not been dealt with of one of which processes have died.
        """
        unread = [Outcome(fact=q.id, word="dead", reason="malformed", detail=q.problem) for q in batch.quarantined]
        crashed = _deaths(item, self.connection) if item.crashes >= MOST_CRASHES else ""
        if crashed and item.crashed_in == "plan":
            logger.error("set aside", connection=self.connection.name, message=item.message, problem=crashed)
            return ItemPlan(item=item, settled=[*unread, *_dead(batch, "crashed", crashed)], batch=batch)
        try:
            said = self.rewriter.rewrite(batch)
            try:
                governed, planned = self._plan(item, said, memory)
            except TooLong:  # or the machine stood still for a while
                governed, planned = self._plan(item, said, memory)
        except Exception as error:  # noqa: BLE001  # a rule or a plugin may have made anything of the batch
            return ItemPlan(item=item, settled=[*unread, *self._discarded(item, batch, error)], batch=batch)
        item_plan = ItemPlan(
            item=item,
            planned=planned,
            settled=[*unread, *_dropped(batch, said), *_withheld(governed)],
            erases=batch.erasure is not None,
            batch=said,
        )
        if crashed:
            logger.error("set aside", connection=self.connection.name, message=item.message, problem=crashed)
            item_plan.abandon("crashed", crashed)
        return item_plan

    def _plan(self, item: Item, batch: Batch, memory: Memory) -> tuple[Governed, list[Planned]]:
        again = item.again
        asked = facts(batch) if again is None else (fact for fact in facts(batch) if fact.id in again.facts)
        replay = "" if again is None else again.replay
        with self.guard:
            governed = self.governor.govern(batch, asked, self.clock.ago_ms)
            return governed, plan(governed.batch, self.connection, governed.facts, memory, governed.kept_back, replay)

    def _discarded(self, item: Item, batch: Batch, error: Exception) -> list[Outcome]:
        """The words of a batch whose plan could not be made; said in the log too."""
        problem = _problem(error, self.connection)
        logger.error("plan discarded", connection=self.connection.name, message=item.message, problem=problem)
        reason, cause = ("rule_error", RULES) if isinstance(error, RewriteFault) else ("plugin_error", "")
        return [Outcome(fact=f.id, word="dead", reason=reason, detail=problem, cause=cause) for f in facts(batch)]


def _dropped(before: Batch, after: Batch) -> list[Outcome]:
    """The words of facts that a rule took away."""
    if after is before:
        return []
    left = {fact.id for fact in facts(after)}
    gone = (fact.id for fact in facts(before) if fact.id not in left)
    return [Outcome(fact=fact, word="skipped", reason="dropped", cause=RULES) for fact in gone]


def _withheld(governed: Governed) -> list[Outcome]:
    """The words of facts that may not be sent."""
    kept_back = governed.kept_back
    return [
        Outcome(fact=w.fact, word="skipped", reason=w.reason, cause=w.cause, kept_back=kept_back.get(w.fact, ()))
        for w in governed.withheld
    ]


def _dead(batch: Batch, reason: str, detail: str) -> list[Outcome]:
    return [Outcome(fact=fact.id, word="dead", reason=reason, detail=detail) for fact in facts(batch)]


def _deaths(item: Item, connection: Connection) -> str:
    plugin, already = connection.plugin, "; calls of it had been made before" if item.progress else ""
    return f"{plugin.name} {plugin.version} {item.crashed_in}: the process died of it {item.crashes} times{already}"


def _problem(error: Exception, connection: Connection) -> str:
    """What kept a batch from being planned; never a value of a user's."""
    if isinstance(error, (PluginFault, RewriteFault)):
        return str(error)
    if isinstance(error, TooLong):
        return f"{connection.plugin.name}: planning took too long, twice; {error}"
    return f"planning failed: {type(error).__name__}"


@dataclass(slots=True, kw_only=True)
class Dispatcher:
    """Works on one connection's lanes until it is stopped."""

    connection: Connection
    journal: Journal
    delivery: Delivery
    planner: Plans
    courier: Courier
    catalog: Catalog
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
            await self.journal.wait([self.connection.name], now_ms=now_ms(), timeout_s=IDLE_S)

    async def take_up(self) -> int:
        """Claim what there is room for now, and begin to work on it; returns how many lanes."""
        gates, room = self.courier.maker.gates, self._room()
        if room <= 0 or gates.paused or gates.connection.closed(gates.clock()) is not None:
            return 0
        name, pools = self.connection.name, self.courier.pools
        pools.more = True
        lanes = await self.journal.claim(name, now_ms=now_ms(), lanes=room, items=ITEMS_A_LANE)
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
            item_plans = await self._item_plans(lane)
            if lane.items and lane.items[0].seq < lane.erased_seq:  # what it stopped at will not be sent
                lane = replace(lane, attempts=0, failing_since_ms=0)
            if item_plans:
                await self.courier.deliver(lane, item_plans)
                self._note(item_plans)
            elif self._plugin_rests_ms():
                await self.settle(put_back(lane, now_ms() + self._plugin_rests_ms(), SLOW))
            else:
                await self.settle(put_back(lane, now_ms() + _patience_ms(lane, now_ms()), "other_lanes"))
        except StaleClaim:
            logger.warning("claim lost", connection=lane.connection)
        except Exception:  # noqa: BLE001  # whatever it is, this lane alone must suffer
            logger.exception("lane failed", connection=lane.connection)
            await self.settle(put_back(lane, now_ms() + int(self.delivery.retry_most_s * 1000), "failed"))

    def _note(self, item_plans: Sequence[ItemPlan]) -> None:
        """Have what was finished in the catalog: there, and once only."""
        for item_plan in item_plans:
            if item_plan.told and item_plan.batch is not None and item_plan.item.again is None:
                self.catalog.note(self.connection.configured_as, item_plan.batch, now_ms())

    def _done(self, task: asyncio.Task[None]) -> None:
        self.working.discard(task)
        self.freed.set()

    async def _item_plans(self, lane: Lane) -> list[ItemPlan]:
        """The lane's items, planned: up to one that has to wait for another lane, and to an erasure at the most."""
        item_plans: list[ItemPlan] = []
        in_hand: set[str] = set()
        known = dict(lane.memory)
        for item in lane.items:
            if self._plugin_rests_ms():
                break
            batch = decode(item.dialect, item.body, message=item.message, part=item.part)
            batch, late = await self._without_late(lane, item, batch)
            withdrawn = await self._withdrawn(lane, item, batch, late)
            if not withdrawn and not await self._is_its_turn(lane, item, batch):
                break
            shared = await self.journal.shared_memory(lane.connection)  # read after what it had to wait for
            self.courier.maker.guard.about(b"plan", lane.user, item.seq)
            item_plan = self.planner.plan_item(item, batch, Memory(user=dict(known), shared=shared))
            item_plan.settled = [*item_plan.settled, *(late or ())]
            if item.again is not None:
                item_plan.only(item.again.facts)
            calls = {call.id for call in item_plan.open_calls()}
            if not in_hand.isdisjoint(calls):
                break  # a message that came for all connections, and for this one too: each by itself
            in_hand |= calls
            item_plans.append(item_plan)
            if withdrawn:
                item_plan.withdraw(withdrawn)
            if batch.erasure is not None:
                break
            known.update((memo.key, memo.value) for memo in item_plan.expected())  # as if all goes well
        return item_plans

    def _plugin_rests_ms(self) -> int:
        """How long the plugin may not be run, for what it has cost the others."""
        now = self.courier.maker.gates.clock()
        closed = self.courier.maker.gates.connection.closed(now)
        return 0 if closed is None or closed.reason != SLOW else 1 + int(1000 * (closed.until - now))

    async def _without_late(self, lane: Lane, item: Item, batch: Batch) -> tuple[Batch, Sequence[Outcome] | None]:
        """A batch without what happened before its user asked to be forgotten; and words for that, None for all."""
        return await told_late(self.journal, lane.connection, item, batch) if lane.wishes else (batch, ())

    async def _withdrawn(self, lane: Lane, item: Item, batch: Batch, late: Sequence[Outcome] | None) -> str:
        """Why nothing of an item is to be sent any more; empty where it is."""
        why = "" if item.again is None else await self.journal.withdrawn(lane.user, item.again)
        if batch.erasure is not None:
            return why if why == ABORTED else ""
        return why or ("erased" if late is None or item.seq <= lane.erased_seq else "")

    async def _is_its_turn(self, lane: Lane, item: Item, batch: Batch) -> bool:
        """Whether nothing in another lane has to be dealt with before this."""
        if batch.erasure is not None:
            return await self._is_last_word(lane, item, batch)
        if batch.audience is not None and batch.audience.action == "remove":
            name = hash_ref(f"audience:{batch.audience.id}", self.journal.salt)
            return await self.journal.is_dealt_with(lane.connection, name, item.seq)
        return not batch.memberships or await self._audiences_ready(lane, item, batch)

    async def _is_last_word(self, lane: Lane, item: Item, batch: Batch) -> bool:
        """Whether nothing older waits of somebody who asks to be forgotten, in any lane; what does will not be sent."""
        if item.seq != lane.items[0].seq:
            return False
        everywhere = not batch.user.mpid
        return await self.journal.erase(lane.connection, called(batch.user), everywhere=everywhere, seq=item.seq)

    async def _audiences_ready(self, lane: Lane, item: Item, batch: Batch) -> bool:
        """Whether what an earlier message said of these audiences has been dealt with."""
        for audience_id in {membership.audience_id for membership in batch.memberships}:
            user = hash64(f"audience:{audience_id}")
            if not await self.journal.lane_is_empty(lane.connection, user, item.seq):
                return False
        return True

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


def _patience_ms(lane: Lane, now_ms: int) -> int:
    """How long a lane that waits for another one sleeps: the longer it has waited, the longer."""
    age_ms = now_ms - lane.items[0].received_ms if lane.items else 0
    return min(MOST_PATIENCE_MS, max(BARRIER_MS, age_ms // 4))


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
