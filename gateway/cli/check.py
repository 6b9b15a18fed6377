"""``gateway check``: validate everything that can be validated without sending anything."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import click

from gateway.cli import configured
from gateway.govern.rewrite import load_rewriter
from gateway.journal import engines
from gateway.journal.types import JournalUnavailable, JournalUnusable
from gateway.plugins.connections import HostedConnection, connect_all
from gateway.settings import ConfigurationError, Settings


@click.command("check")
@configured.option
@click.option("--deep", is_flag=True, help="Read the whole of a journal in SQLite, and name every fault in it.")
def command(file: Path | None, *, deep: bool) -> None:
    """Validate the configuration, every plugin's settings, and the journal; name every problem."""
    settings, problems, doubtful = configured.readable(file)
    usable, of_plugins = connect_all(settings.connections)
    problems.extend((*of_plugins, *_beyond_plugins(settings, doubtful, deep=deep)))
    if problems:
        configured.fail(problems)
    for name, connection in usable.items():
        plugin = connection.plugin
        click.echo(f"{name}: {plugin.destination.title} ({plugin.name} {plugin.version})")
        for doubt in configured.doubts(name, connection.configured.filter):
            click.echo(f"  {doubt}")
        if isinstance(connection, HostedConnection):
            click.echo(f"  each account brings: {', '.join(sorted(connection.offered)) or 'nothing'}")
    for doubt in engines.doubts(settings.journal):
        click.echo(f"journal: {doubt}")
    click.echo("fine")


def _beyond_plugins(settings: Settings, doubtful: frozenset[str], *, deep: bool) -> Iterator[str]:
    """A line for each problem of other sections; those that are doubtful are passed over."""
    if not settings.connections and "connections" not in doubtful:
        yield "connections: none is configured, so every post would be answered 503"
    try:
        if "accounts" not in doubtful:
            settings.require_sealing_key()
    except ConfigurationError as error:
        yield from error.problems
    try:
        load_rewriter(settings.rules)
    except ConfigurationError as error:
        yield from error.problems
    try:
        if "journal" not in doubtful:
            yield from asyncio.run(_of_journal(settings))
            yield from engines.faults(settings.journal) if deep else ()
    except (JournalUnusable, JournalUnavailable) as error:
        yield f"journal.url: {error}"


async def _of_journal(settings: Settings) -> list[str]:
    """A line for each account whose settings cannot be opened with the keys that are configured.

    Raises JournalUnusable and JournalUnavailable.
    """
    if not await engines.inspect(settings.journal) or not settings.hosted or not settings.accounts.sealing_keys:
        return []
    from gateway.sealing import Sealer, Unopenable  # noqa: PLC0415  # heavy, and of use only here

    sealer, problems = Sealer(settings.accounts.keys()), []
    journal = await engines.open_journal(settings.journal)
    try:
        for kept in await journal.all_sealed():
            try:
                sealer.open(kept.sealed, kept.connection)
            except Unopenable as error:
                problems.append(f"account {kept.connection}: {error}")
    finally:
        await journal.close()
    return problems
