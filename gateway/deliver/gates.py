"""Gates: why a connection or a rate-limit scope waits now, and for how long."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from gateway.deliver.verdicts import MAX_WAIT_S, asked_wait_s, told_ms
from gateway.journal.shared_limits import PAUSED
from gateway.sdk import Rate, RateHeaders, Reply, Verdict

NO_LIMIT = Rate()
FAILURES_TO_CLOSE = 5
FIRST_REST_S = 1.0
MAX_REST_S = 30.0
LOOK_S = 1.0
"""The time between two looks of a lane that waits for its turn."""
MAX_CALLS, MAX_WINDOW_S = 1e9, 86_400.0
"""Headers that tell of more are wrong, or say it in other units."""
ALMOST_ONE = 1 - 1e-6
SLOW = "plugin_slow"
"""Why a connection rests whose plugin has cost all others too much time."""

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateClosure:
    """A gate is closed until this time, in seconds of the gates' clock."""

    until: float
    reason: str


@dataclass(slots=True)
class TimedGate:
    """Base of both kinds of gate: they close until a time, and open by themselves after it."""

    until: float = 0.0
    reason: str = ""
    known: float = 0.0
    """The time until which the journal says that it is closed."""

    def close(self, until: float, reason: str) -> None:
        """Stay closed until then; never shortens a longer wait."""
        if until > self.until:
            self.until, self.reason = until, reason

    def closed(self, now: float) -> GateClosure | None:
        """Return how it is closed now, or None."""
        return GateClosure(until=self.until, reason=self.reason) if now < self.until else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedLimit:
    """A limit that a reply reported: how many calls of a window are ours, how many of them are left, and for how long.

    ``reset`` is the end of the window as the destination says it, which tells one window from another.
    """

    ours: float
    left: float
    reset: float
    seconds: float


@dataclass(slots=True, kw_only=True)
class LimitWindow:
    """The present window of a limit. ``left`` is the least that a reply said was left, calls under way not counted."""

    ours: float
    left: float
    reset: float
    ends: float
    length_s: float


@dataclass(slots=True)
class ScopeGate(TimedGate):
    """The gate of a rate-limit scope: a bucket of tokens, a bound on calls in flight, and a door.

    Once replies tell of a limit, that takes the place of the declared rate: what is left of the window is spread over
    its time. Lanes wait for their ``turn`` in order, and take a token only when they may use it at once.
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
        """Take a token for a call to be made now; where there is none yet, how many seconds to wait for it.

        Each of ``dispatchers`` has an equal part of a rate.
        """
        if self.window is not None:
            if now >= self.window.ends:
                self._begin_anew(self.window, now)
            if self.window.left - self.under_way < 1:
                return LOOK_S
        if self.rate.per_second is not None:
            per_second, burst = self.rate.per_second / dispatchers, max(1, self.rate.burst / dispatchers)
            self.tokens = min(burst, self.tokens + (now - self.filled) * per_second)
            self.filled = now
            if self.tokens < ALMOST_ONE:
                return (1 - self.tokens) / per_second
            self.tokens -= 1
        self.under_way += 1
        return 0.0

    def complained(self, now: float, verdict: Verdict) -> float:
        """The destination said "too many": close as long as it says, else longer each time; returns how long."""
        wait = asked_wait_s(verdict)
        if wait is None:
            doubled = FIRST_REST_S * 2 ** min(self.complaints, 10)
            wait = min(MAX_REST_S, doubled) * random.uniform(0.5, 1.0)  # noqa: S311
        self.complaints += 1
        self.close(now + wait, verdict.reason)
        return wait

    def worked(self) -> None:
        """The destination took a call."""
        self.complaints = 0

    def over(self, now: float, told: ReportedLimit | None) -> None:
        """A call is over, and its reply told this of the limit."""
        self.under_way -= 1
        window = self.window
        if told is not None and (window is None or told.reset >= window.reset):
            self._adopt(told, now)
        elif window is not None:  # it counts, for all that is known
            window.left -= 1
        if self.window is not None and self.window.left < 1:
            self.close(self.window.ends, "limit_reached")

    def _adopt(self, told: ReportedLimit, now: float) -> None:
        """The present window is as told; replies may overtake each other, so of one window the least counts."""
        known = self.window
        least = min(told.left, known.left) if known is not None and told.reset == known.reset else told.left
        self.window = LimitWindow(
            ours=told.ours,
            left=least,
            reset=told.reset,
            ends=now + min(told.seconds, MAX_WAIT_S),
            length_s=max(told.seconds, known.length_s if known is not None else 0.0),
        )
        self._spread(least - self.under_way, told.seconds)

    def _begin_anew(self, window: LimitWindow, now: float) -> None:
        """The window has ended: until a reply tells of the next one, it is taken to be like the last."""
        window.left, window.ends = window.ours, now + min(window.length_s, MAX_WAIT_S)
        self._spread(window.left, window.length_s)

    def _spread(self, calls: float, seconds: float) -> None:
        """Make so many calls in so many seconds, evenly."""
        per_second = max(calls, 1.0) / seconds
        self.rate = Rate(per_second=per_second, burst=max(1, int(per_second)), in_flight=self.rate.in_flight)
        self.tokens = min(self.tokens, self.rate.burst)


@dataclass(slots=True)
class ConnectionGate(TimedGate):
    """The gate of a whole connection: closes when it fails or is refused, and lets one call try before it opens.

    ``taken`` counts the calls that the destination took.
    """

    failures: int = 0
    refusals: int = 0
    taken: int = 0
    on_trial: bool = False

    def failed(self, now: float) -> None:
        """The destination could not be reached. After a few times in a row the gate closes, each time for longer.

        Calls that were under way together fail together: once it is closed, the others say nothing new.
        """
        if now < self.until:
            return
        self.failures += 1
        if self.failures >= FAILURES_TO_CLOSE:
            doubled = FIRST_REST_S * 2 ** min(self.failures - FAILURES_TO_CLOSE, 10)
            rest = min(MAX_REST_S, doubled)
            self.rest(now + rest * random.uniform(0.5, 1.0), "unreachable")  # noqa: S311

    def refused(self, now: float, most_s: float, reason: str) -> float:
        """A call was refused: rest, longer each time until one is taken. Returns how long it still rests."""
        if now >= self.until:
            rest = min(most_s, FIRST_REST_S * 2 ** min(self.refusals, 10))
            self.refusals += 1
            self.rest(now + rest, reason)
        return self.until - now

    def rest(self, until: float, reason: str) -> None:
        """Close, and when that time has come let one call try first."""
        self.close(until, reason)
        self.on_trial = True

    def worked(self, now: float) -> None:
        """A call got an answer that is no complaint about the connection. While closed that proves nothing."""
        if now >= self.until:
            self.failures = self.refusals = 0
            self.on_trial = False
            self.taken += 1


@dataclass(slots=True)
class Gates:
    """All gates of one connection. ``clock`` gives seconds; ``sleep`` waits for some.

    ``dispatchers`` is how many work on the connection, whose limits they share. ``paused``: an operator wants nothing
    to be sent. Nothing is claimed then, so what is given back may be due at once.
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
        """The gate of a scope; one that no rate is declared for has no limit."""
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
        """Wait for a turn in a scope; Closed where a gate is closed, or closes. Match every None with ``leave``."""
        scope = self.scope(name)
        closed = self._closed(scope, stopping)
        if closed is not None:
            return closed
        if scope.in_flight is None:
            return await self._turn(scope, stopping)
        await scope.in_flight.acquire()
        has_turn = False
        try:
            closed = await self._turn(scope, stopping)
            has_turn = closed is None
        finally:
            if not has_turn:
                scope.in_flight.release()
        return closed

    async def _turn(self, scope: ScopeGate, stopping: Callable[[], bool]) -> GateClosure | None:
        """Wait for a token, a little at a time: meanwhile gates may close, and limits change."""
        async with scope.turn:
            while True:
                closed = self._closed(scope, stopping)
                if closed is not None:
                    return closed
                wait = scope.take(self.clock(), self.dispatchers)
                if not wait:
                    return None
                await self.sleep(min(wait, LOOK_S))

    def _closed(self, scope: ScopeGate, stopping: Callable[[], bool]) -> GateClosure | None:
        now = self.clock()
        if stopping():
            return GateClosure(until=now, reason="")
        if self.paused:
            return GateClosure(until=now, reason=PAUSED)
        return self.connection.closed(now) or scope.closed(now)

    def unpublished(self) -> dict[str | None, GateClosure]:
        """The scopes that are closed, and whether the whole connection is (None), as far as that is not on record yet.

        That the connection is, no other dispatcher heeds: what cannot be reached from here may be from elsewhere.
        """
        now = self.clock()
        doors: list[tuple[str | None, TimedGate]] = [(None, self.connection), *self.scopes.items()]
        closed = {name: door.closed(now) for name, door in doors if door.until > door.known}
        return {name: how for name, how in closed.items() if how is not None}

    def told(self, name: str | None, until: float) -> None:
        """It is on record now that a scope, or the connection, is closed until then."""
        door = self.connection if name is None else self.scope(name)
        door.known = until

    def apply_remote(self, name: str, closed: GateClosure) -> None:
        """Close a scope, as another dispatcher had to."""
        scope = self.scope(name)
        scope.close(closed.until, closed.reason)
        scope.known = max(scope.known, closed.until)

    def leave(self, name: str, reply: Reply | None = None) -> None:
        """A call of a scope is over; adopt the limit that its reply tells of."""
        scope = self.scope(name)
        scope.over(self.clock(), self._told(reply))
        if scope.in_flight is not None:
            scope.in_flight.release()

    def _told(self, reply: Reply | None) -> ReportedLimit | None:
        """Return the limit in a reply's headers, if the plugin names those headers and they make sense."""
        if reply is None or self.headers is None or self.headers.limit not in reply.headers:
            return None
        try:
            limit, remaining, reset = (
                float(reply.headers.get(header, "nan"))
                for header in (self.headers.limit, self.headers.remaining, self.headers.reset)
            )
        except ValueError:
            return None
        seconds = reset - told_ms(reply) / 1000
        if not (0 < limit <= MAX_CALLS and math.isfinite(remaining) and 0 < seconds <= MAX_WINDOW_S):
            return None
        kept = min(limit * (1 - self.headers.share), limit - 1)
        left = min(max(0.0, remaining - kept), limit - kept)
        return ReportedLimit(ours=limit - kept, left=left, reset=reset, seconds=seconds)
