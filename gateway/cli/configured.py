"""The configuration that a command was given, and the way every command reports a problem."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, NoReturn

import click

from gateway.mparticle.names import USER_IDENTITIES
from gateway.plugins.connections import Connection, HostedConnection, connect_all
from gateway.settings import ConfigurationError, Settings, load
from gateway.settings.filtering import Filter

DEFAULT = Path("gateway.toml")
MAX_NAMED = 10
REMOVED = "not configured: its work waits until it is, or is dropped with gateway drop"


def option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``-c FILE`` to a command, passed to it as ``file``."""
    return click.option(
        "-c",
        "--config",
        "file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Configuration file; else GATEWAY_CONFIG names it, else it is gateway.toml here, if there is one.",
    )(command)


def file_or_default(file: Path | None) -> Path | None:
    """The file to read, where there is one to read."""
    if file is not None:
        return file
    named = os.environ.get("GATEWAY_CONFIG")
    return Path(named) if named else DEFAULT if DEFAULT.is_file() else None


def settings(file: Path | None) -> Settings:
    """The configuration; a problem ends the command with one line for each."""
    found, problems, _ = readable(file)
    if problems:
        fail(problems)
    return found


def readable(file: Path | None) -> tuple[Settings, list[str], frozenset[str]]:
    """Return as much of the configuration as can be read, a line for each problem, and the sections that have one.

    Where nothing can be read, that ends the command.
    """
    found = file_or_default(file)
    try:
        return load(found), [], frozenset()
    except ConfigurationError as error:
        hint = [] if found else [f"there is no {DEFAULT} here; name a file with -c, or in GATEWAY_CONFIG"]
        problems = [*error.problems, *hint]
        if error.rest is None:
            fail(problems)
        return error.rest, problems, error.doubtful


def has(of: Settings, connection: str) -> bool:
    """Return whether a connection is configured, or for an account's (NAME/ACCOUNT) the one that it belongs to."""
    return connection.partition("/")[0] in of.connections


def require(connection: str, of: Settings, known: Collection[str] = ()) -> None:
    """End the command where a connection is neither configured nor among those that the journal has ``known``."""
    name, _, account = connection.partition("/")
    if connection in known:
        return
    if name not in of.connections:
        gone = sorted(one for one in known if not has(of, one))
        named = ", ".join(gone[:MAX_NAMED]) + (f" and {len(gone) - MAX_NAMED} more" if gone[MAX_NAMED:] else "")
        there_are = f"there are: {', '.join(of.connections)}" + (f"; no longer configured: {named}" if gone else "")
        fail(f"no connection named {connection!r} is configured; {there_are}")
    if account and name not in of.hosted:
        fail(f'{name!r} has no accounts: its credentials are not "account"')


def connections(of: Settings) -> dict[str, Connection | HostedConnection]:
    """Every connection, joined with its plugin; a problem ends the command."""
    usable, problems = connect_all(of.connections)
    if problems:
        fail(problems)
    return usable


def doubts(name: str, filter: Filter) -> list[str]:
    """A line for each identity in a connection's filter that mParticle has no type for: it may be a partner's."""
    known = ", ".join(sorted(USER_IDENTITIES))
    return [
        f"connections.{name}.filter.user_identities.{one}: taken for a partner's, for mParticle has none of that name; "
        f"there are {known}"
        for one in filter.partners
    ]


def fail(problems: str | Iterable[str]) -> NoReturn:
    """End the command with status 1, and a line for each problem."""
    for problem in [problems] if isinstance(problems, str) else problems:
        click.echo(f"gateway: {problem}", err=True)
    raise SystemExit(1)
