"""``gateway registration``: print the document that mParticle imports, made from what the plugins declare."""

from __future__ import annotations

import json
from pathlib import Path

import click

from gateway.cli import configuration
from gateway.clock import now_ms
from gateway.mparticle.registration import make_registration
from gateway.plugins.connections import Connection, HostedConnection, Plugin, PluginError, describe_plugin, load_plugin


@click.command("registration")
@click.argument("name")
@configuration.config_option
def command(name: str, file: Path | None) -> None:
    """Print the Firehose registration of NAME, a connection or an installed plugin."""
    click.echo(json.dumps(make_registration([describe_plugin(_named(name, file))], now_ms=now_ms()), indent=2))


def _named(name: str, file: Path | None) -> Connection | HostedConnection | Plugin:
    if configuration.find_file(file) is not None:
        settings = configuration.load_settings(file)
        if name in settings.connections:
            one = settings.model_copy(update={"connections": {name: settings.connections[name]}})
            return configuration.load_connections(one)[name]
    try:
        return load_plugin(name)
    except PluginError as error:
        configuration.fail(str(error))
