"""The ingest role: answers mParticle."""

from __future__ import annotations

import asyncio
import sys

from hypercorn.asyncio import serve
from hypercorn.config import Config

from gateway.garbage import tune_garbage_collection
from gateway.ingest import app
from gateway.ingest.accounts import Reception
from gateway.ingest.backpressure import Pressure
from gateway.journal.engines import open_journal
from gateway.journal.port import Journal
from gateway.plugins.connections import connect_all
from gateway.settings import Settings

KEEP_ALIVE_S = 65  # for a request to begin and its head to be complete; longer than load balancers keep a connection

SWITCH_S = 0.001  # how long the journal's thread waits for the interpreter, a handful of times in each commit


async def run(settings: Settings, stop: asyncio.Event, *, socket: int) -> None:
    """Answer posts on a listening socket (its file descriptor) until told to stop."""
    journal = await open_journal(settings.journal)
    connections, problems = connect_all(settings.connections)
    pressure = Pressure(settings.journal, journal)
    application = app.create(
        settings.ingress,
        journal,
        connections,
        configured=frozenset(settings.connections),
        problems=tuple(problems),
        reception=_reception(settings, journal) if settings.hosted else None,
        pressure=lambda: pressure.problem,
    )
    config = Config()
    config.bind = [f"fd://{socket}"]
    config.accesslog = None
    config.errorlog = None
    config.include_server_header = False
    config.graceful_timeout = settings.ingress.shutdown_s
    config.shutdown_timeout = settings.ingress.shutdown_s
    config.keep_alive_timeout = KEEP_ALIVE_S
    tune_garbage_collection()
    sys.setswitchinterval(SWITCH_S)
    watching = asyncio.create_task(pressure.watch())
    try:
        await serve(application, config, shutdown_trigger=stop.wait)  # type: ignore[arg-type]  # any ASGI application
    finally:
        watching.cancel()
        await journal.close()


def _reception(settings: Settings, journal: Journal) -> Reception:
    from gateway.sealing import Sealer  # noqa: PLC0415  # heavy, and of use only here

    configured = tuple(sorted(settings.connections))
    sealer = Sealer(settings.accounts.keys())
    return Reception(configured=configured, hosted=settings.hosted, journal=journal, sealer=sealer)
