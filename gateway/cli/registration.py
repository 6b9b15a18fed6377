"""``gateway registration``: the document that mParticle imports, derived from the plugins themselves."""

from __future__ import annotations

import json
from pathlib import Path

import click

from gateway.cli import configured
from gateway.destinations import Plugin, PluginError, load
from gateway.mparticle.registration import registration
from gateway.pipeline import now_ms


@click.command("registration")
@click.argument("name")
@configured.option
def command(name: str, file: Path | None) -> None:
    """Print the Firehose registration of NAME, a connection or an installed plugin."""
    plugin = _plugin(name, file)
    described = (plugin.name, plugin.version, plugin.destination, frozenset(plugin.hooks))
    click.echo(json.dumps(registration([described], now_ms=now_ms()), indent=2))


def _plugin(name: str, file: Path | None) -> Plugin:
    if configured.file_or_default(file) is not None:
        chosen = configured.settings(file).connections.get(name)
        name = chosen.plugin if chosen is not None else name
    try:
        return load(name)
    except PluginError as error:
        configured.fail(str(error))
