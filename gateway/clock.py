"""The time: what the wall clock says, and how much of that is time that has passed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from itertools import accumulate

from gateway.log import logger

JUMP_MS = 10_000
"""What the wall clock gains or loses at once, beyond this, is no time that has passed: somebody has set it."""
MOST_JUMPS = 1_000


def now_ms() -> int:
    """The time, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class Clock:
    """The wall clock, held against one that only ever goes on. ``wall`` gives milliseconds, ``steady`` seconds.

    A jump is seen at the next ``look``; of those before the first one nothing is known. ``set_back`` counts the jumps
    into the past that were seen.
    """

    def __init__(self, wall: Callable[[], int] = now_ms, steady: Callable[[], float] = time.monotonic) -> None:
        self.now_ms = wall
        self.set_back = 0
        self.steady_s = steady
        self._apart_ms = wall() - 1000 * steady()
        self._jumps: deque[tuple[float, int]] = deque(maxlen=MOST_JUMPS)

    def look(self) -> None:
        """See whether the wall clock was set since the last look."""
        apart_ms = self.now_ms() - 1000 * self.steady_s()
        by_ms, self._apart_ms = int(apart_ms - self._apart_ms), apart_ms
        if abs(by_ms) >= JUMP_MS:
            self._jumps.append((self.steady_s(), by_ms))
            self.set_back += by_ms < 0
            logger.warning("the clock was set", by_s=by_ms / 1000)

    def ago_ms(self, span_ms: int) -> int:
        """What the wall clock said so long ago, or earlier: what it says to be older than that is, for all we know.

        So a jump into the future makes nothing older, until as much time has really passed.
        """
        self.look()
        since = self.steady_s() - span_ms / 1000
        counted = (by_ms for at, by_ms in reversed(self._jumps) if at > since)
        return self.now_ms() - span_ms - max(accumulate(counted, initial=0))
