"""The file that a journal in SQLite is: opening it, making it, bringing an older one up to date."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

from gateway.journal.port import JournalUnavailable, JournalUnusable
from gateway.journal.sqlite import schema
from gateway.journal.sqlite.locks import dispatching, writing

PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 0", "cache_size = -16384")
PREDECESSOR_S, LOOK_AGAIN_S = 10.0, 0.1
PATIENCE_S = 2.0  # for whoever else has the file open; the gateway's own processes take turns


def path_of(url: str) -> Path:
    """The file that a ``sqlite:///`` URL names."""
    return Path(url.removeprefix("sqlite:///"))


def connect(path: Path, *, patience_s: float = PATIENCE_S, makes: bool = False) -> sqlite3.Connection:
    """A connection as every part of the gateway uses it, waiting so long for others; one of them ``makes`` the file.

    Raises JournalUnavailable.
    """
    url = f"{path.absolute().as_uri()}?mode={'rwc' if makes else 'rw'}"
    if makes:
        _make(path)
    try:
        database = sqlite3.connect(url, timeout=patience_s, isolation_level=None, check_same_thread=False, uri=True)
    except sqlite3.Error as error:
        raise JournalUnavailable(f"{path}: {error}") from error
    try:
        for pragma in PRAGMAS:
            database.execute(f"PRAGMA {pragma}")
    except sqlite3.Error as error:
        database.close()
        raise JournalUnavailable(f"{path}: {error}") from error
    return database


def _make(path: Path) -> None:
    """The file, if there is none yet, for its owner alone; the log beside it will be as it is."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise JournalUnavailable(f"{path}: {error.strerror}") from error


def prepare(url: str, *, patience_s: float = PREDECESSOR_S) -> None:
    """Make the journal, or bring an older one up to date. Raises JournalUnusable and JournalUnavailable.

    An older gateway could not work on it then: where one still delivers from it, it has so long to end.
    """
    path = path_of(url)
    try:
        with closing(connect(path, makes=True)) as database:
            version = schema.version(database)
            with _alone(path, patience_s) if 0 < version < len(schema.MIGRATIONS) else nullcontext(), writing(path):
                schema.migrate(database)
    except sqlite3.DatabaseError as error:
        raise JournalUnusable(f"{path}: {error}") from error


def inspect(url: str) -> bool:
    """Whether there is a journal yet, which is then brought up to date, and one can be made otherwise."""
    path = path_of(url)
    parent = path.resolve().parent
    if not parent.is_dir():
        raise JournalUnusable(f"{parent} is no directory")
    if path.exists():
        prepare(url, patience_s=0)
    return path.exists()


@contextmanager
def _alone(path: Path, patience_s: float) -> Iterator[None]:
    """Have no dispatcher work on a journal meanwhile. Raises JournalUnusable where one does for longer than that."""
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
