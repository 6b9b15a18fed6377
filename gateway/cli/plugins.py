"""``gateway plugins``: list the installed destination plugins, and the problems that keep them from use."""

from __future__ import annotations

import json
from typing import Any

import click

from gateway.cli.tables import print_table
from gateway.plugins.connections import PluginError, list_installed, load_plugin


@click.command("plugins")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def command(*, as_json: bool) -> None:
    """List installed destination plugins; exit 1 if one cannot be used."""
    rows = [_row(name) for name in sorted(list_installed())]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
    else:
        shown = [(r["plugin"], r["version"], r["title"], " ".join(map(str, r["hooks"])) or r["problem"]) for r in rows]
        print_table(("plugin", "version", "destination", "hooks"), shown)
    if any(row["problem"] for row in rows):
        raise SystemExit(1)


def _row(name: str) -> dict[str, Any]:
    try:
        plugin = load_plugin(name)
    except PluginError as error:
        return {"plugin": name, "version": None, "title": None, "hooks": [], "problem": str(error)}
    return {
        "plugin": name,
        "version": plugin.version,
        "title": plugin.destination.title,
        "hooks": sorted(plugin.hooks),
        "problem": None,
    }
