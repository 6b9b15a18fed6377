"""``gateway resume``: send again what waits on a connection that was paused."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.cli import configured
from gateway.cli.pause import tell


@click.command("resume")
@click.argument("connection")
@configured.option
def command(connection: str, file: Path | None) -> None:
    """End a pause of CONNECTION; what waits is sent, in order."""
    settings = configured.settings(file)
    configured.require(connection, settings)
    ended = tell(settings.journal, connection, 0)
    click.echo(f"{connection} is not paused" + (" any more, within a second" if ended else ""))
