"""Claiming lanes: whole users, each with its oldest work in order.

What is claimed is read afterwards, by who claimed it: with every row that is read the interpreter's lock changes hands,
and so long nobody else could write.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.journal.lanes import assembled
from gateway.journal.port import Lane
from gateway.journal.settlements import plain_key


@dataclass(frozen=True, slots=True)
class Claim:
    """Claim up to ``lanes`` lanes of a connection under a fence, and let go of those claimed under ``unread`` ones."""

    connection: str
    now_ms: int
    lanes: int
    fence: int
    unread: tuple[int, ...] = ()


TAKE = """
    INSERT INTO claims (connection, user, fence) SELECT connection, user, :fence FROM lanes l
    WHERE seq = 0 AND connection = :connection AND due_ms <= :now_ms
    AND NOT EXISTS (SELECT 1 FROM claims c WHERE c.connection = l.connection AND c.user = l.user)
    ORDER BY due_ms LIMIT :lanes
"""
LET_GO = "DELETE FROM claims WHERE fence = ?"
TAKEN = """
    SELECT l.user, l.attempts, l.failing_since_ms, l.erased_seq
    FROM claims c CROSS JOIN lanes l ON l.user = c.user AND l.connection = c.connection AND l.seq = 0
    WHERE c.connection = :connection AND c.fence = :fence ORDER BY l.due_ms
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


def run(database: sqlite3.Connection, operations: Sequence[Any], results: list[Any]) -> None:
    """Carry out the Claims among these operations; the result of each is how many lanes it claimed."""
    for index, operation in enumerate(operations):
        if isinstance(operation, Claim):
            for fence in operation.unread:
                database.execute(LET_GO, (fence,))
            given = {name: getattr(operation, name) for name in ("connection", "now_ms", "lanes", "fence")}
            results[index] = database.execute(TAKE, given).rowcount


def read(database: sqlite3.Connection, connection: str, fence: int, most: int) -> list[Lane]:
    """The lanes that have been claimed under a fence, longest due first, each with so many items at most."""
    given: dict[str, Any] = {"connection": connection, "fence": fence, "items": most}
    taken = database.execute(TAKEN, given).fetchall()
    given["users"] = msgspec.json.encode([user for user, *_ in taken]).decode()
    items = database.execute(ITEMS, given).fetchall()
    memory = [(user, plain_key(key), value) for user, key, value in database.execute(MEMORY, given).fetchall()]
    wishes = bool(database.execute(WISHES).fetchone()[0])
    return assembled((connection, fence), taken, items, memory, wishes=wishes)
