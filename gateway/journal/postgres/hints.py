"""Hints that there may be work: a process that stores a batch wakes the dispatchers that wait.

Dispatchers poll too, so that a lost hint only costs a moment.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gateway.journal.postgres.address import Address
from gateway.journal.postgres.link import Connection, PostgresLink
from gateway.journal.types import JournalUnavailable

CHANNEL = "gateway_work"
APART_S = 0.01  # commits that notify wait for each other, so hints are sent apart from them, and rarely


class HintChannel:
    """Channel of hints to all processes, and from them."""

    def __init__(self, address: Address) -> None:
        self._giving = PostgresLink(address)
        self._hearing = PostgresLink(address)
        self._heard: Connection | None = None
        self._watchers: set[asyncio.Event] = set()
        self._gives: asyncio.Task[None] | None = None
        self._again = False

    def give(self) -> None:
        """Send a hint soon."""
        self._again = True
        if self._gives is None or self._gives.done():
            self._gives = asyncio.create_task(self._give())

    def heed(self, *_: Any) -> None:
        """Wake the waiters of this process."""
        for watcher in self._watchers:
            watcher.set()

    async def listen(self) -> None:
        """Listen for hints, if that is not done already. Raises JournalUnavailable."""
        if self._heard is None or self._heard.is_closed():
            self._heard = await self._hearing.run(self._subscribe)

    @contextmanager
    def watching(self) -> Iterator[asyncio.Event]:
        """Return an event that the next hint sets."""
        watcher = asyncio.Event()
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)

    async def close(self) -> None:
        """Send the last hint, and stop listening."""
        if self._gives is not None:
            await self._gives
        await self._giving.close()
        await self._hearing.close()

    async def _subscribe(self, connection: Connection) -> Connection:
        await connection.add_listener(CHANNEL, self.heed)
        return connection

    async def _give(self) -> None:
        while self._again:
            self._again = False
            started = time.monotonic()
            try:
                await self._giving.run(_notify)
            except JournalUnavailable:
                break  # the waiters poll
            await asyncio.sleep(max(0.0, started + APART_S - time.monotonic()))


async def _notify(connection: Connection) -> None:
    await connection.execute(f"NOTIFY {CHANNEL}")
