"""The file of a journal in SQLite: it is opened, created and migrated here."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from pathlib import Path

from gateway.journal.sqlite import mark, schema
from gateway.journal.sqlite.locks import dispatching, writing
from gateway.journal.types import JournalUnavailable, JournalUnusable
from gateway.log import logger

PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 0", "cache_size = -16384")
STORAGE_ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""Errors that the file causes; what SQLite says of a damaged one may not even be text."""
PREDECESSOR_S, LOOK_AGAIN_S = 10.0, 0.1
PATIENCE_S = 2.0  # for whoever else has the file open; the gateway's own processes take turns


def path_of(url: str) -> Path:
    """Return the file that a ``sqlite:///`` URL names."""
    return Path(url.removeprefix("sqlite:///"))


def connect(path: Path, *, patience_s: float = PATIENCE_S, makes: bool = False) -> sqlite3.Connection:
    """Return a connection that waits ``patience_s`` for locks; with ``makes`` it creates the file.

    Raises JournalUnavailable.
    """
    url = f"{path.absolute().as_uri()}?mode={'rwc' if makes else 'rw'}"
    if makes:
        _make(path)
    try:
        database = sqlite3.connect(url, timeout=patience_s, isolation_level=None, check_same_thread=False, uri=True)
    except STORAGE_ERRORS as error:
        raise JournalUnavailable(f"{path}: {error}") from error
    with ExitStack() as unusable:
        unusable.callback(database.close)
        try:
            for pragma in PRAGMAS:
                database.execute(f"PRAGMA {pragma}")
        except STORAGE_ERRORS as error:
            raise JournalUnavailable(f"{path}: {error}") from error
        unusable.pop_all()
    return database


def _make(path: Path) -> None:
    """Create the file with mode 0600 if it is missing; SQLite gives the log the same mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise JournalUnavailable(f"{path}: {error.strerror}") from error


def prepare(url: str, *, patience_s: float = PREDECESSOR_S) -> None:
    """Create the journal, or migrate an older one. Raises JournalUnusable and JournalUnavailable.

    An older gateway cannot work on a migrated journal: one that still delivers from it has ``patience_s`` to end.
    """
    path = path_of(url)
    _refuse_lone_log(path)
    try:
        _refuse_foreign(path)
        with closing(connect(path, makes=True)) as database:
            version = schema.version(database)
            with _alone(path, patience_s) if 0 < version < len(schema.MIGRATIONS) else nullcontext(), writing(path):
                schema.migrate(database)
            if not version:
                logger.info("journal created", file=str(path.absolute()))
    except STORAGE_ERRORS as error:
        raise JournalUnusable(f"{path}: {error}") from error


def _refuse_lone_log(path: Path) -> None:
    """Raise JournalUnusable if a write-ahead log lies beside an empty file, or none: SQLite would delete the log."""
    log = Path(f"{path}-wal")
    log_stat, file_stat = _stat(log), _stat(path)
    if log_stat is not None and log_stat.st_size and not (file_stat is not None and file_stat.st_size):
        raise JournalUnusable(
            f"{path} is {'missing' if file_stat is None else 'empty'}, but its write-ahead log {log} holds "
            f"{log_stat.st_size:,} bytes: put the journal's file back beside the log, or move it away to start anew"
        )


def _stat(path: Path) -> os.stat_result | None:
    """Return the state of a file; None if it is missing: a process that ends removes its log at any moment."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _refuse_foreign(path: Path) -> None:
    """Raise JournalUnusable if the file is another program's database, and leave it as it is."""
    if not path.exists():
        return
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as database:
        schema.refuse_foreign(database)


def doubts(url: str) -> list[str]:
    """Return a line for each doubt about an existing journal that an operator should know of before it is used.

    Raises JournalUnavailable, and JournalUnusable if it is no journal.
    """
    path = path_of(url)
    lines = [
        f"{one} can be read or written by others than its owner (mode {mode:04o}): chmod 600 {one}"
        for one in (path, Path(f"{path}-wal"), Path(f"{path}-shm"), mark.mark_of(path))
        if (found_stat := _stat(one)) is not None and (mode := stat.S_IMODE(found_stat.st_mode)) & 0o077
    ]
    if not path.exists():
        return lines
    _refuse_lone_log(path)
    try:
        with closing(connect(path)) as database:
            found, noted = mark.newest(database) if schema.version(database) else 0, mark.read(path)
    except STORAGE_ERRORS as error:
        raise JournalUnusable(f"{path}: {error}") from error
    if found < noted:
        lines.append(
            f"{path} has lost up to {noted - found:,} batches that were acknowledged: its newest is number {found:,}, "
            f"it had {noted:,} (was its write-ahead log cut, or an older copy restored?); restore a newer copy, "
            f"or delete {mark.mark_of(path)} to go on without them"
        )
    return lines


def faults(url: str) -> list[str]:
    """Return a line for each fault that SQLite finds in the whole file."""
    path = path_of(url)
    try:
        with closing(connect(path)) as database:
            found = [str(line) for (line,) in database.execute("PRAGMA integrity_check(20)")]
    except (*STORAGE_ERRORS, JournalUnavailable) as error:
        return [str(error) if isinstance(error, JournalUnavailable) else f"{path}: {error}"]
    return [] if found == ["ok"] else [f"{path}: {line}" for line in found]


def inspect(url: str) -> bool:
    """Return whether there is a journal, and migrate it. Raises JournalUnusable if none can be created."""
    path = path_of(url)
    parent = path.resolve().parent
    if not parent.is_dir():
        raise JournalUnusable(f"{parent} is no directory")
    if path.exists():
        prepare(url, patience_s=0)
    return path.exists()


@contextmanager
def _alone(path: Path, patience_s: float) -> Iterator[None]:
    """Keep dispatchers from a journal. Raises JournalUnusable if one still works on it after ``patience_s``."""
    until = time.monotonic() + patience_s
    while True:
        try:
            lock = dispatching(path)
            break
        except BlockingIOError:
            if time.monotonic() >= until:
                older = f"{path}: a gateway of an older version works on it; stop that first"
                raise JournalUnusable(older) from None
            time.sleep(LOOK_AGAIN_S)
    try:
        yield
    finally:
        os.close(lock)
