"""``gateway check``: validate everything that can be validated without sending anything."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.cli import configured
from gateway.destinations import connect_all
from gateway.journal import sqlite
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
        rewriter(settings.rules.packages)
    except ConfigurationError as error:
        problems.extend(error.problems)
    if parent := _missing_directory(sqlite.path_of(settings.journal.url)):
        problems.append(f"journal.url: {parent} is no directory")
    elif sqlite.path_of(settings.journal.url).exists():
        try:
            sqlite.prepare(settings.journal.url)
        except (JournalUnusable, JournalUnavailable) as error:
            problems.append(f"journal.url: {error}")
    if problems:
        configured.fail(problems)
    for name, connection in usable.items():
        click.echo(
            f"{name}: {connection.plugin.destination.title} ({connection.plugin.name} {connection.plugin.version})"
        )
    click.echo("fine")


def _missing_directory(path: Path) -> Path | None:
    parent = path.resolve().parent
    return None if parent.is_dir() else parent
