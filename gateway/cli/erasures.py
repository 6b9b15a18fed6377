"""``gateway erasures``: the erasures that reached nobody at a destination, to be checked by people."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from gateway.cli import configuration
from gateway.cli.tables import print_table
from gateway.journal import engines
from gateway.journal.types import DeliveryStatus, FoundBatch, JournalUnavailable, JournalUnusable, Outcome
from gateway.settings import JournalSettings

Row = dict[str, Any]

MAX_ERASURES = 10_000
NOT_FOUND = 404


@click.command("erasures")
@configuration.config_option
@click.option("--all", "shows_all", is_flag=True, help="Also those that reached somebody.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: an erasure on a connection.")
def command(file: Path | None, *, shows_all: bool, as_json: bool) -> None:
    """List the erasures that reached nobody: skipped, refused for good, or answered 404 by the destination.

    The user may be known there under an identity that the request did not name. `gateway explain ID` says more.
    """
    settings = configuration.load_settings(file)
    try:
        found = asyncio.run(_read(settings.journal))
    except (JournalUnavailable, JournalUnusable) as error:
        configuration.fail(str(error))
    rows = [row for row in _rows(found) if shows_all or not row["reached"]]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
    elif rows:
        shown = [(row["message"], row["received"], row["connection"], row["word"], _describe(row)) for row in rows]
        print_table(("message", "received", "connection", "word", "why"), shown)
    else:
        click.echo("gateway: no erasure, of those that the journal still knows, reached nobody", err=True)
    if len(found) == MAX_ERASURES:
        click.echo(f"gateway: there are more erasures; these are of the newest {MAX_ERASURES}", err=True)


async def _read(of: JournalSettings) -> list[FoundBatch]:
    if not await engines.inspect(of):
        raise JournalUnusable(f"journal.url: {engines.shown(of)} does not exist yet")
    journal = await engines.open_journal(of)
    try:
        return await journal.erasures(limit=MAX_ERASURES)
    finally:
        await journal.close()


def _rows(found: Iterable[FoundBatch]) -> Iterator[Row]:
    """Yield a row for each finished erasure on each connection."""
    for batch in found:
        for status in batch.sightings:
            if status.at_ms is not None:
                yield from (_row(batch, status, outcome) for outcome in status.outcomes)


def _row(batch: FoundBatch, status: DeliveryStatus, outcome: Outcome) -> Row:
    is_known = not outcome.answers or any(answer.status != NOT_FOUND for answer in outcome.answers)
    return {
        "message": batch.message,
        "received": datetime.fromtimestamp(batch.received_ms / 1000, UTC).isoformat(timespec="seconds"),
        "connection": status.connection,
        "fact": outcome.fact,
        "reached": outcome.state == "delivered" and is_known,
        "word": outcome.state,
        "reason": outcome.reason,
        "answers": outcome.list_answers(),
    }


def _describe(row: Row) -> str:
    return "; ".join(filter(None, (row["reason"], *row["answers"])))
