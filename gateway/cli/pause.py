"""``gateway pause``: pause the deliveries of a connection."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import click

from gateway.cli import configuration
from gateway.cli.tables import count_text
from gateway.journal.engines import inspect, open_journal
from gateway.journal.types import JournalUnavailable, JournalUnusable
from gateway.settings import JournalSettings

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))
MAX_S = 365 * 86400


def parse_span_ms(_context: click.Context, _option: click.Parameter, value: str | None) -> int | None:
    """Return a span of time such as ``90s``, ``30m``, ``2h`` or ``1d`` in milliseconds. Raises BadParameter."""
    if value is None:
        return None
    found = re.fullmatch(r"([0-9]{1,9})([smhd])", value)
    seconds = int(found[1]) * UNITS_S[found[2]] if found else 0
    if not 0 < seconds <= MAX_S:
        raise click.BadParameter(f"{value!r} is not a span of time; give 1s to 365d, such as 90s, 30m, 2h or 1d")
    return 1000 * seconds


@click.command("pause")
@click.argument("connection")
@configuration.config_option
@click.option(
    "--for",
    "left_ms",
    callback=parse_span_ms,
    metavar="SPAN",
    help="Length of the pause, such as 30m or 2h. Default: until gateway resume.",
)
def command(connection: str, file: Path | None, left_ms: int | None) -> None:
    """Pause the deliveries of CONNECTION on all machines, until it is resumed.

    Posts are still accepted and stored. Calls already started are finished. NAME/ACCOUNT is the connection of one
    account.
    """
    settings = configuration.load_settings(file)
    configuration.require_known(connection, settings)
    store_pause(settings.journal, connection, left_ms)
    until = f"for {format_span(left_ms // 1000)}" if left_ms else f"until gateway resume {connection}"
    click.echo(f"{connection} is paused {until}, within a second")


def format_span(seconds: int) -> str:
    """Return a span of time in words, such as ``1 hour 30 minutes``."""
    parts = []
    for unit, length in UNITS:
        number, seconds = divmod(seconds, length)
        if number:
            parts.append(count_text(number, unit))
    return " ".join(parts)


def store_pause(of: JournalSettings, connection: str, left_ms: int | None) -> bool:
    """Store a pause in the journal (``left_ms`` of 0 ends one) and return whether one was ended.

    End the command if the journal cannot be used.
    """
    try:
        return asyncio.run(_store_pause(of, connection, left_ms))
    except (JournalUnavailable, JournalUnusable) as error:
        configuration.fail(str(error))


async def _store_pause(of: JournalSettings, connection: str, left_ms: int | None) -> bool:
    if not await inspect(of):
        raise JournalUnusable("there is no journal yet; gateway check creates it")
    journal = await open_journal(of)
    try:
        return await journal.pause(connection, left_ms)
    finally:
        await journal.close()
