"""Arrivals: stored batches that are not in their lanes yet.

Storing batches appends to the file; putting them into their users' lanes writes to many places of it. So the next
transaction that looks for work does that, for all batches that have arrived by then. If no dispatcher runs, the
processes that store batches do it, a few at a time.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from gateway.journal.sqlite.operations import SqliteOperation

MAX_LEFT = 2048
AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class MoveArrivals(SqliteOperation[None]):
    """Put arrived batches into lanes, as every operation does except storing and settling."""

    def run(self, database: sqlite3.Connection) -> None:
        """Do nothing else."""


PUT_UP_TO = (
    """
    INSERT INTO lanes (user, connection, seq, crashes, crashed_in)
    SELECT user, connection, seq, 0, '' FROM arrived WHERE first_seq <= {upto}
    ON CONFLICT DO NOTHING
    """,
    """
    INSERT INTO lanes (user, connection, seq, due_ms, attempts, failing_since_ms, code, detail, erased_seq, sole_seq)
    SELECT user, connection, 0, due_ms, 0, 0, '', '', 0, seq FROM arrived WHERE first_seq <= {upto}
    ON CONFLICT DO UPDATE SET sole_seq = NULL WHERE sole_seq IS NOT NULL
    """,
    "DELETE FROM arrivals WHERE first_seq <= {upto}",
)
A_FEW = f"(SELECT max(first_seq) FROM (SELECT first_seq FROM arrivals ORDER BY first_seq LIMIT {AT_ONCE}))"
PUT_ALL = [statement.format(upto=2**63 - 1) for statement in PUT_UP_TO]
PUT_A_FEW = "; ".join([statement.format(upto=A_FEW) for statement in PUT_UP_TO])
MANY_ARE_LEFT = f"(SELECT min(first_seq) FROM arrivals) < (SELECT max(seq) FROM batches) - {MAX_LEFT}"
OLDEST = "SELECT min(first_seq) FROM arrivals"
FOR_ONE = "SELECT 1 FROM arrivals a, json_each(a.connections) c WHERE c.value = ? LIMIT 1"


def put(database: sqlite3.Connection) -> None:
    """Put every arrived batch into its lanes."""
    if any_left(database):
        for statement in PUT_ALL:
            database.execute(statement)


def any_left(database: sqlite3.Connection, before_seq: int | None = None) -> bool:
    """Return whether a batch (older than ``before_seq``) is not in its lanes yet."""
    (oldest,) = database.execute(OLDEST).fetchone()
    return oldest is not None and (before_seq is None or oldest < before_seq)


def any_left_for(database: sqlite3.Connection, connection: str) -> bool:
    """Return whether any batch that is not in its lane yet is addressed to this connection."""
    return database.execute(FOR_ONE, (connection,)).fetchone() is not None
