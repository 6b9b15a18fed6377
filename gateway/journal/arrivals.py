"""Arrivals: batches that are stored, and have yet to be put into lanes.

Storing batches appends to the file; putting them into the lanes of their users writes all over it. So that is left to
the next transaction that looks for work, which does it for all that have come by then. Where there is none, for no
dispatcher runs, those who store put away what was left, a little at a time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from gateway.journal.port import Entry

MOST_LEFT = 2048
AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Put:
    """Put into lanes what has arrived: any operation does that is about neither storing nor settling."""


ADD = "INSERT INTO arrivals (first_seq, connections, batches) VALUES (?, ?, ?)"
NEXT = "SELECT first_seq FROM arrivals ORDER BY first_seq LIMIT ?"
PUT = (
    """
    INSERT INTO lanes (user, connection, seq, crashes, crashed_in)
    SELECT user, connection, seq, 0, '' FROM arrived WHERE first_seq <= ?
    ON CONFLICT DO NOTHING
    """,
    """
    INSERT INTO lanes (user, connection, seq, due_ms, attempts, failing_since_ms, reason, erased_seq, sole_seq)
    SELECT user, connection, 0, due_ms, 0, 0, '', 0, seq FROM arrived WHERE first_seq <= ?
    ON CONFLICT DO UPDATE SET sole_seq = NULL WHERE sole_seq IS NOT NULL
    """,
    "DELETE FROM arrivals WHERE first_seq <= ?",
)
FOR_ONE = "SELECT 1 FROM arrivals a, json_each(a.connections) c WHERE c.value = ? LIMIT 1"


def add(database: sqlite3.Connection, stored: Sequence[tuple[int, Entry]], connections: Sequence[str]) -> None:
    """Batches have just been stored for these connections. Of those left by others, a few are put into lanes."""
    if not stored:
        return
    scopes = {entry.scope for _, entry in stored}
    told = connections if None in scopes else [name for name in connections if name in scopes]
    rows = [(seq, entry.user, entry.received_ms, entry.scope) for seq, entry in stored]
    database.execute(ADD, (rows[0][0], *(msgspec.json.encode(given).decode() for given in (told, rows))))
    ((oldest,),) = database.execute(NEXT, (1,)).fetchall()
    if rows[-1][0] - oldest > MOST_LEFT:
        put(database, AT_ONCE)


def put(database: sqlite3.Connection, commits: int = -1) -> None:
    """Put into lanes what was stored by so many commits, the oldest ones; or everything."""
    chosen = database.execute(NEXT, (commits,)).fetchall()
    for statement in PUT if chosen else ():
        database.execute(statement, chosen[-1])


def any_left(database: sqlite3.Connection, before_seq: int | None = None) -> bool:
    """Whether anything, or anything older than that, has yet to be put into lanes."""
    oldest = database.execute(NEXT, (1,)).fetchone()
    return oldest is not None and (before_seq is None or oldest[0] < before_seq)


def any_left_for(database: sqlite3.Connection, connection: str) -> bool:
    """Whether anything has, that a connection may have to be sent."""
    return database.execute(FOR_ONE, (connection,)).fetchone() is not None
