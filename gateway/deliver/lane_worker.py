"""A lane at work: its calls made one after another, each outcome on record before the next call is made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from gateway.clock import Clock
from gateway.deliver.coalesce import fold
from gateway.deliver.executor import CallExecutor, CallResult, CallSubject, Wait
from gateway.deliver.judge import numbered
from gateway.deliver.pools import Pools
from gateway.deliver.progress import CallOutcome, FollowUps, ItemProgress
from gateway.deliver.verdicts import MAX_WAIT_S
from gateway.journal.types import Item, Lane, Memo, Settlement
from gateway.log import logger
from gateway.plan import FactPlan
from gateway.sdk import Call, Remember, Reply, Verdict

MAX_FOLLOW_UPS = 8
HOUR_MS = 3_600_000
MAX_SILENCE_S = 900.0
"""A lane that another one asks for asks by itself after so long: the other may be gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedCall:
    """A call was refused after its connection had taken so many. ``alone``: others were taken, but never this one."""

    call: str
    taken: int
    alone: bool


def answer_to(call_id: str) -> str:
    """Why a lane waits that has its call made by another one."""
    return f"shared {call_id}"


def _shared_by(chain: FollowUps, answer: CallResult) -> str:
    """The call that was made for several lanes, and that this chain goes back to; empty where there is none."""
    return answer.by if chain.length == 0 else chain.by


def _another_asks(chain: FollowUps, answer: CallResult) -> bool:
    """Return whether another lane asks again, since all of them wait for the same answer."""
    judged = answer.judged
    is_for_all = bool(chain.by) and not answer.first and answer.wait is None
    return is_for_all and isinstance(judged, Verdict) and judged.word == "retry" and not judged.restart


def _until_asked(chain: FollowUps, answer: CallResult) -> Wait:
    """Return the wait before asking again; of many lanes one asks, and wakes the others when it has an answer."""
    if chain.by and not answer.first:
        return Wait(seconds=MAX_SILENCE_S, reason=answer_to(chain.by))
    return Wait(seconds=min(chain.next[0].after_s, MAX_WAIT_S), reason="under_way")


def _answers(item: ItemProgress, chain: FollowUps, reply: Reply | None) -> tuple[str, ...]:
    """Return the answers to an erasure's follow-ups so far, which have to be on record."""
    if not item.plan.erases or reply is None:
        return chain.answers
    return (*chain.answers, f"{chain.next[0].method} was answered {reply.status}")


class StaleClaim(Exception):
    """The lane was claimed anew in the meantime: whoever did works on it now."""


@dataclass(slots=True, kw_only=True)
class LaneRun:
    """One claimed lane while it is worked on."""

    lane: Lane
    work: Sequence[ItemProgress]
    attempts: int = 0
    failing_since_ms: int = 0
    memories: list[Remember] = field(default_factory=list)
    owners: dict[str, ItemProgress] = field(default_factory=dict)
    changed: Sequence[ItemProgress] = ()

    def __post_init__(self) -> None:
        self.owners = {call.id: item for item in self.work for call in item.open_calls()}

    @property
    def weight(self) -> int:
        """The bytes of posted documents that the lane holds."""
        return sum(len(item.item.body) for item in self.work)

    def begin(self, call: Call) -> FollowUps:
        """Return what is still to be made in this call's place: itself, or what its last answer led to."""
        return self.owners[call.id].chains.get(call.id) or FollowUps(next=(call,), covers=call.covers, length=0)

    def reopen(self, call: Call) -> None:
        """Forget what a call's answers led to: it is to be made again itself."""
        item = self.owners[call.id]
        if item.chains.pop(call.id, None) is not None:
            self.changed = (item,)

    def go_on(self, call: Call, chain: FollowUps) -> ItemProgress:
        """Have this chain take the call's place; returns the item whose progress that is."""
        item = self.owners[call.id]
        item.chains[call.id] = chain
        return item

    def moved_on(self) -> None:
        """The lane is not stuck, or no longer: what comes next has its own attempts, and its own time to fail."""
        self.attempts = self.failing_since_ms = 0

    def note(self, call: Call, ending: CallOutcome) -> Sequence[ItemProgress]:
        """Write the end of a call, and of those it covers, into their items; returns these.

        A fact that the call covered when it began may no longer be planned (a filter changed): it has its own outcome.
        """
        self.moved_on()
        touched = []
        for call_id in self.begin(call).covers or (call.id,):
            item = self.owners.get(call_id)
            if item is None:
                continue
            item.ends[call_id] = ending if call_id == call.id else replace(ending, by=ending.by or call.id)
            item.chains.pop(call_id, None)
            touched.append(item)
        return touched

    def settlement(
        self, *, touched: Sequence[ItemProgress] = (), due_ms: int | None = None, reason: str = ""
    ) -> Settlement:
        """Return what to record now; ``due_ms`` releases the lane until then."""
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
class LaneWorker:
    """Works on one connection's lanes. ``settle`` records, ``wake`` makes lanes due that wait for a reason.

    ``refusals`` remembers, by user, the call that a lane stopped at because it was refused.
    """

    maker: CallExecutor
    pools: Pools
    settle: Callable[[Settlement], Awaitable[bool]]
    wake: Callable[[str], Awaitable[None]]
    clock: Clock
    refusals: dict[int, RefusedCall] = field(default_factory=dict)

    async def deliver(self, lane: Lane, work: Sequence[ItemProgress]) -> None:
        """Make every open call of these items in order, record what becomes of them, and give the lane back.

        Raises StaleClaim.
        """
        run = LaneRun(lane=lane, work=work, attempts=lane.attempts, failing_since_ms=lane.failing_since_ms)
        calls = self._calls(lane, work)
        for position, call in enumerate(calls):
            end = await self._make(run, call)
            if isinstance(end, Wait):
                due_ms = self.clock.now_ms() + int(end.seconds * 1000)
                await self._record(run.settlement(touched=run.changed, due_ms=due_ms, reason=end.reason))
                return
            touched = run.note(call, end)
            if position < len(calls) - 1:
                await self._record(run.settlement(touched=touched))
        self.refusals.pop(lane.user, None)
        await self._record(run.settlement(due_ms=self.clock.now_ms()))

    async def _record(self, settlement: Settlement) -> None:
        if not await self.settle(settlement):
            raise StaleClaim

    def _calls(self, lane: Lane, work: Sequence[ItemProgress]) -> Sequence[Call]:
        """The calls to make. While a chain is under way nothing is folded, and what it covers is left to it.

        Nothing is folded for which folding has killed a process.
        """
        calls = [call for item in work for call in item.open_calls()]
        heads = {head for item in work for head in item.chains}
        if not heads:
            if any(item.item.crashed_in == "coalesce" for item in work):
                return calls
            self.maker.guard.note_subject(b"coalesce", lane.user, work[0].item.seq)
            return fold(self.maker.connection, calls, self.maker.guard)
        covered = {id for item in work for chain in item.chains.values() for id in chain.covers}
        return [call for call in calls if call.id in heads or call.id not in covered]

    async def _make(self, run: LaneRun, call: Call) -> CallOutcome | Wait:
        """Make a call and whatever its answers lead to, until it ends or has to wait."""
        chain = run.begin(call)
        while True:
            answer = await self._answer(run, chain.next[0], run.owners[call.id].item)
            if isinstance(answer, Wait):
                return answer
            by = _shared_by(chain, answer)
            after = self._after(run, call, chain, answer)
            if chain.by and answer.first and not isinstance(after, Wait):
                await self.wake(answer_to(by))
            if isinstance(after, Wait):
                return Wait(seconds=MAX_SILENCE_S, reason=answer_to(by)) if _another_asks(chain, answer) else after
            if isinstance(after, CallOutcome):
                return replace(after, by=by) if by != call.id else after
            withdrawn = run.owners[call.id].plan.withdrawn
            if withdrawn and not after.is_under_way:  # nothing new is begun, for whom is erased above all
                return CallOutcome(state="skipped", reason=withdrawn)
            chain, item = after, run.go_on(call, after)
            if chain.is_under_way:
                run.changed = (item,)
                return _until_asked(chain, answer)
            await self._record(run.settlement(touched=(item,)))

    async def _answer(self, run: LaneRun, call: Call, item: Item) -> CallResult | Wait:
        """Make a call, with those of other lanes where it has a pool and no process has died of it."""
        attempt, at = run.attempts + 1, CallSubject(run.lane.user, item.seq)
        if call.pool and not item.crashes:
            call = replace(call, lane=f"{run.lane.user:x}")
            return await self.pools.make(call, attempt=attempt, weight=run.weight, at=at)
        return await self.maker.make(call, attempt=attempt, at=at)

    def _after(self, run: LaneRun, call: Call, chain: FollowUps, answer: CallResult) -> CallOutcome | Wait | FollowUps:
        """Return what an answer to the next follow-up leads to."""
        judged, by = answer.judged, _shared_by(chain, answer)
        if by and answer.is_no:  # of what many shared: now each lane makes its call by itself
            alone = chain.instead or replace(call, pool="")
            return FollowUps(next=(alone,), covers=chain.covers, length=chain.length + 1)
        ended: CallOutcome | Wait | None
        if isinstance(judged, CallOutcome):
            return judged
        if isinstance(judged, Verdict):
            ended = answer.wait or self._weigh(run, chain.next[0], answer.reply, judged)
            rest = chain.next[1:]
            if judged.restart:
                run.reopen(call)
        else:
            ended = self._follow(run, judged)
            rest = (*numbered(judged, call, chain.length + 1), *chain.next[1:])
        answers = _answers(run.owners[call.id], chain, answer.reply)
        if ended is not None and not (ended == CallOutcome(state="delivered") and rest):
            return replace(ended, detail="; ".join(answers)) if answers and isinstance(ended, CallOutcome) else ended
        if chain.length == MAX_FOLLOW_UPS:
            return CallOutcome(state="dead", reason="endless", detail="the plugin's follow-up calls do not end")
        instead = replace(call, pool="") if by and chain.length == 0 else chain.instead
        length = chain.length + 1
        return FollowUps(next=rest, covers=chain.covers, length=length, answers=answers, by=by, instead=instead)

    def _weigh(self, run: LaneRun, call: Call, reply: Reply | None, verdict: Verdict) -> CallOutcome | Wait:
        """Return what a verdict makes of a call."""
        if verdict.word == "refused":
            return self._refuse(run, call, verdict)
        if verdict.word == "retry":
            return self._try_later(run, verdict)
        run.moved_on()
        if verdict.word == "rejected":
            status = f"{call.method} was answered {reply.status if reply else None}"
            return CallOutcome(state="dead", reason=verdict.reason or "rejected", detail=status)
        return CallOutcome(state="delivered")

    def _follow(self, run: LaneRun, planned: FactPlan) -> CallOutcome | None:
        """Return what a plan in the place of a verdict makes of a call; None if further calls must be made."""
        run.moved_on()
        run.memories.extend(planned.memories)
        if planned.calls:
            return None
        reason = next((skip.reason for skip in planned.skips if skip.what is None), None)
        return CallOutcome(state="delivered") if reason is None else CallOutcome(state="skipped", reason=reason)

    def _refuse(self, run: LaneRun, call: Call, verdict: Verdict) -> CallOutcome | Wait:
        """Rest the whole connection: its credentials or its set-up are wrong, and no attempt is spent on that.

        But a call that is refused again, after others were taken, is refused for its own sake: its lane alone waits.
        """
        gate, before = self.maker.gates.connection, self.refusals.get(run.lane.user)
        again = before if before is not None and before.call == call.id else None
        alone = again is not None and (again.alone or gate.taken > again.taken)
        self.refusals[run.lane.user] = RefusedCall(call=call.id, taken=gate.taken, alone=alone)
        name, reason = self.maker.connection.name, f"refused: {verdict.reason}"
        if again is not None and alone:
            if not again.alone:
                logger.warning("call refused, others are not", connection=name, call=call.id, reason=verdict.reason)
            return self._try_later(run, replace(verdict, reason=reason))
        is_news = gate.closed(self.maker.gates.clock()) is None
        rest_s = gate.refused(self.maker.gates.clock(), self.maker.delivery.pause_s, reason)
        if is_news:
            logger.error("connection refused", connection=name, reason=verdict.reason, rest_s=rest_s)
        return Wait(seconds=rest_s, reason=reason)

    def _try_later(self, run: LaneRun, verdict: Verdict) -> CallOutcome | Wait:
        """Spend an attempt and have the lane wait; give up on what has failed for too long."""
        now_ms = self.clock.now_ms()
        run.failing_since_ms = min(run.failing_since_ms or now_ms, now_ms)
        if run.failing_since_ms < self.clock.ago_ms(int(self.maker.delivery.give_up_after_hours * HOUR_MS)):
            return CallOutcome(state="dead", reason="gave_up", detail=verdict.reason)
        run.attempts += 1
        return Wait(seconds=self.maker.backoff_s(run.attempts - 1, verdict), reason=verdict.reason)
