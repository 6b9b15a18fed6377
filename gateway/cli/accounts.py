"""``gateway accounts``: the accounts of hosted connections, and the problems of their settings."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from gateway.cli import configuration
from gateway.cli.tables import print_table
from gateway.journal import engines
from gateway.journal.types import Count, JournalUnavailable, JournalUnusable, SealedSettings
from gateway.settings import JournalSettings

STATES = ("received", "delivered", "skipped", "dead")


@click.command("accounts")
@configuration.config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def command(file: Path | None, *, as_json: bool) -> None:
    """List the accounts of connections with credentials = "account"; exit 1 if one has a problem."""
    settings = configuration.load_settings(file)
    try:
        sealed, counts = asyncio.run(_read(settings.journal))
    except (JournalUnavailable, JournalUnusable) as error:
        configuration.fail(str(error))
    rows = _rows(sealed, counts)
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
    else:
        shown = [(f"{row['connection']}/{row['account']}", *list(row.values())[2:]) for row in rows]
        print_table(("account", "settings of", *STATES, "in flight", "problem"), shown)
    if any(row["trouble"] for row in rows):
        raise SystemExit(1)


async def _read(of: JournalSettings) -> tuple[list[SealedSettings], list[Count]]:
    if not await engines.inspect(of):
        raise JournalUnusable(f"journal.url: {engines.shown(of)} does not exist yet")
    journal = await engines.open_journal(of)
    try:
        return await journal.all_sealed(), await journal.counts()
    finally:
        await journal.close()


def _rows(sealed: list[SealedSettings], counts: list[Count]) -> list[dict[str, Any]]:
    facts: dict[str, Counter[str]] = {one.connection: Counter() for one in sealed}
    for count in counts:
        if "/" in count.connection:
            facts.setdefault(count.connection, Counter())[count.state] += count.facts
    kept = {one.connection: one for one in sealed}
    return [_row(name, facts[name], kept.get(name)) for name in sorted(facts)]


def _row(name: str, facts: Counter[str], kept: SealedSettings | None) -> dict[str, Any]:
    connection, _, account = name.partition("/")
    settings_time = (
        None if kept is None else datetime.fromtimestamp(kept.told_ms / 1000, UTC).isoformat(timespec="seconds")
    )
    states = {state: facts[state] for state in STATES}
    in_flight = facts["received"] - sum(facts[state] for state in STATES[1:])
    return {
        "connection": connection,
        "account": account,
        "settings_of": settings_time,
        **states,
        "in_flight": in_flight,
        "trouble": "" if kept is None else kept.trouble,
    }
