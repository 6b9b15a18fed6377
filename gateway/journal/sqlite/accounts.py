"""Accounts: customers' sealed settings, and their problems."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.journal.rows import make_sealed
from gateway.journal.sqlite.operations import SqliteOperation
from gateway.journal.types import SealedSettings


@dataclass(frozen=True, slots=True)
class NoteTrouble(SqliteOperation[None]):
    """Record the problem of the settings with this print."""

    connection: str
    print: bytes
    trouble: str

    def run(self, database: sqlite3.Connection) -> None:
        """Record it."""
        database.execute(NOTE, (self.trouble, self.connection, self.print))


@dataclass(frozen=True, slots=True)
class Reseal(SqliteOperation[None]):
    """Replace the settings of this print by the same settings, sealed again."""

    print: bytes
    sealed: SealedSettings

    def run(self, database: sqlite3.Connection) -> None:
        """Replace the settings."""
        new = self.sealed
        database.execute(RESEAL, (new.print, new.sealed, new.connection, self.print))


COLUMNS = "connection, print, sealed, told_ms, received_ms, trouble"
KEEP = """
    INSERT INTO accounts (connection, print, sealed, told_ms, received_ms) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET print = excluded.print, sealed = excluded.sealed,
        trouble = iif(excluded.print = print, trouble, ''),
        told_ms = excluded.told_ms, received_ms = excluded.received_ms
    WHERE excluded.told_ms >= told_ms
    AND (excluded.print != print OR excluded.received_ms >= received_ms + 3600000)
    RETURNING connection
"""
RELEASE = "UPDATE lanes SET due_ms = 0 WHERE seq = 0 AND connection = ? AND code = 'refused'"
NOTE = "UPDATE accounts SET trouble = ? WHERE connection = ? AND print = ?"
RESEAL = "UPDATE accounts SET print = ?, sealed = ? WHERE connection = ? AND print = ?"
DUE = """
    WITH RECURSIVE names (name) AS (
        SELECT (SELECT min(connection) FROM lanes WHERE seq = 0 AND connection >= :own)
        UNION ALL
        SELECT (SELECT min(connection) FROM lanes WHERE seq = 0 AND connection > name) FROM names WHERE name < :end
    )
    SELECT name, a.print FROM names LEFT JOIN accounts a ON a.connection = name
    WHERE (name = :own OR name > :own || '/' AND name < :end)
    AND EXISTS (
        SELECT 1 FROM lanes l WHERE l.seq = 0 AND l.connection = name AND l.due_ms <= :now_ms
        AND NOT EXISTS (SELECT 1 FROM claims c WHERE c.connection = name AND c.user = l.user)
    )
"""
FORGET = """
    DELETE FROM accounts WHERE received_ms < ?
    AND NOT EXISTS (SELECT 1 FROM lanes WHERE seq = 0 AND lanes.connection = accounts.connection)
"""


def keep(database: sqlite3.Connection, sealed: Sequence[SealedSettings]) -> None:
    """Keep settings that are newer than the known ones, and make the connection's refused lanes due."""
    for one in sealed:
        row = (one.connection, one.print, one.sealed, one.told_ms, one.received_ms)
        if database.execute(KEEP, row).fetchall():
            database.execute(RELEASE, (one.connection,))


def forget(database: sqlite3.Connection, before_ms: int) -> None:
    """Forget old settings for which nothing waits; the next message has them again."""
    database.execute(FORGET, (before_ms,))


def sealed(database: sqlite3.Connection, connection: str | None) -> list[SealedSettings]:
    """Return the settings of one account's connection, or of all."""
    where = "" if connection is None else "WHERE connection = ?"
    query = f"SELECT {COLUMNS} FROM accounts {where} ORDER BY connection"
    rows = database.execute(query, () if connection is None else (connection,))
    return [make_sealed(row) for row in rows.fetchall()]


def due(database: sqlite3.Connection, connection: str, now_ms: int) -> list[tuple[str, bytes | None]]:
    """Return the connection and its accounts' connections that have a due lane."""
    given = {"own": connection, "end": f"{connection}0", "now_ms": now_ms}  # 0 comes after /
    return [(name, mark) for name, mark in database.execute(DUE, given).fetchall()]
