"""The heartbeat: a child process counts in shared memory, so that its supervisor knows that it has not stopped."""

from __future__ import annotations

import asyncio
import mmap
import os

SIZE_BYTES = 16
BEAT_S = 0.5


class Heartbeat:
    """The heartbeat behind a file descriptor that the supervisor and one child share."""

    def __init__(self, descriptor: int) -> None:
        self._shared = memoryview(mmap.mmap(descriptor, SIZE_BYTES)).cast("Q")

    @property
    def last(self) -> tuple[int, int]:
        """The process id of the child that beat last, and a number that changes with every beat."""
        return self._shared[0], self._shared[1]

    def beat(self) -> None:
        """Beat once, for the process that calls it."""
        self._shared[1] = (self._shared[1] + 1) % (1 << 64)
        self._shared[0] = os.getpid()

    async def keep(self) -> None:
        """Beat every BEAT_S seconds, for as long as the event loop turns."""
        while True:
            self.beat()
            await asyncio.sleep(BEAT_S)
