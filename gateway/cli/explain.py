"""``gateway explain``: what became of a message, an event or a user, from the ledger."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from gateway.cli import configured
from gateway.cli.tables import table
from gateway.journal import sqlite
from gateway.journal.port import Found, JournalUnavailable, JournalUnusable, Sighting

Row = dict[str, Any]


@click.command("explain")
@click.argument("id")
@configured.option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: a batch on a connection.")
def command(id: str, file: Path | None, *, as_json: bool) -> None:
    """Say what became of ID: that of a message or an event, or a user's MPID, customer_id or e-mail address."""
    settings = configured.settings(file)
    if not sqlite.path_of(settings.journal.url).exists():
        configured.fail(f"journal.url: {settings.journal.url} does not exist yet")
    try:
        found = asyncio.run(_find(settings.journal.url, id))
    except (JournalUnavailable, JournalUnusable) as error:
        configured.fail(str(error))
    if not found:
        configured.fail(f"nothing is known of {id!r} (or it is older than journal.retention_hours)")
    rows = [_row(batch, sighting) for batch in found for sighting in batch.sightings]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
        return
    for row in rows:
        title = f"{row['connection']}: message {row['message']} part {row['part']}, received {row['received']}"
        shown = [(f["fact"], f["word"], f["reason"], _detail(f)) for f in row["facts"]]
        table(
            ("fact", "word", "reason", "detail"),
            shown or [("all", row["state"], row["reason"], _waiting(row))],
            title=title,
        )


async def _find(url: str, id: str) -> list[Found]:
    sqlite.prepare(url)
    journal = sqlite.SqliteJournal(url)
    try:
        names = (id, f"mpid:{id}", f"customer_id:{id}", f"email:{id.lower()}")
        found = {batch.seq: batch for name in names for batch in await journal.find(name)}
        return [found[seq] for seq in sorted(found)]
    finally:
        await journal.close()


def _row(batch: Found, sighting: Sighting) -> Row:
    state = "finished" if sighting.at_ms is not None else "in_hand" if sighting.claimed else "waiting"
    return {
        "message": batch.message,
        "part": batch.part,
        "received": _time(batch.received_ms),
        "connection": sighting.connection,
        "state": state,
        "at": _time(sighting.at_ms),
        "facts": [
            {
                "fact": outcome.fact,
                "word": outcome.word,
                "reason": outcome.reason,
                "left_out": [{"what": what, "reason": reason} for what, reason in outcome.left_out],
                "detail": outcome.detail,
            }
            for outcome in sighting.outcomes
        ],
        "due": _time(sighting.due_ms) if state == "waiting" else None,
        "attempts": sighting.attempts,
        "reason": sighting.reason,
    }


def _time(ms: int | None) -> str | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")


def _detail(fact: Row) -> str:
    left_out = [f"{one['what']}: {one['reason']}" for one in fact["left_out"]]
    return "\n".join([*([fact["detail"]] if fact["detail"] else []), *left_out])


def _waiting(row: Row) -> str:
    return f"until {row['due']}, after {row['attempts']} attempts" if row["due"] else ""
