"""Claims of lanes: each lane with its oldest items, in order.

The items are read after the transaction, because the interpreter's lock changes hands with every row, and no other
process can write until the transaction ends.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.journal.rows import make_lanes
from gateway.journal.sqlite.operations import SqliteOperation
from gateway.journal.sqlite.settle import plain_key
from gateway.journal.types import Lane


@dataclass(frozen=True, slots=True)
class Claim(SqliteOperation[int]):
    """Claim up to ``lanes`` lanes of a connection under a fence."""

    connection: str
    now_ms: int
    lanes: int
    fence: int

    def run(self, database: sqlite3.Connection) -> int:
        """Return how many lanes were claimed."""
        given = {name: getattr(self, name) for name in ("connection", "now_ms", "lanes", "fence")}
        return database.execute(TAKE, given).rowcount


@dataclass(frozen=True, slots=True)
class ReleaseClaims(SqliteOperation[None]):
    """Release the lanes that were claimed under these fences, unchanged."""

    fences: tuple[int, ...]

    def run(self, database: sqlite3.Connection) -> None:
        """End the claims."""
        database.executemany(LET_GO, [(fence,) for fence in self.fences])


RELEASE_ALL = (
    """
    UPDATE lanes SET sole_seq = NULL FROM claims c
    WHERE lanes.user = c.user AND lanes.connection = c.connection AND lanes.seq = 0
    """,
    "DELETE FROM claims",
    "UPDATE lanes SET due_ms = 0 WHERE seq = 0 AND code = 'refused'",
)
TAKE = """
    INSERT INTO claims (connection, user, fence, due_ms, attempts, failing_since_ms, erased_seq, sole_seq)
    SELECT connection, user, :fence, due_ms, attempts, failing_since_ms, erased_seq, sole_seq FROM lanes l
    WHERE seq = 0 AND connection = :connection AND due_ms <= :now_ms
    AND NOT EXISTS (SELECT 1 FROM claims c WHERE c.connection = l.connection AND c.user = l.user)
    ORDER BY due_ms LIMIT :lanes
"""
LET_GO = "DELETE FROM claims WHERE fence = ?"
TAKEN = """
    SELECT user, attempts, failing_since_ms, erased_seq, sole_seq FROM claims
    WHERE connection = :connection AND fence = :fence ORDER BY due_ms
"""
SOLE = """
    SELECT b.user, b.seq, b.message, b.part, b.dialect, b.received_ms, b.facts, b.body, NULL, 0, ''
    FROM json_each(:sole) s JOIN batches b ON b.seq = s.value
"""
ITEMS = """
    SELECT b.user, b.seq, b.message, b.part, b.dialect, b.received_ms, b.facts, b.body, w.progress, w.crashes,
        w.crashed_in
    FROM json_each(:users) u
    JOIN lanes w ON w.user = u.value AND w.connection = :connection
    JOIN batches b ON b.seq = w.seq
    WHERE w.seq IN (
        SELECT seq FROM lanes WHERE user = u.value AND connection = :connection AND seq > 0 ORDER BY seq LIMIT :items
    )
    ORDER BY b.user, b.seq
"""
WISHES = "SELECT EXISTS (SELECT 1 FROM wishes)"
MEMORY = """
    SELECT m.user, m.key, m.value FROM json_each(:users) u
    JOIN memory m ON m.user = u.value AND m.connection = :connection
"""


def read(database: sqlite3.Connection, connection: str, fence: int, most: int) -> list[Lane]:
    """Return the lanes claimed under a fence, longest due first, each with at most ``most`` items.

    Most lanes have one batch without progress: for these the batch alone is read, and not the lane.
    """
    given: dict[str, Any] = {"connection": connection, "fence": fence, "items": most}
    taken = database.execute(TAKEN, given).fetchall()
    given["sole"] = _json([sole for *_, sole in taken if sole is not None])
    given["users"] = _json([user for user, *_, sole in taken if sole is None])
    items = [*database.execute(SOLE, given).fetchall(), *database.execute(ITEMS, given).fetchall()]
    given["users"] = _json([user for user, *_ in taken])
    memory = [(user, plain_key(key), value) for user, key, value in database.execute(MEMORY, given).fetchall()]
    wishes = bool(database.execute(WISHES).fetchone()[0])
    return make_lanes((connection, fence), [row[:-1] for row in taken], items, memory, wishes=wishes)


def release_all(database: sqlite3.Connection) -> None:
    """End the claims of earlier dispatchers, and make refused lanes due: the settings may have changed."""
    for statement in RELEASE_ALL:
        database.execute(statement)


def _json(values: Sequence[int]) -> str:
    return msgspec.json.encode(values).decode()
