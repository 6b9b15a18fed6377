"""The heartbeat: a child process counts in shared memory, so that its supervisor knows that it has not stopped."""

from __future__ import annotations

import asyncio
import mmap

SIZE_BYTES = 8
BEAT_S = 0.5


class Heartbeat:
    """The heartbeat behind a file descriptor that the supervisor and one child share."""

    def __init__(self, descriptor: int) -> None:
        self._count = memoryview(mmap.mmap(descriptor, SIZE_BYTES)).cast("Q")

    @property
    def count(self) -> int:
        """The number of beats, of all processes that had the descriptor."""
        return self._count[0]

    def beat(self) -> None:
        """Count one more."""
        self._count[0] = (self._count[0] + 1) % (1 << 64)

    async def keep(self) -> None:
        """Beat every BEAT_S seconds, for as long as the event loop turns."""
        while True:
            self.beat()
            await asyncio.sleep(BEAT_S)
