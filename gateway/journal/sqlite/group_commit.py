"""Group commit: the waiting operations share one transaction; their results follow once it is on disk."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from gateway.journal.operations import T
from gateway.journal.sqlite.operations import SqliteOperation
from gateway.journal.types import JournalUnavailable

MAX_AT_ONCE = 1024
SLOW_S, ASIDE_S = 0.02, 0.5
MAX_TURN_S = 2.0
"""Another process may hold the lock of the writers for so long; then what waits is refused."""
LOOK_S = 0.5

Transact = Callable[[Sequence[SqliteOperation[Any]]], Sequence[Any]]
"""Run operations in one transaction, commit, and return a result for each.

Raises JournalUnavailable if nothing can be stored now, anything else if one of them cannot be carried out.
"""
Futures = Sequence[asyncio.Future[Any]]
Group = Sequence[tuple[SqliteOperation[Any], asyncio.Future[Any]]]


class Committer:
    """Committer of operations: those that arrive during a commit share the next one.

    A thread writes while the event loop continues. For every statement that thread must get the interpreter back from
    the busy loop, and holds the writers' lock meanwhile. If that costs too much, the loop writes by itself
    (``write_here``). After a slow transaction the thread writes again for a while.

    ``turn`` is the lock of the writers, which another process may hold. Operations that wait for it for longer than
    MAX_TURN_S fail with JournalUnavailable and are not carried out. While the loop writes, it waits without a bound.
    ``clock`` gives seconds.
    """

    def __init__(
        self,
        transact: Transact,
        turn: AbstractContextManager[object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transact = transact
        self._turn = turn
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[SqliteOperation[Any], asyncio.Future[Any]]] = deque()
        self._here_from = float("inf")
        self._looks: asyncio.TimerHandle | None = None
        self._awake = threading.Condition()  # guards these:
        self._called = False  # the loop will write
        self._busy = False  # the thread writes
        self._for_turn: Group = ()  # the operations that wait for the turn
        self._turn_since = float("inf")  # when they began to wait
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """The number of operations that wait for the next commit."""
        return len(self._waiting)

    def write_here(self) -> None:
        """Write in the event loop from now on, while that is fast."""
        self._here_from = self._clock()

    def submit(self, operation: SqliteOperation[T]) -> asyncio.Future[T]:
        """Queue an operation; the future has its result once it is durable."""
        future = self._loop.create_future()
        with self._awake:
            if self._closing:
                raise JournalUnavailable("the journal is closed")
            self._waiting.append((operation, future))
            if self._busy or self._clock() < self._here_from:
                self._awake.notify()
            elif not self._called:
                self._called = True
                self._loop.call_soon(self._loop.call_soon, self._write)  # with what this round submits
        if self._looks is None:
            self._looks = self._loop.call_later(LOOK_S, self._refuse_late)
        return future

    async def close(self) -> None:
        """Commit what waits, then end the thread."""
        with self._awake:
            self._closing = True
            self._awake.notify()
        await self._loop.run_in_executor(None, self._thread.join)
        if self._looks is not None:
            self._looks.cancel()

    def _refuse_late(self) -> None:
        """Refuse the waiting operations if another process holds the lock for too long; look again while any wait."""
        late: list[tuple[SqliteOperation[Any], asyncio.Future[Any]]] = []
        with self._awake:
            if self._clock() - self._turn_since > MAX_TURN_S:
                late = [*self._for_turn, *self._waiting]
                self._for_turn = ()
                self._waiting.clear()
            goes_on = self._busy or bool(self._waiting)
        self._looks = self._loop.call_later(LOOK_S, self._refuse_late) if goes_on else None
        if late:
            wrong = JournalUnavailable(
                f"another process has held the lock of the writers for more than {MAX_TURN_S:g} s"
            )
            _fail([future for _, future in late], wrong)

    def _write(self) -> None:
        """Commit what waits, in the event loop."""
        with self._awake:
            group = [] if self._busy else self._next()  # a busy thread takes what waits
            self._called = bool(group and self._waiting)
        if self._called:
            self._loop.call_soon(self._write)
        if group:
            began = self._clock()
            self._commit(group)()
            if self._clock() - began > SLOW_S:
                self._here_from = self._clock() + ASIDE_S

    def _run(self) -> None:
        while group := self._take():
            tell = self._commit(group)
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(tell)

    def _commit(self, group: Group) -> Callable[[], None]:
        """Commit a group; return a function that resolves its futures, to be called in the event loop."""
        futures = [future for _, future in group]
        try:
            with self._awake:
                self._for_turn, self._turn_since = group, self._clock()
            with self._turn:
                if not self._take_turn():
                    return partial(_call_all, ())
                return partial(_resolve, futures, self._transact([operation for operation, _ in group]))
        except JournalUnavailable as error:
            self._take_turn()  # the lock itself may have failed
            return partial(_fail, futures, error)
        except Exception as error:  # noqa: BLE001  # the waiting callers must get any error
            if len(group) == 1:
                return partial(_fail, futures, error)
        tells = [self._commit([one]) for one in group]  # one by one, so that only the culprit fails
        return partial(_call_all, tells)

    def _take_turn(self) -> bool:
        """Note that the wait for the turn is over; return whether it was not too long."""
        with self._awake:
            is_in_time = bool(self._for_turn)
            self._for_turn, self._turn_since = (), float("inf")
        return is_in_time

    def _take(self) -> Group:
        """Wait for operations, and return those to commit; none once the journal is closed."""
        with self._awake:
            self._busy = False
            if self._waiting and not self._closing and self._clock() >= self._here_from:
                self._called = True
                self._loop.call_soon_threadsafe(self._write)
            while not self._closing and (self._called or not self._waiting):
                self._awake.wait()
            self._busy = True
            return self._next()

    def _next(self) -> Group:
        """Return the waiting operations, at most MAX_AT_ONCE."""
        return [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_AT_ONCE))]


def _call_all(tells: Sequence[Callable[[], None]]) -> None:
    for tell in tells:
        tell()


def _resolve(futures: Futures, results: Sequence[Any]) -> None:
    for future, result in zip(futures, results, strict=True):
        if not future.done():
            future.set_result(result)


def _fail(futures: Futures, error: Exception) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)
