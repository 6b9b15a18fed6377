"""Indexing: ids are put on shelves beside the writers, whenever there are enough of them."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

from gateway.journal.shelves import laid_out
from gateway.journal.sqlite import refs
from gateway.journal.sqlite.file import STORAGE_ERRORS

EVERY_S = 2.0
PAUSE_S = 0.05
IDS_A_RUN = 65_536


class Indexer:
    """A thread that puts runs of ids on shelves. It works on a connection of its own, and closes it."""

    def __init__(
        self,
        database: sqlite3.Connection,
        turn: Callable[[], AbstractContextManager[None]],
        ids_a_run: int = IDS_A_RUN,
    ) -> None:
        self._database = database
        self._turn = turn
        self._ids_a_run = ids_a_run
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal-indexing", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._closing.set()
        self._thread.join()
        self._database.close()

    def _run(self) -> None:
        rest = EVERY_S
        while not self._closing.wait(rest):
            rest = EVERY_S
            with suppress(*STORAGE_ERRORS, OSError, MemoryError):  # busy or full now; the next round tries again
                rest = PAUSE_S if index(self._database, self._turn, self._ids_a_run) else EVERY_S


def index(database: sqlite3.Connection, turn: Callable[[], AbstractContextManager[None]], ids_a_run: int) -> bool:
    """Put one run of ids on shelves; return false if there are too few. Only the write takes the writers' lock."""
    run = refs.read_next_run(database, ids_a_run)
    if run is None:
        return False
    shelves = laid_out(run)
    with turn():
        if database.in_transaction:  # the last rollback failed for lack of memory
            database.execute("ROLLBACK")
        database.execute("BEGIN IMMEDIATE")
        try:
            refs.put(database, run, shelves)
            database.execute("COMMIT")
        except BaseException:
            database.execute("ROLLBACK")
            raise
    return True
