"""Pools: calls of several lanes gathered, folded into fewer, and made once for all of these lanes.

Only the call is shared: each lane records its own end and follow-ups, so restarts, erasures and lost claims concern it
alone. Pools are not stored, except in the black box: lanes that shared a call which killed a process are gathered apart
from all others (see ``suspects``).
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
from gateway.journal.wait_reasons import FAILED, WaitReason
from gateway.log import logger
from gateway.plugins.blackbox import MAX_MEMBERS
from gateway.sdk import Call, Pool

POOL_FULL = WaitReason("pool_full")
QUIET_POLLS = 4
"""Consecutive idle polls after which a pool is flushed; in a busy process members arrive late."""
MAX_BYTES = 32 << 20
"""Bytes of posted documents that may gather in one group; a pool may hold twice as many."""


@dataclass(slots=True, kw_only=True)
class PoolMember:
    """One lane's call in a pool. ``turn`` resolves to the result of the shared call, or to None: call alone."""

    call: Call
    attempt: int
    at: CallSubject = NO_SUBJECT
    turn: asyncio.Future[CallResult | Wait | None]


@dataclass(slots=True, kw_only=True)
class MemberGroup:
    """Members that gather until the pool is flushed."""

    began: float
    suspected: bool
    members: list[PoolMember] = field(default_factory=list)
    weight: int = 0


@dataclass(slots=True, kw_only=True)
class PoolQueue:
    """One pool. ``held`` lanes, with ``weight`` bytes of documents, wait in it or for the result of their call."""

    pool: Pool
    executor: CallExecutor
    slots: asyncio.Semaphore
    joined: Callable[[], None]
    is_more: Callable[[], bool]
    suspects: Suspects
    groups: dict[bool, MemberGroup] = field(default_factory=dict)
    held: int = 0
    weight: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def make(self, call: Call, *, attempt: int, weight: int, at: CallSubject = NO_SUBJECT) -> CallResult | Wait:
        """Make a call, shared or alone; ``weight`` is the bytes of documents that its lane holds."""
        if self.held and (self.held >= 2 * self.pool.most or self.weight + weight > 2 * MAX_BYTES):
            return Wait(seconds=self.pool.quiet_s, reason=POOL_FULL)
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
            answer = await self.executor.make(call, attempt=attempt, at=at)
        if isinstance(answer, CallResult):
            self.suspects.clear([at.user])
        return answer

    def _join(self, member: PoolMember, weight: int) -> asyncio.Future[CallResult | Wait | None]:
        suspected = member.at.user in self.suspects.lanes
        if suspected not in self.groups:
            self.groups[suspected] = MemberGroup(began=self.executor.gates.clock(), suspected=suspected)
            self._start(self._gather(self.groups[suspected]))
        group = self.groups[suspected]
        group.members.append(member)
        group.weight += weight
        most = min(self.pool.most, self.suspects.most if suspected else MAX_MEMBERS)
        if len(group.members) >= most or group.weight >= MAX_BYTES:
            self._flush(group)
        return member.turn

    async def _gather(self, group: MemberGroup) -> None:
        """Flush a group once no more members join it."""
        clock, end = self.executor.gates.clock, group.began + self.pool.longest_s
        known = polls = 0
        while self._is_gathering(group) and polls < QUIET_POLLS and clock() < end and not self.executor.stopping():
            polls = polls + 1 if known == len(group.members) and not self.is_more() else 0
            known = len(group.members)
            await self.executor.gates.sleep(min(self.pool.quiet_s / QUIET_POLLS, end - clock()))
        if self._is_gathering(group):
            self._flush(group)

    def _is_gathering(self, group: MemberGroup) -> bool:
        return self.groups.get(group.suspected) is group

    def _flush(self, group: MemberGroup) -> None:
        del self.groups[group.suspected]
        self._start(self._make(group.members))

    async def _make(self, members: Sequence[PoolMember]) -> None:
        """Fold the gathered calls, and make each shared call once."""
        try:
            by_id: dict[str, PoolMember] = {}
            for member in members:
                by_id.setdefault(member.call.id, member)
            _resolve([member for member in members if by_id[member.call.id] is not member], None)  # the same id twice
            members = list(by_id.values())
            offered = [replace(member.call, covers=()) for member in members]
            shared = []
            self.executor.guard.note_subject(b"coalesce", *_find_subject(members))
            for call in fold(self.executor.connection, offered, self.executor.guard):
                covered = [by_id[id] for id in call.covers or (call.id,)]
                if len(covered) > 1:
                    shared.append(self._share(call, covered))
                else:
                    _resolve(covered, None)
            await asyncio.gather(*shared)
        except Exception:  # noqa: BLE001  # no lane may wait forever, whatever the error
            _resolve(members, self._failed())

    async def _share(self, call: Call, members: Sequence[PoolMember]) -> None:
        """Make one call for these lanes, and give each the result."""
        try:
            answer = await self.executor.make(
                call, attempt=max(member.attempt for member in members), at=_find_subject(members)
            )
        except Exception:  # noqa: BLE001  # an error must not affect the lanes of other calls
            answer = self._failed()
        if isinstance(answer, Wait):
            _resolve(members, answer)
            return
        self.suspects.clear(member.at.user for member in members)
        logger.info("shared call", connection=self.executor.connection.name, call=call.id, lanes=len(members))
        _resolve(members[:1], dataclasses.replace(answer, by=call.id))
        _resolve(members[1:], dataclasses.replace(answer, by=call.id, first=False))

    def _failed(self) -> Wait:
        """Log an unexpected error, and return the wait of its members."""
        logger.exception("pool failed", connection=self.executor.connection.name)
        return Wait(seconds=self.executor.delivery.retry_most_s, reason=FAILED)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


def _find_subject(members: Sequence[PoolMember]) -> CallSubject:
    """Return the subject of a shared call: that of its first member, with all users if there are several."""
    users = tuple(member.at.user for member in members) if len(members) > 1 else ()
    return members[0].at._replace(members=users)


def _resolve(members: Sequence[PoolMember], answer: CallResult | Wait | None) -> None:
    for member in members:
        if not member.turn.done():
            member.turn.set_result(answer)


@dataclass(slots=True)
class Pools:
    """All pools of one connection, by name; ``joined`` is called whenever a lane joins one.

    ``more``: further lanes are being claimed, and meanwhile no pool counts as quiet.
    """

    executor: CallExecutor
    joined: Callable[[], None] = lambda: None
    suspects: Suspects = field(default_factory=Suspects)
    more: bool = False
    by_name: Mapping[str, PoolQueue] = field(init=False)

    def __post_init__(self) -> None:
        one = self.executor.connection
        declared = one.plugin.destination.pools
        slots = asyncio.Semaphore(self.executor.delivery.in_flight)
        pools = declared(one.settings) if declared else {}
        self.by_name = {
            name: PoolQueue(
                pool=pool,
                executor=self.executor,
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
        """Make a call, in its pool if it has one."""
        pool = self.by_name.get(call.pool)
        if pool is None:
            return await self.executor.make(call, attempt=attempt, at=at)
        return await pool.make(call, attempt=attempt, weight=weight, at=at)
