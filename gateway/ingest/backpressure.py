"""Backpressure: the reason why no more posts can be taken now, looked at once a second beside the posts."""

from __future__ import annotations

import asyncio

from gateway.journal.port import Journal
from gateway.journal.types import JournalUnavailable
from gateway.log import logger
from gateway.settings import JournalSettings as Limits

EVERY_S = 1.0


class Backpressure:
    """Refuses posts while too many facts wait, or while there is too little room on the journal's disk.

    ``reason`` is why, as the last look found it; it is empty while posts are taken.
    """

    def __init__(self, limits: Limits, journal: Journal) -> None:
        self._limits = limits
        self._journal = journal
        self.reason = ""

    async def watch(self) -> None:
        """Look once a second until cancelled."""
        while True:
            try:
                self._note(await self.look())
            except JournalUnavailable:  # posts are answered 503 anyway
                self._note("")
            await asyncio.sleep(EVERY_S)

    async def look(self) -> str:
        """Return why no more can be taken just now, or an empty string. Raises JournalUnavailable."""
        room = await self._journal.room() if self._limits.min_free_bytes else None
        if room is not None and room < self._limits.min_free_bytes:
            return "the journal's disk is almost full"
        bound = self._limits.max_waiting_facts
        if bound and await self._count_waiting() > bound:
            return "too many facts wait to be delivered"
        return ""

    async def _count_waiting(self) -> int:
        """Count the facts without an outcome, on all connections."""
        counts = await self._journal.counts()
        return sum(count.facts if count.state == "received" else -count.facts for count in counts)

    def _note(self, reason: str) -> None:
        if reason and not self.reason:
            logger.error("posts are refused for now", problem=reason)
        elif self.reason and not reason:
            logger.info("posts are taken again")
        self.reason = reason
