"""Edits of the configuration file in place, which keep its comments and order or change nothing."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import InlineTable

from gateway.settings import Configuration, load


class Uneditable(Exception):
    """The file was not changed; the message says why."""


def edit(path: Path, change: Callable[[MutableMapping[str, Any]], None]) -> Configuration:
    """Apply ``change`` to the data of a TOML file, keep its comments and order, and return the new settings.

    Raises Uneditable if that is impossible or ``change`` raises it; ConfigurationError if the result would be no valid
    configuration.
    """
    try:
        before = path.read_bytes().decode()  # bytes, to keep the line endings
        document, expected = tomlkit.parse(before), tomllib.loads(before)
    except (OSError, ValueError) as error:
        raise Uneditable(str(error)) from error
    change(expected)
    try:
        change(document)
        after = tomlkit.dumps(document)
        is_faithful = tomllib.loads(after) == expected and _comments(before) == _comments(after)
    except (TOMLKitError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Uneditable(f"cannot be edited without disturbing it ({type(error).__name__}); edit it by hand") from error
    if not is_faithful:
        raise Uneditable("cannot be edited without disturbing it; edit it by hand")
    return _replace(path, after)


def empty_beside(others: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Return an empty table, written on one line if one of the ``others`` beside it is."""
    return tomlkit.inline_table() if any(isinstance(one, InlineTable) for one in others.values()) else {}


def _comments(text: str) -> list[str]:
    """Return the lines that are comments, in order."""
    return [line.strip() for line in text.splitlines() if line.lstrip().startswith("#")]


def _replace(path: Path, text: str) -> Configuration:
    """Replace the file atomically, with its permissions, after loading the new text as a configuration."""
    target = path.resolve()
    with NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", suffix=".toml", delete=False) as written:
        new = Path(written.name)
        try:
            written.write(text.encode())
            written.flush()
            os.fsync(written.fileno())
            new.chmod(target.stat().st_mode & 0o7777)
            with suppress(PermissionError):
                os.chown(new, target.stat().st_uid, target.stat().st_gid)
            settings = load(new)
            new.replace(target)
        except BaseException:
            with suppress(FileNotFoundError):
                new.unlink()
            raise
    return settings
