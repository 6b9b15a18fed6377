"""``gateway datapoints``: the names that were seen, and whether each connection sends them."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from gateway.cli import configuration
from gateway.cli.filter_blocks import render_filter
from gateway.cli.tables import print_table
from gateway.govern.filter import DataFilter, Decision
from gateway.govern.governor import Governor
from gateway.journal import engines
from gateway.journal.types import DataPoint, JournalUnavailable, JournalUnusable
from gateway.plugins.connections import HostedConnection
from gateway.settings import Configuration, JournalSettings

Row = dict[str, Any]


@click.group("datapoints", invoke_without_command=True)
@click.pass_context
@configuration.config_option
@click.option("--connection", "only", help="Only this connection.")
@click.option("--undecided", is_flag=True, help="Only those that a connection's filter does not list.")
@click.option(
    "--block",
    "as_block",
    is_flag=True,
    help="Print the whole filter of one connection, ready to paste into the configuration.",
)
@click.option("--limit", type=click.IntRange(0), default=500, help="Rows of the table; 0: all. Default: 500.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def command(  # noqa: PLR0913  # an argument for each option
    context: click.Context,
    file: Path | None,
    only: str | None,
    limit: int,
    *,
    undecided: bool,
    as_block: bool,
    as_json: bool,
) -> None:
    """List every event, screen, attribute, identity and audience that was seen, and whether it is sent.

    A question mark marks a data point that a connection's filter does not list: new_data_points decides on it.
    """
    if context.invoked_subcommand is not None:
        return
    settings = configuration.load_settings(file)
    connections = configuration.load_connections(settings)
    if only is not None and only not in connections:
        configuration.fail(f"no connection named {only!r} is configured")
    if as_block and only is None:
        raise click.UsageError("--block prints the filter of one connection: name it with --connection")
    joined = {
        name: one.without_account() if isinstance(one, HostedConnection) else one for name, one in connections.items()
    }
    filters = {name: Governor(one).filter for name, one in joined.items() if only in (None, name)}
    points = [point for point in _read_data_points(settings) if only in (None, point.connection)]
    if as_block and only is not None:
        click.echo(render_filter(only, connections[only].configured.filter, points, filters[only]), nl=False)
        return
    rows = [row for row in _rows(points, filters) if not undecided or _is_undecided(row)]
    _print(rows, list(filters), limit=limit, as_json=as_json)


@command.command("forget")
@click.argument("name")
@configuration.config_option
def forget(name: str, file: Path | None) -> None:
    """Remove NAME from the list: of an event, a screen, an attribute, an identity or an audience.

    A name may hold personal data. It is listed again once a message holds it again.
    """
    settings = configuration.load_settings(file)
    try:
        count = asyncio.run(_forget(settings.journal, name))
    except (JournalUnavailable, JournalUnusable) as error:
        configuration.fail(str(error))
    if not count:
        configuration.fail(f"no data point is named {name!r}")
    click.echo(f"forgotten: {name} ({count} rows)")


async def _forget(of: JournalSettings, name: str) -> int:
    if not await engines.inspect(of):
        raise JournalUnusable(f"journal.url: {engines.shown(of)} does not exist yet")
    journal = await engines.open_journal(of)
    try:
        return await journal.forget_data_points(name)
    finally:
        await journal.close()


def _read_data_points(settings: Configuration) -> list[DataPoint]:
    try:
        return asyncio.run(_read(settings.journal))
    except (JournalUnavailable, JournalUnusable) as error:
        configuration.fail(str(error))


async def _read(of: JournalSettings) -> list[DataPoint]:
    if not await engines.inspect(of):
        raise JournalUnusable(f"journal.url: {engines.shown(of)} does not exist yet")
    journal = await engines.open_journal(of)
    try:
        return await journal.data_points()
    finally:
        await journal.close()


def _rows(points: Iterable[DataPoint], filters: Mapping[str, DataFilter]) -> list[Row]:
    """Return a row for each data point, with the inputs and connections that saw it."""
    by_name: dict[tuple[str, str, str], list[DataPoint]] = {}
    for point in points:
        by_name.setdefault((point.kind, point.name, point.attribute), []).append(point)
    return [_row(name, found, filters) for name, found in sorted(by_name.items())]


def _row(name: tuple[str, str, str], found: list[DataPoint], filters: Mapping[str, DataFilter]) -> Row:
    kind, event, attribute = name
    return {
        "kind": kind,
        "name": event,
        "attribute": attribute,
        "type": max(found, key=lambda point: point.last_ms).type,
        **_summarize(found),
        "inputs": {input: _summarize([one for one in found if one.input == input]) for input in _inputs(found)},
        "connections": {one: _decision_row(filter.decide(*name)) for one, filter in filters.items()},
    }


def _inputs(found: list[DataPoint]) -> list[str]:
    return sorted({point.input for point in found})


def _summarize(found: list[DataPoint]) -> Row:
    """Return when a data point was seen, and how often: the highest count of a connection, as each counts its own."""
    times: Counter[str] = Counter()
    for point in found:
        times[point.connection] += point.times
    return {
        "first_seen": _time(min(point.first_ms for point in found)),
        "last_seen": _time(max(point.last_ms for point in found)),
        "times": max(times.values()),
    }


def _decision_row(decision: Decision) -> Row:
    return {"sent": decision.is_sent, "decided": decision.is_decided, "setting": decision.cause}


def _is_undecided(row: Row) -> bool:
    return any(not one["decided"] for one in row["connections"].values())


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")


def _print(rows: list[Row], connections: list[str], *, limit: int, as_json: bool) -> None:
    if as_json:
        for row in rows:
            click.echo(json.dumps(row, ensure_ascii=False))
        return
    if not rows:
        click.echo(
            "gateway: no data points yet; they appear a few seconds after the first messages are delivered", err=True
        )
        return
    shown = [
        (
            row["kind"],
            row["name"] if not row["attribute"] else f"{row['name']}\n  {row['attribute']}",
            row["type"],
            " ".join(row["inputs"]),
            row["times"],
            row["last_seen"][:16].replace("T", " "),
            *(_cell(row["connections"][name]) for name in connections),
        )
        for row in rows[: limit or None]
    ]
    print_table(("kind", "name", "type", "inputs", "times", "last seen (UTC)", *connections), shown)
    if len(rows) > len(shown):
        left = len(rows) - len(shown)
        click.echo(f"gateway: {left:,} more; --limit 0 shows all, --json and --block never leave any out", err=True)


def _cell(row: Row) -> str:
    return ("sent" if row["sent"] else "off") + ("" if row["decided"] else " ?")
