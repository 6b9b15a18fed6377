"""Checkpoints: SQLite's write-ahead log is written into the database beside the writers, without delaying them."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

from gateway.journal.sqlite import mark
from gateway.journal.sqlite.file import STORAGE_ERRORS


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointLimits:
    """The bounds of the log: how often it is checked, and the sizes at which it is checkpointed or emptied.

    It is emptied after ``oldest_s`` at most, because erased data is still in it.
    """

    every_s: float = 0.5
    worth_folding_bytes: int = 4 << 20
    too_long_bytes: int = 64 << 20
    oldest_s: float = 60.0
    after_failure_s: float = 10.0


class Checkpointer:
    """A thread that checkpoints the log whenever it has grown.

    Writers wait only while the log is emptied, and never for long: if another program reads the file, as a backup
    does, the log is emptied later.
    """

    def __init__(
        self,
        path: Path,
        connect: Callable[[Path], sqlite3.Connection],
        turn: Callable[[], AbstractContextManager[None]],
        limits: CheckpointLimits = CheckpointLimits(),  # noqa: B008  # frozen
    ) -> None:
        self._limits = limits
        self._path = path
        self._log = Path(f"{path}-wal")
        self._marked = 0
        self._database = connect(path)
        self._database.execute("PRAGMA busy_timeout = 20")
        self._turn = turn
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal-checkpoint", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._closing.set()
        self._thread.join()
        with suppress(*STORAGE_ERRORS, OSError, MemoryError):
            self._mark()
        self._database.close()

    def _run(self) -> None:
        limits, rest, empty = self._limits, self._limits.every_s, time.monotonic()
        while not self._closing.wait(rest):
            rest = limits.every_s
            with suppress(*STORAGE_ERRORS, OSError, MemoryError):  # busy or full now; the next round tries again
                self._mark()
                size = self._log.stat().st_size
                is_to_end = size > limits.too_long_bytes or (size > 0 and time.monotonic() > empty + limits.oldest_s)
                if is_to_end or size > limits.worth_folding_bytes:
                    self._database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                if is_to_end and not self._truncated():
                    rest = limits.after_failure_s
                elif is_to_end or not size:
                    empty = time.monotonic()

    def _mark(self) -> None:
        if (seq := mark.newest(self._database)) > self._marked:
            mark.note(self._path, seq)
            self._marked = seq

    def _truncated(self) -> bool:
        with self._turn():
            busy, _, _ = self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return not busy
