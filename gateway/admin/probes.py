"""Probes: whether a running gateway lives, whether it is ready, and its metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.admin import metrics
from gateway.clock import now_ms
from gateway.journal.backlog import Backlog
from gateway.journal.port import Journal
from gateway.journal.types import JournalUnavailable
from gateway.log import logger

BACKLOG_EVERY_S = 10.0


class CachedBacklog:
    """The journal's backlog, read at most every ten seconds: with a million lanes a read takes a second."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._read_at = float("-inf")
        self._backlog: list[Backlog] = []
        self._lock = asyncio.Lock()

    async def read(self) -> list[Backlog]:
        """Return the present backlog, or one that is a few seconds old. Raises JournalUnavailable."""
        async with self._lock:
            if time.monotonic() - self._read_at > BACKLOG_EVERY_S:
                self._backlog = await self._journal.backlog()
                self._read_at = time.monotonic()
            return self._backlog


def routes(journal: Journal, problems: tuple[str, ...], backpressure: Callable[[], str]) -> list[Route]:
    """Return the routes for operators: ``/healthz``, ``/readyz`` and ``/metrics``.

    ``problems`` says why some connections cannot be used; ``backpressure`` returns why no post can be taken, if so.
    """
    cached = CachedBacklog(journal)

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        try:
            await journal.ping()
        except JournalUnavailable as error:
            logger.error("journal unavailable", problem=str(error))
            return JSONResponse({"status": "unavailable", "problems": ["the journal cannot be written"]}, 503)
        return JSONResponse({"status": "ready", "problems": [*problems, *filter(None, [backpressure()])]})

    async def metricsz(_: Request) -> Response:
        backlog = await cached.read()
        return Response(metrics.render(await journal.counts(), backlog, now_ms()), media_type=metrics.CONTENT_TYPE)

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metricsz)]
