"""``gateway resume``: resume the deliveries of a paused connection."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.cli import configuration
from gateway.cli.pause import store_pause


@click.command("resume")
@click.argument("connection")
@configuration.config_option
def command(connection: str, file: Path | None) -> None:
    """Resume the deliveries of CONNECTION, in order."""
    settings = configuration.load_settings(file)
    configuration.require_known(connection, settings)
    ended = store_pause(settings.journal, connection, 0)
    click.echo(f"{connection} is not paused" + (" any more, within a second" if ended else ""))
