"""Pools: calls of many lanes gathered, folded into fewer, and made once for all whose they are.

A lane in a pool has its call made for it, and nothing else changes: it records by itself what became of the call and
what is to follow, so a restart, an erasure or a lost claim is its own affair. What is pooled is never written down, but
in the black box: lanes that shared a call which killed a process gather apart from all others (see ``suspects``).
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from gateway.deliver.coalesce import fold
from gateway.deliver.executor import NO_SUBJECT, CallExecutor, CallResult, CallSubject, Wait
from gateway.deliver.suspects import Suspects
from gateway.log import logger
from gateway.plugins.blackbox import MAX_MEMBERS
from gateway.sdk import Call, Pool

LOOKS = 4
"""Consecutive looks without a new member after which a pool is flushed: a busy process sees none arrive at first."""
MAX_BYTES = 32 << 20
"""So much of what was posted may gather in one pool, and twice as much be held by it."""


@dataclass(slots=True, kw_only=True)
class PoolMember:
    """One lane's call in a pool. Its ``turn`` comes with an answer made for it, or with None: make it yourself."""

    call: Call
    attempt: int
    at: CallSubject = NO_SUBJECT
    turn: asyncio.Future[CallResult | Wait | None]


@dataclass(slots=True, kw_only=True)
class MemberGroup:
    """The members that gather until the pool is flushed."""

    began: float
    suspected: bool
    riders: list[PoolMember] = field(default_factory=list)
    weight: int = 0


@dataclass(slots=True, kw_only=True)
class PoolQueue:
    """One pool. ``held`` lanes, with so many bytes posted, wait in it or for what it made of their calls."""

    pool: Pool
    maker: CallExecutor
    slots: asyncio.Semaphore
    joined: Callable[[], None]
    is_more: Callable[[], bool]
    suspects: Suspects
    groups: dict[bool, MemberGroup] = field(default_factory=dict)
    held: int = 0
    weight: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def make(self, call: Call, *, attempt: int, weight: int, at: CallSubject = NO_SUBJECT) -> CallResult | Wait:
        """Have a call made, with others or by itself; ``weight`` is how many bytes its lane holds."""
        if self.held and (self.held >= 2 * self.pool.most or self.weight + weight > 2 * MAX_BYTES):
            return Wait(seconds=self.pool.quiet_s, reason="pool_full")
        self.held += 1
        self.weight += weight
        self.joined()
        try:
            answer = await self._join(PoolMember(call=call, attempt=attempt, at=at, turn=asyncio.Future()), weight)
        finally:
            self.held -= 1
            self.weight -= weight
        if answer is not None:
            return answer
        async with self.slots:
            answer = await self.maker.make(call, attempt=attempt, at=at)
        if isinstance(answer, CallResult):
            self.suspects.clear([at.user])
        return answer

    def _join(self, rider: PoolMember, weight: int) -> asyncio.Future[CallResult | Wait | None]:
        suspected = rider.at.user in self.suspects.lanes
        if suspected not in self.groups:
            self.groups[suspected] = MemberGroup(began=self.maker.gates.clock(), suspected=suspected)
            self._start(self._gather(self.groups[suspected]))
        group = self.groups[suspected]
        group.riders.append(rider)
        group.weight += weight
        most = min(self.pool.most, self.suspects.most if suspected else MAX_MEMBERS)
        if len(group.riders) >= most or group.weight >= MAX_BYTES:
            self._go_on(group)
        return rider.turn

    async def _gather(self, group: MemberGroup) -> None:
        """See a group off when nobody joins it any more."""
        clock, end = self.maker.gates.clock, group.began + self.pool.longest_s
        known = looks = 0
        while self._gathers(group) and looks < LOOKS and clock() < end and not self.maker.stopping():
            looks = looks + 1 if known == len(group.riders) and not self.is_more() else 0
            known = len(group.riders)
            await self.maker.gates.sleep(min(self.pool.quiet_s / LOOKS, end - clock()))
        if self._gathers(group):
            self._go_on(group)

    def _gathers(self, group: MemberGroup) -> bool:
        return self.groups.get(group.suspected) is group

    def _go_on(self, group: MemberGroup) -> None:
        del self.groups[group.suspected]
        self._start(self._make(group.riders))

    async def _make(self, riders: Sequence[PoolMember]) -> None:
        """Fold what has gathered, and have what became one call made once."""
        try:
            by_id: dict[str, PoolMember] = {}
            for rider in riders:
                by_id.setdefault(rider.call.id, rider)
            _tell([rider for rider in riders if by_id[rider.call.id] is not rider], None)  # one id, used twice
            riders = list(by_id.values())
            offered = [replace(rider.call, covers=()) for rider in riders]
            shared = []
            self.maker.guard.note_subject(b"coalesce", *_place(riders))
            for call in fold(self.maker.connection, offered, self.maker.guard):
                covered = [by_id[id] for id in call.covers or (call.id,)]
                if len(covered) > 1:
                    shared.append(self._share(call, covered))
                else:
                    _tell(covered, None)
            await asyncio.gather(*shared)
        except Exception:  # noqa: BLE001  # whatever it is, no lane may wait for ever
            _tell(riders, self._failed())

    async def _share(self, call: Call, riders: Sequence[PoolMember]) -> None:
        """Make one call for these lanes, and tell each of them."""
        try:
            answer = await self.maker.make(call, attempt=max(rider.attempt for rider in riders), at=_place(riders))
        except Exception:  # noqa: BLE001  # whatever it is, no other call's lanes must suffer
            answer = self._failed()
        if isinstance(answer, Wait):
            _tell(riders, answer)
            return
        self.suspects.clear(rider.at.user for rider in riders)
        logger.info("shared call", connection=self.maker.connection.name, call=call.id, lanes=len(riders))
        _tell(riders[:1], dataclasses.replace(answer, by=call.id))
        _tell(riders[1:], dataclasses.replace(answer, by=call.id, first=False))

    def _failed(self) -> Wait:
        """Return the wait of members for whom something unforeseen went wrong."""
        logger.exception("pool failed", connection=self.maker.connection.name)
        return Wait(seconds=self.maker.delivery.retry_most_s, reason="failed")

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


def _place(riders: Sequence[PoolMember]) -> CallSubject:
    """Return the place of the members' shared call: that of the first. The call of a single member is not shared."""
    users = tuple(rider.at.user for rider in riders) if len(riders) > 1 else ()
    return riders[0].at._replace(riders=users)


def _tell(riders: Sequence[PoolMember], answer: CallResult | Wait | None) -> None:
    for rider in riders:
        if not rider.turn.done():
            rider.turn.set_result(answer)


@dataclass(slots=True)
class Pools:
    """All pools of one connection, by name; ``joined`` hears of every lane that joins one.

    ``more`` lanes may be about to come: meanwhile no pool is quiet, however long it takes.
    """

    maker: CallExecutor
    joined: Callable[[], None] = lambda: None
    suspects: Suspects = field(default_factory=Suspects)
    more: bool = False
    by_name: Mapping[str, PoolQueue] = field(init=False)

    def __post_init__(self) -> None:
        one = self.maker.connection
        declared = one.plugin.destination.pools
        slots = asyncio.Semaphore(self.maker.delivery.in_flight)
        pools = declared(one.settings) if declared else {}
        self.by_name = {
            name: PoolQueue(
                pool=pool,
                maker=self.maker,
                slots=slots,
                joined=self.joined,
                is_more=lambda: self.more,
                suspects=self.suspects,
            )
            for name, pool in pools.items()
        }

    @property
    def held(self) -> int:
        """The number of lanes in pools that wait for others or for the result of their call."""
        return sum(pool.held for pool in self.by_name.values())

    async def make(self, call: Call, *, attempt: int, weight: int, at: CallSubject = NO_SUBJECT) -> CallResult | Wait:
        """Have a call made, in its pool where it has one."""
        pool = self.by_name.get(call.pool)
        if pool is None:
            return await self.maker.make(call, attempt=attempt, at=at)
        return await pool.make(call, attempt=attempt, weight=weight, at=at)
