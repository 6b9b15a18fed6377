"""``gateway pause``: have nothing sent on a connection for a while."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import click

from gateway.cli import configured
from gateway.cli.tables import counted
from gateway.journal.engines import inspect, open_journal
from gateway.journal.types import JournalUnavailable, JournalUnusable
from gateway.settings import Journal as JournalSettings

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))
MAX_S = 365 * 86400


def span_ms(_context: click.Context, _option: click.Parameter, value: str | None) -> int | None:
    """A span of time such as ``90s``, ``30m``, ``2h`` or ``1d``, in milliseconds. Raises BadParameter."""
    if value is None:
        return None
    found = re.fullmatch(r"([0-9]{1,9})([smhd])", value)
    seconds = int(found[1]) * UNITS_S[found[2]] if found else 0
    if not 0 < seconds <= MAX_S:
        raise click.BadParameter(f"{value!r} is no span of time from 1s to 365d, such as 90s, 30m, 2h or 1d")
    return 1000 * seconds


@click.command("pause")
@click.argument("connection")
@configured.option
@click.option(
    "--for",
    "left_ms",
    callback=span_ms,
    metavar="SPAN",
    help="For how long, such as 30m or 2h; else until gateway resume.",
)
def command(connection: str, file: Path | None, left_ms: int | None) -> None:
    """Send nothing on CONNECTION any more, on all machines, until it is resumed.

    Posts are accepted and kept. A call that is under way is finished. NAME/ACCOUNT is one customer's connection.
    """
    settings = configured.settings(file)
    configured.require(connection, settings)
    tell(settings.journal, connection, left_ms)
    until = f"for {said(left_ms // 1000)}" if left_ms else f"until gateway resume {connection}"
    click.echo(f"{connection} is paused {until}, within a second")


def said(seconds: int) -> str:
    """A span of time as people say it, such as ``1 hour 30 minutes``."""
    parts = []
    for unit, length in UNITS:
        number, seconds = divmod(seconds, length)
        if number:
            parts.append(counted(number, unit))
    return " ".join(parts)


def tell(of: JournalSettings, connection: str, left_ms: int | None) -> bool:
    """Write it into the journal, or end the command; whether it ended a pause."""
    try:
        return asyncio.run(_tell(of, connection, left_ms))
    except (JournalUnavailable, JournalUnusable) as error:
        configured.fail(str(error))


async def _tell(of: JournalSettings, connection: str, left_ms: int | None) -> bool:
    if not await inspect(of):
        raise JournalUnusable("there is no journal yet; gateway check makes one")
    journal = await open_journal(of)
    try:
        return await journal.pause(connection, left_ms)
    finally:
        await journal.close()
