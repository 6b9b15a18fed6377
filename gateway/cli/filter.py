"""``gateway filter``: set switches of a data filter in the configuration file, and keep the rest of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import click

from gateway.cli import configuration
from gateway.cli.file_edit import Uneditable, edit, empty_beside
from gateway.govern.kinds import ATTRIBUTES
from gateway.plugins.connections import PluginError, load_plugin
from gateway.settings import ConfigurationError
from gateway.settings.filtering import Filter

Document = MutableMapping[str, Any]
Change = Callable[[Document], None]

TABLES = [name for name in Filter.model_fields if name != "new_data_points"]
OF_ATTRIBUTES = frozenset(ATTRIBUTES.values())


@click.group("filter")
def command() -> None:
    """Switch data points on and off in the configuration file, keeping its comments and order."""


@command.command("set")
@click.argument("connection")
@click.argument("table", metavar="TABLE", type=click.Choice(["new_data_points", *TABLES]))
@click.argument("names", nargs=-1)
@click.argument("value", type=click.Choice(["on", "off"]))
@configuration.config_option
def set_(connection: str, table: str, names: tuple[str, ...], value: str, file: Path | None) -> None:
    """Switch NAMES of a TABLE of the filter on or off; "*" is every name that is not listed.

    For attributes, the first of NAMES is the event, screen or action that has them. new_data_points takes no names.
    """
    switched = value == "on"

    def change(document: Document) -> None:
        for tables, name in _places(table, names):
            _filter(document, connection, tables, create=True)[name] = switched

    _edit(file, connection, change)


@command.command("unset")
@click.argument("connection")
@click.argument("table", metavar="TABLE", type=click.Choice(["new_data_points", *TABLES]))
@click.argument("names", nargs=-1)
@configuration.config_option
def unset(connection: str, table: str, names: tuple[str, ...], file: Path | None) -> None:
    """Remove NAMES from a TABLE of the filter; "*" or new_data_points decides on them again."""

    def change(document: Document) -> None:
        for tables, name in _places(table, names):
            found = _filter(document, connection, tables, create=False)
            if name not in found:
                raise Uneditable(f"connections.{connection}.filter.{'.'.join((*tables, name))} is not set")
            del found[name]

    _edit(file, connection, change)


@command.command("copy")
@click.argument("source")
@click.argument("target")
@configuration.config_option
def copy(source: str, target: str, file: Path | None) -> None:
    """Replace the filter of connection TARGET by that of SOURCE.

    If their plugins have different defaults for new_data_points, the default of SOURCE is written too.
    """

    def change(document: Document) -> None:
        connections = document.get("connections", {})
        if source not in connections:
            raise Uneditable(f"connections.{source} is not in the file")
        copied = _plain(connections[source].get("filter", {}))
        if (default := _default(connections[source])) != _default(connections.get(target, {})):
            copied.setdefault("new_data_points", default)
        own = _filter(document, target, (), create=True)
        for name in list(own):
            del own[name]
        for name, value in copied.items():
            own[name] = value

    _edit(file, target, change)


def _default(connection: MutableMapping[str, Any]) -> bool:
    """Return the default of a connection's plugin for new_data_points. Raises Uneditable."""
    try:
        return load_plugin(str(connection.get("plugin"))).destination.defaults.new_data_points
    except PluginError as error:
        raise Uneditable(str(error)) from error


def _places(table: str, names: Sequence[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the table and the key of each switch that NAMES mean. Raises UsageError."""
    if table == "new_data_points":
        if names:
            raise click.UsageError("new_data_points takes no names")
        yield (), table
    elif table in OF_ATTRIBUTES:
        if len(names) < 2:
            raise click.UsageError(
                f"{table} needs the name of an event, screen or action, then names of its attributes"
            )
        yield from (((table, names[0]), attribute) for attribute in names[1:])
    elif names:
        yield from (((table,), name) for name in names)
    else:
        raise click.UsageError(f"{table} needs at least one name")


def _filter(document: Document, connection: str, tables: Sequence[str], *, create: bool) -> Document:
    """Return a table of a connection's filter, an empty one if it is missing; add it to the document if ``create``."""
    found = document.get("connections", {}).get(connection)
    if found is None:
        raise Uneditable(f"connections.{connection} is not in the file")
    for name in ("filter", *tables):
        if name not in found:
            if not create:
                return {}
            found[name] = empty_beside(found)
        found = found[name]
    table: Document = found
    return table


def _plain(value: Any) -> Any:
    """Return switches as plain values, without empty tables."""
    if isinstance(value, MutableMapping):
        return {str(name): plain for name, each in value.items() if (plain := _plain(each)) != {}}
    return str(value).lower() == "true"  # a switch may be written as text


def _edit(file: Path | None, connection: str, change: Change) -> None:
    path = configuration.find_file(file)
    if path is None:
        configuration.fail(f"there is no {configuration.DEFAULT} here; name a file with -c, or in GATEWAY_CONFIG")
    try:
        changed = edit(path, change)
    except ConfigurationError as error:
        configuration.fail(error.problems)
    except Uneditable as error:
        configuration.fail(f"{path}: {error}")
    for doubt in configuration.list_doubts(connection, changed.connections[connection].filter):
        click.echo(f"gateway: {doubt}", err=True)
    click.echo(f"{path}: connections.{connection}.filter is changed; restart the gateway to apply it")
