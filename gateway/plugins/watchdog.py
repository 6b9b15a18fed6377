"""The watchdog: interrupts a hook that runs for too long or takes too much memory, in the process's main thread."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import FrameType, TracebackType

from gateway.log import logger
from gateway.plugins.blackbox import Blackbox

SLOW_S = 0.25
"""A hook that runs for longer costs the other connections time, which is charged to its connection."""
MEASURE_EVERY_S = 1.0
STATM = Path("/proc/self/statm")


class HookTimeout(Exception):
    """A hook ran for longer than it may. The message says where in the code it was."""


class _Interrupted(BaseException):
    """Interrupts the hook. It is no Exception, so that the hook's own ``except Exception`` does not stop it."""


def _interrupt(_signal: int, frame: FrameType | None) -> None:
    if frame is not None and frame.f_code in (Watchdog.__enter__.__code__, Watchdog.__exit__.__code__):
        return  # the hook has not begun, and the timer will ring again; or the hook has ended
    raise _Interrupted


class Watchdog:
    """``with watchdog:`` interrupts the code inside once it has run for ``seconds``, and raises HookTimeout.

    If that code takes more than ``memory_bytes`` of new memory, MemoryError is raised in it (0: no bound). ``box``
    notes what runs, and the time that it costs other connections. If that is too much, ``rest`` is called with the
    seconds for which the plugin should not run.

    Outside the main thread it watches nothing: Python can interrupt the main thread alone.
    """

    def __init__(
        self,
        seconds: float,
        *,
        memory_bytes: int = 0,
        box: Blackbox | None = None,
        connection: str = "",
        rest: Callable[[float], None] = lambda seconds: None,  # noqa: ARG005  # the shape of the hook
    ) -> None:
        self._seconds = seconds
        self._memory = MemoryBound(memory_bytes) if memory_bytes and STATM.exists() else None
        self._box = box
        self._connection = connection
        self._name = connection.encode()
        self._rest = rest
        self._began = 0.0
        self._watches = threading.current_thread() is threading.main_thread()
        if self._watches:
            signal.signal(signal.SIGALRM, _interrupt)

    def note_subject(self, doing: bytes, user: int, seq: int, members: Sequence[int] = ()) -> None:
        """Note the subject of the next hook; see Blackbox."""
        if self._box is not None:
            self._box.note_subject(self._name, doing, user, seq, members)

    def __enter__(self) -> None:
        if not self._watches:
            return
        self._began = time.monotonic()
        if self._box is not None:
            self._box.begin_hook(self._began)
        if self._memory is not None:
            self._memory.bound(self._began)
        signal.setitimer(signal.ITIMER_REAL, self._seconds, self._seconds)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watches:
            signal.setitimer(signal.ITIMER_REAL, 0)
            if self._memory is not None:
                self._memory.release()
            if self._box is not None:
                self._box.end_hook()
            took = time.monotonic() - self._began
            if took > SLOW_S:
                self._charge(took)
        if isinstance(error, _Interrupted):
            raise HookTimeout(f"interrupted {describe_place(trace)}") from None

    def charge_reading(self, took: float) -> None:
        """Charge the connection for an answer that took this many seconds to read."""
        logger.warning("an answer was slow to read", connection=self._connection, took_s=round(took, 3))
        self._add_cost(took)

    def _charge(self, took: float) -> None:
        logger.warning("a plugin's hook was slow", connection=self._connection, took_s=round(took, 3))
        self._add_cost(took)

    def _add_cost(self, took: float) -> None:
        if self._box is not None:
            self._box.charge(self._connection, min(took, self._seconds))  # a longer time is the machine's fault
            rest_s = self._box.rest_s(self._connection)
            if rest_s:
                self._rest(rest_s)


def describe_place(trace: TracebackType | None) -> str:
    """Return where a trace ends in the plugin's or a library's code: file, line and function."""
    while trace is not None and trace.tb_next is not None and trace.tb_next.tb_frame.f_code is not _interrupt.__code__:
        trace = trace.tb_next
    if trace is None:
        return "nowhere"
    code = trace.tb_frame.f_code
    return f"at {Path(code.co_filename).name}:{trace.tb_lineno} {code.co_name}"


@cache
def _open_statm() -> int:
    """Open the file once and keep its descriptor: there may be no free one when a hook runs."""
    return os.open(STATM, os.O_RDONLY)


class MemoryBound:
    """Bounds the memory that this process may take while a hook runs."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._limit = 0
        self._measured = float("-inf")
        self._soft, self._hard = resource.getrlimit(resource.RLIMIT_DATA)

    def bound(self, now: float) -> None:
        """Allow so much more memory than at the last measurement, which is at most a second old."""
        if now > self._measured + MEASURE_EVERY_S:
            pages = int(os.pread(_open_statm(), 256, 0).split()[5])
            wanted = pages * resource.getpagesize() + self._max_bytes
            self._limit = wanted if self._hard == resource.RLIM_INFINITY else min(wanted, self._hard)
            self._measured = now
        resource.setrlimit(resource.RLIMIT_DATA, (self._limit, self._hard))

    def release(self) -> None:
        """Set the limit that was there at the start again."""
        resource.setrlimit(resource.RLIMIT_DATA, (self._soft, self._hard))
