"""The clock: the wall clock, corrected for jumps by a steady clock."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from itertools import accumulate

from gateway.log import logger

MIN_JUMP_MS = 10_000
"""A difference between wall clock and steady clock from which on somebody must have set the wall clock."""
MAX_JUMPS = 1_000


def now_ms() -> int:
    """Return the time, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class Clock:
    """The wall clock, compared with a steady clock. ``wall`` gives milliseconds, ``steady`` gives seconds.

    ``detect_jump`` finds jumps of the wall clock since its last call; the clock knows of no jump before it was made.
    ``backward_jumps`` counts the jumps into the past.
    """

    def __init__(self, wall: Callable[[], int] = now_ms, steady: Callable[[], float] = time.monotonic) -> None:
        self.now_ms = wall
        self.steady_s = steady
        self.backward_jumps = 0
        self._apart_ms = wall() - 1000 * steady()
        self._jumps: deque[tuple[float, int]] = deque(maxlen=MAX_JUMPS)

    def detect_jump(self) -> None:
        """Note and log a jump of the wall clock since the last call, if there was one."""
        apart_ms = self.now_ms() - 1000 * self.steady_s()
        by_ms, self._apart_ms = int(apart_ms - self._apart_ms), apart_ms
        if abs(by_ms) >= MIN_JUMP_MS:
            self._jumps.append((self.steady_s(), by_ms))
            self.backward_jumps += by_ms < 0
            logger.warning("the clock was set", by_s=by_ms / 1000)

    def ago_ms(self, span_ms: int) -> int:
        """Return the wall clock's time ``span_ms`` ago, corrected for jumps: an earlier time is at least that old.

        A jump into the future therefore makes nothing older until as much time has really passed.
        """
        self.detect_jump()
        since = self.steady_s() - span_ms / 1000
        counted = (by_ms for at, by_ms in reversed(self._jumps) if at > since)
        return self.now_ms() - span_ms - max(accumulate(counted, initial=0))
