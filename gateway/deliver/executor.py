"""Execution of a call: pass its gates, send it, judge the reply, and apply that to the gates."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from gateway.deliver.gates import POLL_INTERVAL_S, SLOW, Gates
from gateway.deliver.judge import judge
from gateway.deliver.progress import CallOutcome
from gateway.deliver.sender import Sender
from gateway.deliver.verdicts import asked_wait_s
from gateway.journal.wait_reasons import RETRY, WaitReason
from gateway.log import logger
from gateway.plan import FactPlan, PluginFault
from gateway.plugins.connections import Connection
from gateway.plugins.watchdog import Watchdog
from gateway.sdk import Call, Reply, Verdict
from gateway.settings import DeliverySettings


class CallSubject(NamedTuple):
    """The batch that a call is made for, by user and seq. ``members``: the users whose lanes share the call."""

    user: int
    seq: int
    members: tuple[int, ...] = ()


NO_SUBJECT = CallSubject(0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """The lane must wait for this many seconds."""

    seconds: float
    reason: WaitReason


@dataclass(frozen=True, slots=True, kw_only=True)
class CallResult:
    """The result of a call: its ``reply`` and how it was ``judged``; a CallOutcome if it could not be built.

    ``wait`` is set if the call closed a gate. ``by`` is the id of a call made for several lanes; ``first`` is true for
    exactly one of them.
    """

    judged: Verdict | FactPlan | CallOutcome
    reply: Reply | None = None
    wait: Wait | None = None
    by: str = ""
    first: bool = True

    @property
    def is_permanent_failure(self) -> bool:
        """True if the destination will never accept the call, or it cannot be made."""
        return isinstance(self.judged, CallOutcome) or (
            isinstance(self.judged, Verdict) and self.judged.word == "rejected"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CallExecutor:
    """Executor of one connection's calls. ``stopping`` returns true at a stop; ``guard`` limits hooks."""

    connection: Connection
    sender: Sender
    gates: Gates
    delivery: DeliverySettings
    stopping: Callable[[], bool]
    guard: Watchdog

    async def make(self, call: Call, *, attempt: int, at: CallSubject = NO_SUBJECT) -> CallResult | Wait:
        """Make a call once its gates are open; return Wait if one is closed."""
        closed = await self.gates.enter(call.scope, self.stopping)
        if closed is not None:
            return Wait(seconds=closed.until - self.gates.clock(), reason=closed.reason)
        reply = None
        self.guard.note_subject(b"sign", *at)  # signing is the first step, and runs without a pause
        try:
            reply = await self.sender.send(call, attempt=attempt)
        except PluginFault as error:
            logger.warning("call cannot be made", connection=self.connection.name, problem=str(error))
            return CallResult(judged=CallOutcome(state="dead", reason="plugin_error", detail=str(error)))
        finally:
            self.gates.leave(call.scope, reply)
        await self._wait_while_suspended()
        self.guard.note_subject(b"on_reply", *at)
        try:
            judged = judge(self.connection, call, reply, self.guard)
        except PluginFault as error:
            return CallResult(judged=CallOutcome(state="dead", reason="plugin_error", detail=str(error)))
        return CallResult(judged=judged, reply=reply, wait=self._apply_to_gates(call, judged))

    async def _wait_while_suspended(self) -> None:
        """Wait while the plugin is suspended because it took too much time from other connections."""
        while not self.stopping():
            closed = self.gates.connection.closed(self.gates.clock())
            if closed is None or closed.reason != SLOW:
                return
            await self.gates.sleep(min(POLL_INTERVAL_S, closed.until - self.gates.clock()))

    def _apply_to_gates(self, call: Call, judged: Verdict | FactPlan) -> Wait | None:
        """Apply a judged reply to the gates. The lane worker handles refusals, and retries of its lane only."""
        word = judged.word if isinstance(judged, Verdict) else "planned"
        if word == "refused":
            return None
        if word != "retry" or not isinstance(judged, Verdict):
            self._note_success(call)
            return None
        now = self.gates.clock()
        if judged.holds == "connection":
            was_open = self.gates.connection.closed(now) is None
            self.gates.connection.note_failure(now)
            if was_open and self.gates.connection.closed(now) is not None:
                logger.warning("connection unreachable", connection=self.connection.name, reason=judged.reason)
            return Wait(seconds=self.backoff_s(0, judged), reason=WaitReason(RETRY, judged.reason))
        if judged.holds == "scope":
            rest_s = self.gates.scope(call.scope).note_complaint(now, judged)
            return Wait(seconds=rest_s, reason=WaitReason(RETRY, judged.reason))
        return None

    def _note_success(self, call: Call) -> None:
        was_on_trial = self.gates.connection.on_trial
        self.gates.connection.note_success(self.gates.clock())
        if was_on_trial and not self.gates.connection.on_trial:
            logger.info("connection works again", connection=self.connection.name)
        self.gates.scope(call.scope).note_success()

    def backoff_s(self, attempts: int, verdict: Verdict) -> float:
        """Return the seconds until the next attempt: the verdict's, else exponential back-off with full jitter."""
        asked = asked_wait_s(verdict)
        if asked is not None:
            return asked
        bound = min(self.delivery.retry_most_s, self.delivery.retry_first_s * 2 ** min(attempts, 30))
        return random.uniform(0, bound)  # noqa: S311  # spreads retries, guards nothing
