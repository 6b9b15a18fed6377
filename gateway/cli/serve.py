"""``gateway serve``: answer mParticle and deliver to partners, until stopped by a signal."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import click

from gateway import log
from gateway.cli import configuration
from gateway.journal.types import JournalUnavailable, JournalUnusable
from gateway.log import logger
from gateway.settings import Configuration, ConfigurationError


@click.command("serve")
@configuration.config_option
@click.option(
    "--role",
    type=click.Choice(["all", "ingest", "dispatch"]),
    default="all",
    help="all: answer posts and deliver, in separate processes; ingest: only answer posts; dispatch: only deliver.",
)
@click.option("--supervised", is_flag=True, hidden=True)
@click.option("--socket", type=int, hidden=True)
@click.option("--blackbox", type=int, hidden=True)
@click.option("--heartbeat", type=int, hidden=True)
def command(  # noqa: PLR0913  # the parameters are the options
    file: Path | None, role: str, socket: int | None, blackbox: int | None, heartbeat: int | None, *, supervised: bool
) -> None:
    """Answer mParticle and deliver to partners, until SIGTERM or SIGINT."""
    file = configuration.find_file(file)
    if supervised:
        _work(file, role, socket, blackbox, heartbeat)
        return
    settings = configuration.load_settings(file)
    log.configure(settings.log.format, settings.log.level)
    try:
        _serve(settings, file, role)
    except (ConfigurationError, JournalUnusable, JournalUnavailable) as error:
        configuration.fail(error.problems if isinstance(error, ConfigurationError) else str(error))


def _serve(settings: Configuration, file: Path | None, role: str) -> None:
    from gateway.journal import engines  # noqa: PLC0415  # only where it is used
    from gateway.process import supervisor  # noqa: PLC0415  # a supervised process does not need it

    settings.require_sealing_key()
    asyncio.run(engines.prepare(settings.journal))
    for doubt in engines.doubts(settings.journal):
        logger.warning("journal in doubt", problem=doubt)
    ingress = settings.ingress
    listeners = [] if role == "dispatch" else supervisor.bind_all(ingress.bind, ingress.processes)
    for listener in listeners[:1]:
        logger.info("listening", url=supervisor.address(listener), journal=engines.shown(settings.journal))
    asyncio.run(supervisor.supervise(settings, file, listeners, dispatch=role != "ingest"))


def _work(file: Path | None, role: str, socket: int | None, blackbox: int | None, heartbeat: int | None) -> None:
    from gateway.process.run import run_role  # noqa: PLC0415  # children only

    if role == "ingest":
        from gateway.ingest import role as ingest  # noqa: PLC0415  # only in its own role

        assert socket is not None  # noqa: S101  # the supervisor gives it
        run_role(partial(ingest.run, socket=socket), file, supervised=True, heartbeat=heartbeat)
    else:
        from gateway.dispatch import role as dispatch  # noqa: PLC0415  # only where it is used

        assert blackbox is not None  # noqa: S101  # the supervisor gives it
        run_role(partial(dispatch.run, blackbox=blackbox), file, supervised=True)
