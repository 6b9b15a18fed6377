"""The ingest role: answers mParticle."""

from __future__ import annotations

import asyncio

from hypercorn.asyncio import serve
from hypercorn.config import Config

from gateway import app, destinations
from gateway.journal.sqlite import SqliteJournal
from gateway.roles import tend_garbage
from gateway.settings import Settings


async def run(settings: Settings, stop: asyncio.Event, *, socket: int) -> None:
    """Answer posts on a listening socket (its file descriptor) until told to stop."""
    journal = SqliteJournal(settings.journal.url)
    connections, problems = destinations.connect_all(settings.connections)
    application = app.create(
        settings.ingress,
        journal,
        connections,
        configured=frozenset(settings.connections),
        problems=tuple(problems),
    )
    config = Config()
    config.bind = [f"fd://{socket}"]
    config.accesslog = None
    config.errorlog = None
    config.include_server_header = False
    config.graceful_timeout = settings.ingress.shutdown_s
    config.shutdown_timeout = settings.ingress.shutdown_s
    config.read_timeout = settings.ingress.read_timeout_s  # type: ignore[assignment]  # seconds, fractions welcome
    config.keep_alive_timeout = 65
    tend_garbage()
    try:
        await serve(application, config, shutdown_trigger=stop.wait)  # type: ignore[arg-type]  # any ASGI application
    finally:
        await journal.close()
