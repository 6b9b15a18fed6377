"""The mark: the number of the newest batch, noted beside the database so that a lost write-ahead log is noticed."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path

NEWEST = "SELECT seq FROM sqlite_sequence WHERE name = 'batches'"


def newest(database: sqlite3.Connection) -> int:
    """Return the number of the newest batch that was ever stored, 0 in a new journal. Raises sqlite3.Error."""
    row = database.execute(NEWEST).fetchone()
    return int(row[0]) if row else 0


def mark_of(path: Path) -> Path:
    """Return the file that holds a journal's mark."""
    return Path(f"{path}-mark")


def read(path: Path) -> int:
    """Return a journal's mark, 0 if it has none that can be read."""
    with suppress(OSError, ValueError):
        return int(mark_of(path).read_text())
    return 0


def note(path: Path, seq: int) -> None:
    """Raise a journal's mark to ``seq``; it never falls. It is not synced: a mark that is too low does no harm."""
    if seq <= read(path):
        return
    with suppress(OSError):  # a full disk has an error of its own
        descriptor = os.open(mark_of(path), os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(descriptor, f"{seq:020d}\n".encode(), 0)
        finally:
            os.close(descriptor)
