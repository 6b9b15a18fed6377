"""Editing the configuration file in place: what is not meant to change does not, or nothing does."""

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

from gateway.settings import Settings, load


class Uneditable(Exception):
    """The file is not changed; says why."""


def edit(path: Path, change: Callable[[MutableMapping[str, Any]], None]) -> Settings:
    """Change a TOML file: its data as ``change`` says, its comments and its order not at all. Returns what it says now.

    Raises Uneditable where that cannot be had, or ``change`` does; ConfigurationError for what would be no
    configuration of a gateway.
    """
    try:
        before = path.read_bytes().decode()  # its line endings are to stay as well
        document, meant = tomlkit.parse(before), tomllib.loads(before)
    except (OSError, ValueError) as error:
        raise Uneditable(str(error)) from error
    change(meant)
    try:
        change(document)
        after = tomlkit.dumps(document)
        is_faithful = tomllib.loads(after) == meant and _comments(before) == _comments(after)
    except (TOMLKitError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Uneditable(f"cannot be edited without disturbing it ({type(error).__name__}); edit it by hand") from error
    if not is_faithful:
        raise Uneditable("cannot be edited without disturbing it; edit it by hand")
    return _replace(path, after)


def empty_beside(others: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """An empty table, on one line where other tables of its place are."""
    return tomlkit.inline_table() if any(isinstance(one, InlineTable) for one in others.values()) else {}


def _comments(text: str) -> list[str]:
    """The lines that are comments, in order."""
    return [line.strip() for line in text.splitlines() if line.lstrip().startswith("#")]


def _replace(path: Path, text: str) -> Settings:
    """Write the file whole or not at all, its permissions kept, once it is seen to be a configuration."""
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
