"""Group commit inside the event loop: everything that waits goes to the server together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from gateway.journal.operations import Operation, T
from gateway.journal.types import JournalUnavailable

MAX_AT_ONCE = 1024

Run = Callable[[Sequence[Any]], Awaitable[Sequence[Any]]]
"""Carry out operations together and return a result for each.

Raises JournalUnavailable if nothing can be stored now, anything else if one of them cannot be carried out.
"""

Group = Sequence[tuple[Operation[Any], asyncio.Future[Any]]]


class GroupCommit:
    """Collects operations into groups: those that arrive while one group is under way share the next."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._waiting: deque[tuple[Operation[Any], asyncio.Future[Any]]] = deque()
        self._working: asyncio.Task[None] | None = None
        self._closing = False

    def submit(self, operation: Operation[T]) -> asyncio.Future[T]:
        """Queue an operation; the future has its result once its group is done with."""
        if self._closing:
            raise JournalUnavailable("the journal is closed")
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((operation, future))
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        return future

    async def close(self) -> None:
        """Carry out the waiting operations, and refuse new ones."""
        self._closing = True
        if self._working is not None:
            await self._working

    async def _work(self) -> None:
        while self._waiting:
            group = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_AT_ONCE))]
            await self._carry_out(group)
        self._working = None

    async def _carry_out(self, group: Group) -> None:
        try:
            results = await self._run([operation for operation, _ in group])
        except Exception as error:  # noqa: BLE001  # the waiting callers must get any error
            if len(group) > 1 and not isinstance(error, JournalUnavailable):
                for one in group:  # so that only the one at fault fails
                    await self._carry_out([one])
                return
            for _, future in group:
                if not future.done():
                    future.set_exception(error)
        else:
            for (_, future), result in zip(group, results, strict=True):
                if not future.done():
                    future.set_result(result)
