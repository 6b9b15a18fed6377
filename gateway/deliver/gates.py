"""Gates: why a connection or a rate-limit scope waits now, and for how long."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from gateway.deliver.verdicts import asked_wait_s
from gateway.sdk import Rate, RateHeaders, Reply, Verdict

NO_LIMIT = Rate()
FAILURES_TO_CLOSE = 5
FIRST_REST_S = 1.0
MOST_REST_S = 30.0

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """A gate is closed until this time, in seconds of the gates' clock."""

    until: float
    reason: str


@dataclass(slots=True)
class Door:
    """What both kinds of gate do: close until a time, and open by themselves after it."""

    until: float = 0.0
    reason: str = ""

    def close(self, until: float, reason: str) -> None:
        """Stay closed until then; never shortens a longer wait."""
        if until > self.until:
            self.until, self.reason = until, reason

    def closed(self, now: float) -> Closed | None:
        """How it is closed now, or None."""
        return Closed(until=self.until, reason=self.reason) if now < self.until else None


@dataclass(slots=True)
class Scope(Door):
    """The gate of a rate-limit scope: a bucket of tokens, a bound on calls in flight, and a door."""

    rate: Rate = NO_LIMIT
    tokens: float = 0.0
    filled: float = 0.0
    in_flight: asyncio.Semaphore | None = None
    complaints: int = 0

    def take(self, now: float) -> float:
        """Take a token, now or in advance; returns how many seconds to wait until it may be used."""
        if self.rate.per_second is None:
            return 0.0
        burst = max(1, self.rate.burst)
        self.tokens = min(burst, self.tokens + (now - self.filled) * self.rate.per_second) - 1
        self.filled = now
        return max(0.0, -self.tokens / self.rate.per_second)

    def complained(self, now: float, verdict: Verdict) -> float:
        """The destination said "too many": close as long as it says, else longer each time; returns how long."""
        wait = asked_wait_s(verdict)
        if wait is None:
            doubled = FIRST_REST_S * 2 ** min(self.complaints, 10)
            wait = min(MOST_REST_S, doubled) * random.uniform(0.5, 1.0)  # noqa: S311
        self.complaints += 1
        self.close(now + wait, verdict.reason)
        return wait

    def worked(self) -> None:
        """The destination took a call."""
        self.complaints = 0

    def learn(self, limit: float, remaining: float, seconds_left: float) -> None:
        """Adopt a limit that the destination told of: so many calls are left in the present window."""
        if seconds_left > 0 and limit > 0:
            per_second = max(remaining / seconds_left, 1 / seconds_left)
            self.rate = Rate(per_second=per_second, burst=max(1, int(per_second)), in_flight=self.rate.in_flight)
            self.tokens = min(self.tokens, max(1, int(per_second)))


@dataclass(slots=True)
class ConnectionGate(Door):
    """The gate of a whole connection: closes when it fails or is refused, and lets one call try before it opens.

    ``taken`` counts the calls that the destination took.
    """

    failures: int = 0
    taken: int = 0
    on_trial: bool = False

    def failed(self, now: float) -> None:
        """The destination could not be reached. After a few times in a row the gate closes, each time for longer."""
        self.failures += 1
        if self.failures >= FAILURES_TO_CLOSE:
            doubled = FIRST_REST_S * 2 ** min(self.failures - FAILURES_TO_CLOSE, 10)
            rest = min(MOST_REST_S, doubled)
            self.rest(now + rest * random.uniform(0.5, 1.0), "unreachable")  # noqa: S311

    def rest(self, until: float, reason: str) -> None:
        """Close, and when that time has come let one call try first."""
        self.close(until, reason)
        self.on_trial = True

    def worked(self, now: float) -> None:
        """A call got an answer that is no complaint about the connection. While closed that proves nothing."""
        if now >= self.until:
            self.failures = 0
            self.on_trial = False
            self.taken += 1


@dataclass(slots=True)
class Gates:
    """All gates of one connection. ``clock`` gives seconds; ``sleep`` waits for some."""

    rates: Mapping[str, Rate]
    headers: RateHeaders | None
    clock: Callable[[], float]
    sleep: Sleep = asyncio.sleep
    connection: ConnectionGate = field(default_factory=ConnectionGate)
    scopes: dict[str, Scope] = field(default_factory=dict)

    def scope(self, name: str) -> Scope:
        """The gate of a scope; one that no rate is declared for has no limit."""
        if name not in self.scopes:
            rate = self.rates.get(name, NO_LIMIT)
            self.scopes[name] = Scope(
                rate=rate,
                tokens=float(max(1, rate.burst)),
                filled=self.clock(),
                in_flight=asyncio.Semaphore(rate.in_flight) if rate.in_flight else None,
            )
        return self.scopes[name]

    async def enter(self, name: str) -> Closed | None:
        """Wait for a turn in a scope; Closed where that would take too long. Match every None with ``leave``."""
        scope = self.scope(name)
        closed = self.connection.closed(self.clock()) or scope.closed(self.clock())
        if closed is not None:
            return closed
        if scope.in_flight is not None:
            await scope.in_flight.acquire()
        wait = scope.take(self.clock())
        if wait:
            await self.sleep(wait)
        closed = self.connection.closed(self.clock()) or scope.closed(self.clock())
        if closed is not None:
            self.leave(name)
        return closed

    def leave(self, name: str) -> None:
        """A call of a scope is over."""
        scope = self.scope(name)
        if scope.in_flight is not None:
            scope.in_flight.release()

    def learn(self, name: str, reply: Reply) -> None:
        """Adopt the limit that a reply's headers tell of, where the plugin says which headers those are."""
        if self.headers is None or self.headers.limit not in reply.headers:
            return
        try:
            limit, remaining, reset = (
                float(reply.headers.get(header, "nan"))
                for header in (self.headers.limit, self.headers.remaining, self.headers.reset)
            )
        except ValueError:
            return
        kept = limit * (1 - self.headers.share)
        self.scope(name).learn(limit, max(0.0, remaining - kept), reset - reply.at_ms / 1000)
