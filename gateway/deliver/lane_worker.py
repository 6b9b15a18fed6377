"""A lane at work: its calls made one after another, each outcome on record before the next call is made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from gateway.clock import Clock
from gateway.deliver.coalesce import fold
from gateway.deliver.executor import CallExecutor, CallResult, CallSubject, Wait
from gateway.deliver.judge import number_follow_ups
from gateway.deliver.pools import Pools
from gateway.deliver.progress import CallOutcome, FollowUps, ItemProgress
from gateway.deliver.verdicts import MAX_WAIT_S
from gateway.journal.types import Item, Lane, Memo, PartnerAnswer, Settlement
from gateway.journal.wait_reasons import NO_REASON, REFUSED, RETRY, SHARED, WaitReason
from gateway.log import logger
from gateway.plan import FactPlan
from gateway.sdk import Call, Remember, Reply, Verdict

MAX_FOLLOW_UPS = 8
HOUR_MS = 3_600_000
UNDER_WAY = WaitReason("under_way")
FALLBACK_POLL_S = 900.0
"""Fallback poll delay for a lane whose shared call is polled by another lane, which may have died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedCall:
    """A refused call, with the number of calls taken before. ``alone``: others were taken since, but never this one."""

    call: str
    taken: int
    alone: bool


def shared_reason(call_id: str) -> WaitReason:
    """Return the reason of a lane whose shared call is polled by another lane."""
    return WaitReason(SHARED, call_id)


def _find_shared_call(chain: FollowUps, answer: CallResult) -> str:
    """Return the id of the shared call that a chain began with; "" if there was none."""
    return answer.by if chain.length == 0 else chain.by


def _is_polled_by_another(chain: FollowUps, answer: CallResult) -> bool:
    """Return whether another lane polls for the answer that all of them wait for."""
    judged = answer.judged
    is_for_all = bool(chain.by) and not answer.first and answer.wait is None
    return is_for_all and isinstance(judged, Verdict) and judged.word == "retry" and not judged.restart


def _wait_for_poll(chain: FollowUps, answer: CallResult) -> Wait:
    """Return the wait before the next poll. One of several lanes polls, and wakes the others with the answer."""
    if chain.by and not answer.first:
        return Wait(seconds=FALLBACK_POLL_S, reason=shared_reason(chain.by))
    return Wait(seconds=min(chain.next[0].after_s, MAX_WAIT_S), reason=UNDER_WAY)


def _record_answers(item: ItemProgress, chain: FollowUps, reply: Reply | None) -> tuple[PartnerAnswer, ...]:
    """Return the answers to an erasure's calls so far, for its receipt."""
    known = tuple(one for one in chain.answers if isinstance(one, PartnerAnswer))
    if not item.plan.erases or reply is None:
        return known
    return (*known, PartnerAnswer(chain.next[0].method, reply.status))


class StaleClaim(Exception):
    """The lane was claimed by another dispatcher in the meantime."""


@dataclass(slots=True, kw_only=True)
class LaneRun:
    """A claimed lane that is being worked on."""

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
        """Return the chain that continues a call: the call itself, or the follow-ups of its last answer."""
        return self.owners[call.id].chains.get(call.id) or FollowUps(next=(call,), covers=call.covers, length=0)

    def reopen(self, call: Call) -> None:
        """Drop the follow-ups of a call, which is to be made again itself."""
        item = self.owners[call.id]
        if item.chains.pop(call.id, None) is not None:
            self.changed = (item,)

    def continue_with(self, call: Call, chain: FollowUps) -> ItemProgress:
        """Replace a call by a chain of follow-ups; return the item that it belongs to."""
        item = self.owners[call.id]
        item.chains[call.id] = chain
        return item

    def reset_attempts(self) -> None:
        """Reset the attempts and the time of the first failure: the lane has moved on."""
        self.attempts = self.failing_since_ms = 0

    def record_end(self, call: Call, ending: CallOutcome) -> Sequence[ItemProgress]:
        """Record the end of a call, and of those it covers, in their items; return these items.

        A covered fact may no longer be planned, as a filter changed: it has its own outcome.
        """
        self.reset_attempts()
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
        self, *, touched: Sequence[ItemProgress] = (), due_ms: int | None = None, reason: WaitReason = NO_REASON
    ) -> Settlement:
        """Return the settlement to record now; with ``due_ms`` it releases the lane until then."""
        finished = [item for item in self.work if item.is_done and not item.is_finished]
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
    """Worker on one connection's lanes. ``settle`` records, ``wake`` makes the lanes due that wait for a reason.

    ``refusals`` holds, by user, the refused call that a lane waits at.
    """

    executor: CallExecutor
    pools: Pools
    settle: Callable[[Settlement], Awaitable[bool]]
    wake: Callable[[WaitReason], Awaitable[None]]
    clock: Clock
    refusals: dict[int, RefusedCall] = field(default_factory=dict)

    async def deliver(self, lane: Lane, work: Sequence[ItemProgress]) -> None:
        """Make every open call of these items in order, record their ends, and release the lane.

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
            touched = run.record_end(call, end)
            if position < len(calls) - 1:
                await self._record(run.settlement(touched=touched))
        self.refusals.pop(lane.user, None)
        await self._record(run.settlement(due_ms=self.clock.now_ms()))

    async def _record(self, settlement: Settlement) -> None:
        if not await self.settle(settlement):
            raise StaleClaim

    def _calls(self, lane: Lane, work: Sequence[ItemProgress]) -> Sequence[Call]:
        """Return the calls to make. While a chain is open nothing is folded, and it stands for the calls it covers.

        Calls are not folded if folding them has killed a process.
        """
        calls = [call for item in work for call in item.open_calls()]
        heads = {head for item in work for head in item.chains}
        if not heads:
            if any(item.item.crashed_in == "coalesce" for item in work):
                return calls
            self.executor.guard.note_subject(b"coalesce", lane.user, work[0].item.seq)
            return fold(self.executor.connection, calls, self.executor.guard)
        covered = {id for item in work for chain in item.chains.values() for id in chain.covers}
        return [call for call in calls if call.id in heads or call.id not in covered]

    async def _make(self, run: LaneRun, call: Call) -> CallOutcome | Wait:
        """Make a call and its follow-ups, until it ends or must wait."""
        chain = run.begin(call)
        while True:
            answer = await self._execute(run, chain.next[0], run.owners[call.id].item)
            if isinstance(answer, Wait):
                return answer
            by = _find_shared_call(chain, answer)
            after = self._follow_up(run, call, chain, answer)
            if chain.by and answer.first and not isinstance(after, Wait):
                await self.wake(shared_reason(by))
            if isinstance(after, Wait):
                return (
                    Wait(seconds=FALLBACK_POLL_S, reason=shared_reason(by))
                    if _is_polled_by_another(chain, answer)
                    else after
                )
            if isinstance(after, CallOutcome):
                return replace(after, by=by) if by != call.id else after
            withdrawn = run.owners[call.id].plan.withdrawn
            if withdrawn and not after.is_under_way:  # begin nothing new, above all for an erased user
                return CallOutcome(state="skipped", reason=withdrawn)
            chain, item = after, run.continue_with(call, after)
            if chain.is_under_way:
                run.changed = (item,)
                return _wait_for_poll(chain, answer)
            await self._record(run.settlement(touched=(item,)))

    async def _execute(self, run: LaneRun, call: Call, item: Item) -> CallResult | Wait:
        """Make a call; in its pool, if it has one and has not killed a process."""
        attempt, at = run.attempts + 1, CallSubject(run.lane.user, item.seq)
        if call.pool and not item.crashes:
            call = replace(call, lane=f"{run.lane.user:x}")
            return await self.pools.make(call, attempt=attempt, weight=run.weight, at=at)
        return await self.executor.make(call, attempt=attempt, at=at)

    def _follow_up(
        self, run: LaneRun, call: Call, chain: FollowUps, answer: CallResult
    ) -> CallOutcome | Wait | FollowUps:
        """Return the end, the wait or the next chain that a call's result leads to."""
        judged, by = answer.judged, _find_shared_call(chain, answer)
        if by and answer.is_permanent_failure:  # the shared call was rejected: each lane makes its own
            alone = chain.instead or replace(call, pool="")
            return FollowUps(next=(alone,), covers=chain.covers, length=chain.length + 1)
        ended: CallOutcome | Wait | None
        if isinstance(judged, CallOutcome):
            return judged
        if isinstance(judged, Verdict):
            ended = answer.wait or self._apply_verdict(run, chain.next[0], answer.reply, judged)
            rest = chain.next[1:]
            if judged.restart:
                run.reopen(call)
        else:
            ended = self._apply_plan(run, judged)
            rest = (*number_follow_ups(judged, call, chain.length + 1), *chain.next[1:])
        answers = _record_answers(run.owners[call.id], chain, answer.reply)
        if ended is not None and not (ended == CallOutcome(state="delivered") and rest):
            return replace(ended, answers=answers) if answers and isinstance(ended, CallOutcome) else ended
        if chain.length == MAX_FOLLOW_UPS:
            return CallOutcome(state="dead", reason="endless", detail="the plugin's follow-up calls do not end")
        instead = replace(call, pool="") if by and chain.length == 0 else chain.instead
        length = chain.length + 1
        return FollowUps(next=rest, covers=chain.covers, length=length, answers=answers, by=by, instead=instead)

    def _apply_verdict(self, run: LaneRun, call: Call, reply: Reply | None, verdict: Verdict) -> CallOutcome | Wait:
        """Return the end or the wait that a verdict means."""
        if verdict.word == "refused":
            return self._refuse(run, call, verdict)
        if verdict.word == "retry":
            return self._retry_later(run, verdict, WaitReason(RETRY, verdict.reason))
        run.reset_attempts()
        if verdict.word == "rejected":
            detail = verdict.detail or str(PartnerAnswer(call.method, reply.status if reply else None))
            reason, detail = self.executor.connection.count_by(verdict.reason or "rejected", detail)
            return CallOutcome(state="dead", reason=reason, detail=detail)
        return CallOutcome(state="delivered")

    def _apply_plan(self, run: LaneRun, planned: FactPlan) -> CallOutcome | None:
        """Return the end that a plan instead of a verdict means; None if it has further calls."""
        run.reset_attempts()
        run.memories.extend(planned.memories)
        if planned.calls:
            return None
        reason = next((skip.reason for skip in planned.skips if skip.what is None), None)
        if reason is None:
            return CallOutcome(state="delivered")
        reason, detail = self.executor.connection.count_by(reason)
        return CallOutcome(state="skipped", reason=reason, detail=detail)

    def _refuse(self, run: LaneRun, call: Call, verdict: Verdict) -> CallOutcome | Wait:
        """Close the whole connection, without spending an attempt: its credentials or set-up are wrong.

        A call that is refused again after others were taken is the cause itself: only its lane waits.
        """
        gate, before = self.executor.gates.connection, self.refusals.get(run.lane.user)
        again = before if before is not None and before.call == call.id else None
        alone = again is not None and (again.alone or gate.taken > again.taken)
        self.refusals[run.lane.user] = RefusedCall(call=call.id, taken=gate.taken, alone=alone)
        name, reason = self.executor.connection.name, WaitReason(REFUSED, verdict.reason)
        if again is not None and alone:
            if not again.alone:
                logger.warning("call refused, others are not", connection=name, call=call.id, reason=verdict.reason)
            return self._retry_later(run, verdict, reason)
        is_news = gate.closed(self.executor.gates.clock()) is None
        rest_s = gate.note_refusal(self.executor.gates.clock(), self.executor.delivery.pause_s, reason)
        if is_news:
            logger.error("connection refused", connection=name, reason=verdict.reason, rest_s=rest_s)
        return Wait(seconds=rest_s, reason=reason)

    def _retry_later(self, run: LaneRun, verdict: Verdict, reason: WaitReason) -> CallOutcome | Wait:
        """Spend an attempt and let the lane wait; make a dead letter of a call that has failed for too long."""
        now_ms = self.clock.now_ms()
        run.failing_since_ms = min(run.failing_since_ms or now_ms, now_ms)
        if run.failing_since_ms < self.clock.ago_ms(int(self.executor.delivery.give_up_after_hours * HOUR_MS)):
            return CallOutcome(state="dead", reason="gave_up", detail=str(reason))
        run.attempts += 1
        return Wait(seconds=self.executor.backoff_s(run.attempts - 1, verdict), reason=reason)
