"""Locks: one writer and one dispatcher at a time, across processes, by locks on files beside the journal."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.journal.types import JournalUnavailable


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Hold the lock of the writers. SQLite's own waiting polls, and starves one of two busy processes."""
    descriptor = os.open(f"{path}-writer.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def dispatching(path: Path) -> int:
    """Lock the journal for one dispatcher; return the lock's descriptor. Raises BlockingIOError if another has it."""
    descriptor = os.open(f"{path}-dispatch.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


class WriterLock:
    """The lock behind ``writing``, kept open for a connection that writes often."""

    def __init__(self, path: Path) -> None:
        self._path = Path(f"{path}-writer.lock")
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)

    def __enter__(self) -> None:
        """Wait for the lock, without a bound. Raises JournalUnavailable if the system cannot lock the file."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        except OSError as error:
            raise JournalUnavailable(f"{self._path}: {error.strerror}") from error

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the lock."""
        os.close(self._descriptor)
