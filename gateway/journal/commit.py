"""Group commit: a thread that puts everything waiting into one transaction, and answers when it is on disk."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

MOST_AT_ONCE = 1024

Transact = Callable[[Sequence[Any]], Sequence[Any]]
"""Run these operations in one transaction, commit, and return a result for each. Raises for all of them."""


class Committer:
    """One writer thread. Whatever arrives while a commit is under way shares the next one; nothing lingers."""

    def __init__(self, transact: Transact) -> None:
        self._transact = transact
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[Any, asyncio.Future[Any]]] = deque()
        self._awake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many operations wait for the next commit."""
        return len(self._waiting)

    def submit(self, operation: Any) -> asyncio.Future[Any]:
        """Queue an operation; the future has its result once it is durable."""
        future = self._loop.create_future()
        with self._awake:
            if self._closing:
                raise RuntimeError("the journal is closed")
            self._waiting.append((operation, future))
            self._awake.notify()
        return future

    async def close(self) -> None:
        """Commit what waits, then end the thread."""
        with self._awake:
            self._closing = True
            self._awake.notify()
        await self._loop.run_in_executor(None, self._thread.join)

    def _run(self) -> None:
        while group := self._take():
            operations = [operation for operation, _ in group]
            futures = [future for _, future in group]
            try:
                results: Sequence[Any] = self._transact(operations)
            except Exception as error:  # noqa: BLE001  # whatever it was, those who wait must hear of it
                self._tell(_fail, futures, [error] * len(futures))
            else:
                self._tell(_resolve, futures, results)

    def _take(self) -> list[tuple[Any, asyncio.Future[Any]]]:
        """Everything waiting, up to a bound; empty when there is nothing and nothing will come."""
        with self._awake:
            while not self._waiting and not self._closing:
                self._awake.wait()
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_AT_ONCE))]

    def _tell(self, how: Callable[[Any, Any], None], futures: Sequence[Any], values: Sequence[Any]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(how, futures, values)


def _resolve(futures: Sequence[asyncio.Future[Any]], results: Sequence[Any]) -> None:
    for future, result in zip(futures, results, strict=True):
        if not future.done():
            future.set_result(result)


def _fail(futures: Sequence[asyncio.Future[Any]], errors: Sequence[Exception]) -> None:
    for future, error in zip(futures, errors, strict=True):
        if not future.done():
            future.set_exception(error)
