"""Configuration of a command: finding it, loading it, and reporting its problems."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, NoReturn

import click

from gateway.mparticle.names import USER_IDENTITIES
from gateway.plugins.connections import Connection, HostedConnection, connect_all
from gateway.settings import Configuration, ConfigurationError, load
from gateway.settings.filtering import Filter

DEFAULT = Path("gateway.toml")
MAX_NAMED = 10
REMOVED = "not configured: its work waits until you configure it again or run gateway drop"


def config_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``-c FILE`` to a command, passed to it as ``file``."""
    return click.option(
        "-c",
        "--config",
        "file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Configuration file. Default: the file that GATEWAY_CONFIG names, else gateway.toml in this directory.",
    )(command)


def find_file(file: Path | None) -> Path | None:
    """Return the file given, else that of GATEWAY_CONFIG, else ./gateway.toml if it exists, else None."""
    if file is not None:
        return file
    named = os.environ.get("GATEWAY_CONFIG")
    return Path(named) if named else DEFAULT if DEFAULT.is_file() else None


def load_settings(file: Path | None) -> Configuration:
    """Return the configuration; end the command with one line for each problem, if there are any."""
    found, problems, _ = load_readable(file)
    if problems:
        fail(problems)
    return found


def load_readable(file: Path | None) -> tuple[Configuration, list[str], frozenset[str]]:
    """Return as much of the configuration as can be read, a line for each problem, and the sections that have one.

    End the command if nothing can be read.
    """
    found = find_file(file)
    try:
        return load(found), [], frozenset()
    except ConfigurationError as error:
        hint = [] if found else [f"there is no {DEFAULT} here; name a file with -c, or in GATEWAY_CONFIG"]
        problems = [*error.problems, *hint]
        if error.rest is None:
            fail(problems)
        return error.rest, problems, error.doubtful


def is_configured(of: Configuration, connection: str) -> bool:
    """Return whether a connection is configured; of an account's (NAME/ACCOUNT) whether NAME is."""
    return connection.partition("/")[0] in of.connections


def require_known(connection: str, of: Configuration, known: Collection[str] = ()) -> None:
    """End the command if a connection is neither configured nor among those ``known`` to the journal."""
    name, _, account = connection.partition("/")
    if connection in known:
        return
    if name not in of.connections:
        gone = sorted(one for one in known if not is_configured(of, one))
        named = ", ".join(gone[:MAX_NAMED]) + (f" and {len(gone) - MAX_NAMED} more" if gone[MAX_NAMED:] else "")
        there_are = f"configured: {', '.join(of.connections)}" + (f"; no longer configured: {named}" if gone else "")
        fail(f"no connection named {connection!r} is configured; {there_are}")
    if account and name not in of.hosted:
        fail(f'{name!r} has no accounts: its credentials are not "account"')


def load_connections(of: Configuration) -> dict[str, Connection | HostedConnection]:
    """Return every connection with its plugin; end the command if one has a problem."""
    usable, problems = connect_all(of.connections)
    if problems:
        fail(problems)
    return usable


def list_doubts(name: str, filter: Filter) -> list[str]:
    """Return a line for each identity in a connection's filter that is no type of mParticle's: it may be misspelt."""
    known = ", ".join(sorted(USER_IDENTITIES))
    return [
        f"connections.{name}.filter.user_identities.{one}: mParticle has no such identity, so it is taken for "
        f"a partner's; mParticle's are {known}"
        for one in filter.partners
    ]


def fail(problems: str | Iterable[str]) -> NoReturn:
    """Print a line for each problem and end the command with status 1."""
    for problem in [problems] if isinstance(problems, str) else problems:
        click.echo(f"gateway: {problem}", err=True)
    raise SystemExit(1)
