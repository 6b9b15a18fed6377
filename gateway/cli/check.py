"""``gateway check``: validate everything that can be validated without sending anything."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from gateway.cli import configured
from gateway.destinations import connect_all
from gateway.journal import engines
from gateway.journal.port import JournalUnavailable, JournalUnusable
from gateway.rewriting import rewriter
from gateway.settings import ConfigurationError


@click.command("check")
@configured.option
def command(file: Path | None) -> None:
    """Validate the configuration, every plugin's settings, and the journal; name every problem."""
    settings = configured.settings(file)
    usable, problems = connect_all(settings.connections)
    if not settings.connections:
        problems.append("connections: none is configured, so every post would be answered 503")
    try:
        rewriter(settings.rules)
    except ConfigurationError as error:
        problems.extend(error.problems)
    try:
        asyncio.run(engines.inspect(settings.journal))
    except (JournalUnusable, JournalUnavailable) as error:
        problems.append(f"journal.url: {error}")
    if problems:
        configured.fail(problems)
    for name, connection in usable.items():
        click.echo(
            f"{name}: {connection.plugin.destination.title} ({connection.plugin.name} {connection.plugin.version})"
        )
    click.echo("fine")
