"""Checkpoints: SQLite's write-ahead log folded into its database, beside the writers instead of in their way."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How often to look at the log, how long it must be to be folded, and how long before writers must wait for it."""

    every_s: float = 0.5
    worth_folding_bytes: int = 4 << 20
    too_long_bytes: int = 64 << 20
    after_failure_s: float = 10.0


class Checkpointer:
    """A thread that folds the log whenever it has grown.

    Only a log that will not shrink makes writers wait, and never for long: where somebody else is reading the
    file, as a backup does, the log stays as it is for a while.
    """

    def __init__(
        self,
        path: Path,
        connect: Callable[[Path], sqlite3.Connection],
        turn: Callable[[], AbstractContextManager[None]],
        limits: Limits = Limits(),  # noqa: B008  # frozen
    ) -> None:
        self._limits = limits
        self._log = Path(f"{path}-wal")
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
        self._database.close()

    def _run(self) -> None:
        rest = self._limits.every_s
        while not self._closing.wait(rest):
            rest = self._limits.every_s
            with suppress(sqlite3.Error, OSError):  # busy or full now; the next round tries again
                size = self._log.stat().st_size
                if size > self._limits.worth_folding_bytes:
                    self._database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                if size > self._limits.too_long_bytes and not self._truncated():
                    rest = self._limits.after_failure_s

    def _truncated(self) -> bool:
        with self._turn():
            busy, _, _ = self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return not busy
