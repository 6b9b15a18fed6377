"""The ingest role: answers mParticle."""

from __future__ import annotations

import asyncio
import sys

from hypercorn.config import Config

from gateway.garbage import tune_garbage_collection
from gateway.ingest import app
from gateway.ingest.accounts import AccountRouter
from gateway.ingest.backpressure import Backpressure
from gateway.ingest.server import Server
from gateway.journal.engines import open_journal
from gateway.journal.port import Journal
from gateway.plugins.connections import connect_all
from gateway.settings import Configuration

SWITCH_S = 0.001  # the journal's thread waits so long for the interpreter, a few times in each commit


async def run(settings: Configuration, stop: asyncio.Event, *, socket: int) -> None:
    """Answer posts on a listening socket (its file descriptor) until told to stop."""
    journal = await open_journal(settings.journal)
    connections, problems = connect_all(settings.connections)
    backpressure = Backpressure(settings.journal, journal)
    application = app.create(
        settings.ingress,
        journal,
        connections,
        configured=frozenset(settings.connections),
        problems=tuple(problems),
        router=_account_router(settings, journal) if settings.hosted else None,
        backpressure=lambda: backpressure.reason,
    )
    config = Config()
    config.accesslog = None
    config.errorlog = None
    config.include_server_header = False
    config.graceful_timeout = settings.ingress.shutdown_s
    tune_garbage_collection()
    sys.setswitchinterval(SWITCH_S)
    watching = asyncio.create_task(backpressure.watch())
    try:
        await Server(application, config).serve(socket, until=stop.wait)
    finally:
        watching.cancel()
        await journal.close()


def _account_router(settings: Configuration, journal: Journal) -> AccountRouter:
    from gateway.sealing import Sealer  # noqa: PLC0415  # heavy, and of use only here

    configured = tuple(sorted(settings.connections))
    sealer = Sealer(settings.accounts.keys())
    return AccountRouter(configured=configured, hosted=settings.hosted, journal=journal, sealer=sealer)
