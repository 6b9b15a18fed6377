"""Gates: they close a connection or a rate-limit scope for a time and a reason."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from gateway.deliver.verdicts import MAX_WAIT_S, asked_wait_s, reply_time_ms
from gateway.journal.shared_limits import PAUSED
from gateway.journal.wait_reasons import NO_REASON, RETRY, WaitReason
from gateway.sdk import Rate, RateHeaders, Reply, Verdict

NO_LIMIT = Rate()
FAILURES_TO_CLOSE = 5
FIRST_REST_S = 1.0
MAX_REST_S = 30.0
POLL_INTERVAL_S = 1.0
"""The interval at which a lane that waits for its turn checks the gates again."""
MAX_CALLS, MIN_WINDOW_S, MAX_WINDOW_S = 1e9, 0.001, 86_400.0
"""Headers with other values are wrong, or use other units, or tell of a window that has ended."""
ALMOST_ONE = 1 - 1e-6
SLOW = WaitReason("plugin_slow")
"""Reason of a connection whose plugin has taken too much time from the others."""
UNREACHABLE = WaitReason("unreachable")

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateClosure:
    """The closure of a gate until a time, in seconds of the gates' clock."""

    until: float
    reason: WaitReason


@dataclass(slots=True)
class TimedGate:
    """Base of both kinds of gate: closed until a time, and open afterwards."""

    until: float = 0.0
    reason: WaitReason = NO_REASON
    known: float = 0.0
    """The end of the closure that is recorded in the journal."""

    def close(self, until: float, reason: WaitReason) -> None:
        """Close until a time; a longer closure stays."""
        if until > self.until:
            self.until, self.reason = until, reason

    def closed(self, now: float) -> GateClosure | None:
        """Return the present closure, or None."""
        return GateClosure(until=self.until, reason=self.reason) if now < self.until else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedLimit:
    """A limit that a reply reported: our calls in the window, those that are left, and the seconds to its end.

    ``reset`` is the end of the window as the destination reports it; it identifies the window.
    """

    ours: float
    left: float
    reset: float
    seconds: float


@dataclass(slots=True, kw_only=True)
class LimitWindow:
    """The present window of a limit. ``left`` is the lowest number of calls left that a reply reported."""

    ours: float
    left: float
    reset: float
    ends: float
    length_s: float


@dataclass(slots=True)
class ScopeGate(TimedGate):
    """The gate of a rate-limit scope: a token bucket, a limit of calls in flight, and closures.

    A limit that replies report replaces the declared rate: the calls left in the window are spread over its time. Lanes
    wait for their ``turn`` in order, and take a token only when they can use it at once.
    """

    rate: Rate = NO_LIMIT
    tokens: float = 0.0
    filled: float = 0.0
    in_flight: asyncio.Semaphore | None = None
    complaints: int = 0
    window: LimitWindow | None = None
    under_way: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def take(self, now: float, dispatchers: int = 1) -> float:
        """Take a token for a call; return 0.0, or the seconds to wait if there is no token yet.

        Each of ``dispatchers`` has an equal part of the rate.
        """
        if self.window is not None:
            if now >= self.window.ends:
                self._begin_window(self.window, now)
            if self.window.left - self.under_way < 1:
                return POLL_INTERVAL_S
        if self.rate.per_second is not None:
            per_second, burst = self.rate.per_second / dispatchers, max(1, self.rate.burst / dispatchers)
            self.tokens = min(burst, self.tokens + (now - self.filled) * per_second)
            self.filled = now
            if self.tokens < ALMOST_ONE:
                return (1 - self.tokens) / per_second
            self.tokens -= 1
        self.under_way += 1
        return 0.0

    def note_complaint(self, now: float, verdict: Verdict) -> float:
        """Close after a "too many" reply, for the time it asks or with back-off; return the seconds."""
        wait = asked_wait_s(verdict)
        if wait is None:
            doubled = FIRST_REST_S * 2 ** min(self.complaints, 10)
            wait = min(MAX_REST_S, doubled) * random.uniform(0.5, 1.0)  # noqa: S311  # spreads retries, guards nothing
        self.complaints += 1
        self.close(now + wait, WaitReason(RETRY, verdict.reason))
        return wait

    def note_success(self) -> None:
        """Note that the destination took a call."""
        self.complaints = 0

    def finish_call(self, now: float, reported: ReportedLimit | None) -> None:
        """Note that a call has ended, and the limit that its reply reported."""
        self.under_way -= 1
        window = self.window
        if reported is not None and (window is None or reported.reset >= window.reset):
            self._adopt(reported, now)
        elif window is not None:  # without a report, the call counts
            window.left -= 1
        if self.window is not None and self.window.left < 1:
            self.close(self.window.ends, WaitReason("limit_reached"))

    def _adopt(self, reported: ReportedLimit, now: float) -> None:
        """Adopt a reported window; of one window the lowest report counts, as replies may overtake each other."""
        known = self.window
        least = min(reported.left, known.left) if known is not None and reported.reset == known.reset else reported.left
        self.window = LimitWindow(
            ours=reported.ours,
            left=least,
            reset=reported.reset,
            ends=now + min(reported.seconds, MAX_WAIT_S),
            length_s=max(reported.seconds, known.length_s if known is not None else 0.0),
        )
        self._spread(least - self.under_way, reported.seconds)

    def _begin_window(self, window: LimitWindow, now: float) -> None:
        """Begin a window like the last one, until a reply reports it."""
        window.left, window.ends = window.ours, now + min(window.length_s, MAX_WAIT_S)
        self._spread(window.left, window.length_s)

    def _spread(self, calls: float, seconds: float) -> None:
        """Set the rate to this many calls in this many seconds."""
        per_second = max(calls, 1.0) / seconds
        self.rate = Rate(per_second=per_second, burst=max(1, int(per_second)), in_flight=self.rate.in_flight)
        self.tokens = min(self.tokens, self.rate.burst)


@dataclass(slots=True)
class ConnectionGate(TimedGate):
    """The gate of a whole connection: closed after failures or refusals; one trial call passes before it opens.

    ``taken`` counts the calls that the destination took.
    """

    failures: int = 0
    refusals: int = 0
    taken: int = 0
    on_trial: bool = False

    def note_failure(self, now: float) -> None:
        """Note that the destination was unreachable; close after several times in a row, with back-off.

        Calls in flight fail together: while the gate is closed, further failures count for nothing.
        """
        if now < self.until:
            return
        self.failures += 1
        if self.failures >= FAILURES_TO_CLOSE:
            doubled = FIRST_REST_S * 2 ** min(self.failures - FAILURES_TO_CLOSE, 10)
            rest = min(MAX_REST_S, doubled)
            self.close_for_trial(now + rest * random.uniform(0.5, 1.0), UNREACHABLE)  # noqa: S311  # spreads retries

    def note_refusal(self, now: float, most_s: float, reason: WaitReason) -> float:
        """Close after a refused call, with back-off until a call is taken; return the seconds until it opens."""
        if now >= self.until:
            rest = min(most_s, FIRST_REST_S * 2 ** min(self.refusals, 10))
            self.refusals += 1
            self.close_for_trial(now + rest, reason)
        return self.until - now

    def close_for_trial(self, until: float, reason: WaitReason) -> None:
        """Close until a time, then let one call through as a trial."""
        self.close(until, reason)
        self.on_trial = True

    def note_success(self, now: float) -> None:
        """Note an answer that is no complaint about the connection. While the gate is closed it proves nothing."""
        if now >= self.until:
            self.failures = self.refusals = 0
            self.on_trial = False
            self.taken += 1


@dataclass(slots=True)
class Gates:
    """All gates of one connection. ``clock`` returns seconds; ``sleep`` waits for seconds.

    ``dispatchers`` is the number of dispatchers that share the connection's limits. ``paused``: an operator has paused
    the connection. No lane is claimed then, so lanes that are given back may be due at once.
    """

    rates: Mapping[str, Rate]
    headers: RateHeaders | None
    clock: Callable[[], float]
    sleep: Sleep = asyncio.sleep
    connection: ConnectionGate = field(default_factory=ConnectionGate)
    scopes: dict[str, ScopeGate] = field(default_factory=dict)
    dispatchers: int = 1
    paused: bool = False

    def scope(self, name: str) -> ScopeGate:
        """Return the gate of a scope; without a declared rate it has no limit."""
        if name not in self.scopes:
            rate = self.rates.get(name, NO_LIMIT)
            self.scopes[name] = ScopeGate(
                rate=rate,
                tokens=float(max(1, rate.burst)),
                filled=self.clock(),
                in_flight=asyncio.Semaphore(rate.in_flight) if rate.in_flight else None,
            )
        return self.scopes[name]

    async def enter(self, name: str, stopping: Callable[[], bool] = lambda: False) -> GateClosure | None:
        """Wait for a turn in a scope; return the closure if a gate is or becomes closed.

        After None, call ``leave`` when the call has ended.
        """
        scope = self.scope(name)
        closed = self._closed(scope, stopping)
        if closed is not None:
            return closed
        if scope.in_flight is None:
            return await self._take_turn(scope, stopping)
        await scope.in_flight.acquire()
        has_turn = False
        try:
            closed = await self._take_turn(scope, stopping)
            has_turn = closed is None
        finally:
            if not has_turn:
                scope.in_flight.release()
        return closed

    async def _take_turn(self, scope: ScopeGate, stopping: Callable[[], bool]) -> GateClosure | None:
        """Wait for a token in short steps, as gates may close and limits change meanwhile."""
        async with scope.turn:
            while True:
                closed = self._closed(scope, stopping)
                if closed is not None:
                    return closed
                wait = scope.take(self.clock(), self.dispatchers)
                if not wait:
                    return None
                await self.sleep(min(wait, POLL_INTERVAL_S))

    def _closed(self, scope: ScopeGate, stopping: Callable[[], bool]) -> GateClosure | None:
        now = self.clock()
        if stopping():
            return GateClosure(until=now, reason=NO_REASON)
        if self.paused:
            return GateClosure(until=now, reason=PAUSED)
        return self.connection.closed(now) or scope.closed(now)

    def unpublished(self) -> dict[str | None, GateClosure]:
        """Return the closures that are not recorded yet, by scope; that of the whole connection under None.

        Other dispatchers ignore the connection's: they may reach what is unreachable from here.
        """
        now = self.clock()
        gates: list[tuple[str | None, TimedGate]] = [(None, self.connection), *self.scopes.items()]
        closed = {name: gate.closed(now) for name, gate in gates if gate.until > gate.known}
        return {name: how for name, how in closed.items() if how is not None}

    def mark_published(self, name: str | None, until: float) -> None:
        """Note that the closure of a scope (None: of the connection) is recorded."""
        gate = self.connection if name is None else self.scope(name)
        gate.known = until

    def apply_remote(self, name: str, closed: GateClosure) -> None:
        """Close a scope that another dispatcher has closed."""
        scope = self.scope(name)
        scope.close(closed.until, closed.reason)
        scope.known = max(scope.known, closed.until)

    def leave(self, name: str, reply: Reply | None = None) -> None:
        """Note that a call of a scope has ended, and adopt the limit that its reply reports."""
        scope = self.scope(name)
        scope.finish_call(self.clock(), self._read_limit(reply))
        if scope.in_flight is not None:
            scope.in_flight.release()

    def _read_limit(self, reply: Reply | None) -> ReportedLimit | None:
        """Return the limit in a reply's headers, if the plugin names those headers and the values are plausible."""
        if reply is None or self.headers is None or self.headers.limit not in reply.headers:
            return None
        try:
            limit, remaining, reset = (
                float(reply.headers.get(header, "nan"))
                for header in (self.headers.limit, self.headers.remaining, self.headers.reset)
            )
        except ValueError:
            return None
        seconds = reset - reply_time_ms(reply) / 1000
        if not (0 < limit <= MAX_CALLS and math.isfinite(remaining) and MIN_WINDOW_S <= seconds <= MAX_WINDOW_S):
            return None
        kept = min(limit * (1 - self.headers.share), limit - 1)
        left = min(max(0.0, remaining - kept), limit - kept)
        return ReportedLimit(ours=limit - kept, left=left, reset=reset, seconds=seconds)
