"""A lane at work: its calls made one after another, each outcome on record before the next call is made."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from msgspec.structs import replace

from gateway.deliver.folding import fold
from gateway.deliver.gates import Gates
from gateway.deliver.judging import judge, numbered
from gateway.deliver.progress import Chain, Ending, Undertaking
from gateway.deliver.sending import Sender
from gateway.deliver.verdicts import asked_wait_s
from gateway.destinations import Connection
from gateway.journal.port import Lane, Memo, Settlement
from gateway.log import logger
from gateway.plan import Planned, PluginFault
from gateway.sdk import Call, Remember, Reply, Verdict
from gateway.settings import Delivery

MOST_FOLLOW_UPS = 8
HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """The lane cannot go on before so many seconds."""

    seconds: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A call was refused after its connection had taken so many. ``alone``: others were taken, but never this one."""

    call: str
    taken: int
    alone: bool


def _shared(detail: str) -> str:
    """The detail of a call that another one stood for."""
    return f"{detail}, in one call with others" if detail else "in one call with others"


def _answers(item: Undertaking, chain: Chain, call: Call, reply: Reply) -> tuple[str, ...]:
    """What was answered in a chain so far, of a wish to be forgotten: that has to be on record."""
    return (*chain.answers, f"{call.method} was answered {reply.status}") if item.erases else ()


class StaleClaim(Exception):
    """The lane was claimed anew in the meantime: whoever did works on it now."""


@dataclass(slots=True, kw_only=True)
class Run:
    """One claimed lane while it is worked on."""

    lane: Lane
    work: Sequence[Undertaking]
    attempts: int = 0
    failing_since_ms: int = 0
    memories: list[Remember] = field(default_factory=list)
    owners: dict[str, Undertaking] = field(default_factory=dict)
    reopened: Sequence[Undertaking] = ()

    def __post_init__(self) -> None:
        self.owners = {call.id: item for item in self.work for call in item.open_calls()}

    def begin(self, call: Call) -> Chain:
        """What is still to be made in this call's place: itself, or what its last answer led to."""
        return self.owners[call.id].chains.get(call.id) or Chain(next=(call,), covers=call.covers, length=0)

    def reopen(self, call: Call) -> None:
        """Forget what a call's answers led to: it is to be made again itself."""
        item = self.owners[call.id]
        if item.chains.pop(call.id, None) is not None:
            self.reopened = (item,)

    def moved_on(self) -> None:
        """The lane is not stuck, or no longer: what comes next has its own attempts, and its own time to fail."""
        self.attempts = self.failing_since_ms = 0

    def note(self, call: Call, ending: Ending) -> Sequence[Undertaking]:
        """Write the end of a call, and of those it covers, into their items; returns these.

        What a chain covered when it began may be planned no longer (a filter changed): that has its own word.
        """
        self.moved_on()
        touched = []
        for call_id in self.begin(call).covers or (call.id,):
            item = self.owners.get(call_id)
            if item is None:
                continue
            item.ends[call_id] = ending if call_id == call.id else replace(ending, detail=_shared(ending.detail))
            item.chains.pop(call_id, None)
            touched.append(item)
        return touched

    def settlement(
        self, *, touched: Sequence[Undertaking] = (), due_ms: int | None = None, reason: str = ""
    ) -> Settlement:
        """What to record now; ``due_ms`` gives the lane back until then."""
        finished = [item for item in self.work if item.is_done and not item.told]
        memories = [*self.memories, *(memory for item in finished for memory in item.memories())]
        self.memories.clear()
        return Settlement(
            connection=self.lane.connection,
            user=self.lane.user,
            fence=self.lane.fence,
            finished=tuple(item.finish(self.lane.connection) for item in finished),
            progress={item.item.seq: item.state() for item in touched if not item.is_done},
            memos=tuple(Memo(key=memory.key, value=memory.value, shared=memory.shared) for memory in memories),
            release=due_ms is not None,
            due_ms=due_ms or 0,
            attempts=self.attempts,
            failing_since_ms=self.failing_since_ms,
            reason=reason,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Courier:
    """Works on one connection's lanes. ``settle`` records, ``stopping`` says to let go, ``guard`` bounds hooks.

    ``refusals`` remembers, by user, the call that a lane stopped at because it was refused.
    """

    connection: Connection
    sender: Sender
    gates: Gates
    delivery: Delivery
    settle: Callable[[Settlement], Awaitable[bool]]
    stopping: Callable[[], bool]
    now_ms: Callable[[], int]
    guard: AbstractContextManager[None]
    refusals: dict[int, Refusal] = field(default_factory=dict)

    async def deliver(self, lane: Lane, work: Sequence[Undertaking]) -> None:
        """Make every open call of these items in order, record what becomes of them, and give the lane back.

        Raises StaleClaim.
        """
        run = Run(lane=lane, work=work, attempts=lane.attempts, failing_since_ms=lane.failing_since_ms)
        calls = self._calls(work)
        for position, call in enumerate(calls):
            end = await self._make(run, call)
            if isinstance(end, Wait):
                due_ms = self.now_ms() + int(end.seconds * 1000)
                await self._record(run.settlement(touched=run.reopened, due_ms=due_ms, reason=end.reason))
                return
            touched = run.note(call, end)
            if position < len(calls) - 1:
                await self._record(run.settlement(touched=touched))
        self.refusals.pop(lane.user, None)
        await self._record(run.settlement(due_ms=self.now_ms()))

    async def _record(self, settlement: Settlement) -> None:
        if not await self.settle(settlement):
            raise StaleClaim

    def _calls(self, work: Sequence[Undertaking]) -> Sequence[Call]:
        """The calls to make. While a chain is under way nothing is folded, and what it covers is left to it."""
        calls = [call for item in work for call in item.open_calls()]
        heads = {head for item in work for head in item.chains}
        if not heads:
            return fold(self.connection, calls, self.guard)
        covered = {id for item in work for chain in item.chains.values() for id in chain.covers}
        return [call for call in calls if call.id in heads or call.id not in covered]

    async def _make(self, run: Run, call: Call) -> Ending | Wait:
        """Make a call and whatever its answers lead to, until it ends or has to wait."""
        chain = run.begin(call)
        while True:
            current = chain.next[0]
            reply = await self._send(run, current)
            if not isinstance(reply, Reply):
                return reply
            try:
                judged = judge(self.connection, current, reply, self.guard)
            except PluginFault as error:
                return Ending(word="dead", reason="plugin_error", detail=str(error))
            ended: Ending | Wait | None
            if isinstance(judged, Verdict):
                ended = self._weigh(run, current, reply, judged)
                rest = chain.next[1:]
                if judged.restart:
                    run.reopen(call)
            else:
                ended = self._follow(run, current, judged)
                rest = (*numbered(judged, call, chain.length + 1), *chain.next[1:])
            answers = _answers(run.owners[call.id], chain, current, reply)
            if ended is not None and not (ended == Ending(word="delivered") and rest):
                return replace(ended, detail="; ".join(answers)) if answers and isinstance(ended, Ending) else ended
            if chain.length == MOST_FOLLOW_UPS:
                return Ending(word="dead", reason="endless", detail="the plugin's follow-up calls do not end")
            chain = Chain(next=rest, covers=chain.covers, length=chain.length + 1, answers=answers)
            run.owners[call.id].chains[call.id] = chain
            await self._record(run.settlement(touched=(run.owners[call.id],)))

    async def _send(self, run: Run, call: Call) -> Reply | Ending | Wait:
        """Send one call when its gates let it; one that cannot be built has come to its end."""
        closed = await self.gates.enter(call.scope, self.stopping)
        if closed is not None:
            return Wait(seconds=closed.until - self.gates.clock(), reason=closed.reason)
        reply = None
        try:
            reply = await self.sender.send(call, attempt=run.attempts + 1)
        except PluginFault as error:
            logger.warning("call cannot be made", connection=self.connection.name, problem=str(error))
            return Ending(word="dead", reason="plugin_error", detail=str(error))
        finally:
            self.gates.leave(call.scope, reply)
        return reply

    def _weigh(self, run: Run, call: Call, reply: Reply, verdict: Verdict) -> Ending | Wait:
        """What a verdict makes of a call."""
        if verdict.word == "refused":
            return self._refuse(run, call, verdict)
        if verdict.word == "retry":
            return self._retry(run, call, verdict)
        self._went_well(run, call)
        if verdict.word == "rejected":
            status = f"{call.method} was answered {reply.status}"
            return Ending(word="dead", reason=verdict.reason or "rejected", detail=status)
        return Ending(word="delivered")

    def _follow(self, run: Run, call: Call, planned: Planned) -> Ending | None:
        """What a plan in the place of a verdict makes of a call; None where further calls must be made."""
        self._went_well(run, call)
        run.memories.extend(planned.memories)
        if planned.calls:
            return None
        reason = next((skip.reason for skip in planned.skips if skip.what is None), None)
        return Ending(word="delivered") if reason is None else Ending(word="skipped", reason=reason)

    def _went_well(self, run: Run, call: Call) -> None:
        was_on_trial = self.gates.connection.on_trial
        self.gates.connection.worked(self.gates.clock())
        if was_on_trial and not self.gates.connection.on_trial:
            logger.info("connection works again", connection=self.connection.name)
        self.gates.scope(call.scope).worked()
        run.moved_on()

    def _refuse(self, run: Run, call: Call, verdict: Verdict) -> Ending | Wait:
        """Rest the whole connection: its credentials or its set-up are wrong, and no attempt is spent on that.

        But a call that is refused again, after others were taken, is refused for its own sake: its lane alone waits.
        """
        gate, before = self.gates.connection, self.refusals.get(run.lane.user)
        again = before if before is not None and before.call == call.id else None
        alone = again is not None and (again.alone or gate.taken > again.taken)
        self.refusals[run.lane.user] = Refusal(call=call.id, taken=gate.taken, alone=alone)
        name, reason = self.connection.name, f"refused: {verdict.reason}"
        if again is not None and alone:
            if not again.alone:
                logger.warning("call refused, others are not", connection=name, call=call.id, reason=verdict.reason)
            return self._try_later(run, replace(verdict, reason=reason))
        is_news = gate.closed(self.gates.clock()) is None
        rest_s = gate.refused(self.gates.clock(), self.delivery.pause_s, reason)
        if is_news:
            logger.error("connection refused", connection=name, reason=verdict.reason, rest_s=rest_s)
        return Wait(seconds=rest_s, reason=reason)

    def _retry(self, run: Run, call: Call, verdict: Verdict) -> Ending | Wait:
        """Wait, and have everything wait that the verdict says has to."""
        now = self.gates.clock()
        if verdict.holds == "connection":
            was_open = self.gates.connection.closed(now) is None
            self.gates.connection.failed(now)
            if was_open and self.gates.connection.closed(now) is not None:
                logger.warning("connection unreachable", connection=self.connection.name, reason=verdict.reason)
            return Wait(seconds=self._backoff_s(0, verdict), reason=verdict.reason)
        if verdict.holds == "scope":
            return Wait(seconds=self.gates.scope(call.scope).complained(now, verdict), reason=verdict.reason)
        return self._try_later(run, verdict)

    def _try_later(self, run: Run, verdict: Verdict) -> Ending | Wait:
        """Spend an attempt and have the lane wait; give up on what has failed for too long."""
        now_ms = self.now_ms()
        run.failing_since_ms = run.failing_since_ms or now_ms
        if now_ms - run.failing_since_ms > self.delivery.give_up_after_hours * HOUR_MS:
            return Ending(word="dead", reason="gave_up", detail=verdict.reason)
        run.attempts += 1
        return Wait(seconds=self._backoff_s(run.attempts - 1, verdict), reason=verdict.reason)

    def _backoff_s(self, attempts: int, verdict: Verdict) -> float:
        """As long as the verdict says, else a random part of a bound that doubles with each attempt."""
        asked = asked_wait_s(verdict)
        if asked is not None:
            return asked
        bound = min(self.delivery.retry_most_s, self.delivery.retry_first_s * 2 ** min(attempts, 30))
        return random.uniform(0, bound)  # noqa: S311
