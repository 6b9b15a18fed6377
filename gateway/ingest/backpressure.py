"""Pressure: whether the journal has room for more, looked at again and again beside the posts."""

from __future__ import annotations

import asyncio

from gateway.journal.port import Journal
from gateway.journal.types import JournalUnavailable
from gateway.log import logger
from gateway.settings import Journal as Limits

EVERY_S = 1.0


class Pressure:
    """What keeps posts from being taken: too many facts that wait, or too little room on the journal's disk.

    ``problem`` says so, or is empty. Between two looks it is as it was at the last one.
    """

    def __init__(self, limits: Limits, journal: Journal) -> None:
        self._limits = limits
        self._journal = journal
        self.problem = ""

    async def watch(self) -> None:
        """Look for as long as nobody stops it."""
        while True:
            try:
                self._found(await self.look())
            except JournalUnavailable:  # which is answered 503 by itself
                self._found("")
            await asyncio.sleep(EVERY_S)

    async def look(self) -> str:
        """What keeps more from being taken just now, or nothing. Raises JournalUnavailable."""
        room = await self._journal.room() if self._limits.min_free_bytes else None
        if room is not None and room < self._limits.min_free_bytes:
            return "the journal's disk is almost full"
        most = self._limits.max_waiting_facts
        if most and await self._waiting() > most:
            return "too many facts wait to be delivered"
        return ""

    async def _waiting(self) -> int:
        """How many facts have no word yet, on all connections."""
        counts = await self._journal.counts()
        return sum(count.facts if count.word == "received" else -count.facts for count in counts)

    def _found(self, problem: str) -> None:
        if problem and not self.problem:
            logger.error("posts are refused for now", problem=problem)
        elif self.problem and not problem:
            logger.info("posts are taken again")
        self.problem = problem
