"""The watchdog: interrupts a hook that runs for too long, in the process's main thread."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType


class TooLong(Exception):
    """A hook ran for longer than it may."""


class _Interrupted(BaseException):
    """Raised inside the hook, where an ``except Exception`` must not stop it."""


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise _Interrupted


class Watchdog:
    """``with watchdog:`` interrupts the code inside once it has run for ``seconds``, and raises TooLong.

    Outside the main thread it watches nothing, for only there can Python be interrupted.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._watches = threading.current_thread() is threading.main_thread()
        if self._watches:
            signal.signal(signal.SIGALRM, _interrupt)

    def __enter__(self) -> None:
        if self._watches:
            signal.setitimer(signal.ITIMER_REAL, self._seconds, self._seconds)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watches:
            signal.setitimer(signal.ITIMER_REAL, 0)
        if isinstance(error, _Interrupted):
            raise TooLong from None
