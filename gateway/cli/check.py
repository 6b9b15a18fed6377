"""``gateway check``: validate the configuration, the plugins' settings and the journal, without sending anything."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import click

from gateway.cli import configuration
from gateway.govern.rewrite import load_rewriter
from gateway.journal import engines
from gateway.journal.types import JournalUnavailable, JournalUnusable
from gateway.plugins.connections import MIN_SECRET_CHARS, Connection, HostedConnection, connect_all
from gateway.settings import Configuration, ConfigurationError

SHORT_SECRET = f"has fewer than {MIN_SECRET_CHARS} characters: it is easy to guess, and masking it hides parts of words"


@click.command("check")
@configuration.config_option
@click.option("--deep", is_flag=True, help="Read the whole journal (SQLite only) and name every fault in it.")
def command(file: Path | None, *, deep: bool) -> None:
    """Validate the configuration, every plugin's settings, and the journal; name every problem."""
    settings, problems, doubtful = configuration.load_readable(file)
    usable, plugin_problems = connect_all(settings.connections)
    problems.extend((*plugin_problems, *_check_other_sections(settings, doubtful, deep=deep)))
    if problems:
        configuration.fail(problems)
    for name, connection in usable.items():
        plugin = connection.plugin
        click.echo(f"{name}: {plugin.destination.title} ({plugin.name} {plugin.version})")
        for doubt in configuration.list_doubts(name, connection.configured.filter):
            click.echo(f"  {doubt}")
        if isinstance(connection, Connection):
            for setting in connection.list_short_secrets():
                click.echo(f"  connections.{name}.settings.{setting}: {SHORT_SECRET}")
        if isinstance(connection, HostedConnection):
            click.echo(f"  each account brings: {', '.join(sorted(connection.offered)) or 'nothing'}")
    for number, value in enumerate(settings.ingress.authorization):
        if len(value.get_secret_value()) < MIN_SECRET_CHARS:
            click.echo(f"ingress.authorization.{number}: {SHORT_SECRET}")
    for doubt in engines.doubts(settings.journal):
        click.echo(f"journal: {doubt}")
    click.echo("fine")


def _check_other_sections(settings: Configuration, doubtful: frozenset[str], *, deep: bool) -> Iterator[str]:
    """Yield a line for each problem of the sections beside the connections; skip the ``doubtful`` sections."""
    if not settings.connections and "connections" not in doubtful:
        yield "connections: none is configured, so every post would be answered 503; add [connections.NAME]"
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
            yield from asyncio.run(_check_journal(settings))
            yield from engines.faults(settings.journal) if deep else ()
    except (JournalUnusable, JournalUnavailable) as error:
        yield f"journal.url: {error}"


async def _check_journal(settings: Configuration) -> list[str]:
    """Return a line for each account whose settings the configured keys cannot open.

    Raises JournalUnusable and JournalUnavailable.
    """
    if not await engines.inspect(settings.journal) or not settings.hosted or not settings.accounts.sealing_keys:
        return []
    from gateway.sealing import Sealer, Unopenable  # noqa: PLC0415  # slow to import, and used only here

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
