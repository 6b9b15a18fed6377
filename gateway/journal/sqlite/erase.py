"""Erasures: withholding and removing a user's data in the journal, and the receipt."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.journal.rows import make_receipt, make_request_rows
from gateway.journal.sqlite.operations import SqliteOperation
from gateway.journal.types import Entry, Receipt, Tombstone

NUMBERS = msgspec.json.Decoder(list[int])


@dataclass(frozen=True, slots=True)
class Erase(SqliteOperation[bool]):
    """Withhold a user's items older than the batch ``seq``, and remove their documents; see the port."""

    connection: str
    lanes: tuple[int, ...]
    found: tuple[int, ...]
    everywhere: bool
    seq: int

    def run(self, database: sqlite3.Connection) -> bool:
        """Return whether nothing of the user waits."""
        known = {name: _json(getattr(self, name)) for name in ("lanes", "found")}
        given = {"connection": self.connection, "seq": self.seq, "everywhere": self.everywhere, **known}
        waiting = [user for (user,) in database.execute(WAITING, given).fetchall()]
        if waiting:
            database.execute(WITHHOLD, {**given, "users": _json(waiting)})
            return False
        older = database.execute(OLDER, given).fetchall()
        touched = [seq for seq, _ in older]
        with thoroughly(database):
            removed = remove(database, touched, dead=True)
        for (before,) in database.execute(BEFORE, (self.seq, self.connection)).fetchall():
            removed |= set(NUMBERS.decode(before))
        lanes = {*self.lanes, *(user for _, user in older)}
        row = (self.seq, self.connection, _json(sorted(lanes)), _json(touched), _json(sorted(removed)))
        database.execute(KEEP, row)
        return True


BEGIN = """
    UPDATE lanes SET erased_seq = max(erased_seq, w.seq), due_ms = 0 FROM (
        SELECT b.user, c.value AS connection, max(b.seq) AS seq
        FROM json_each(:seqs) s JOIN batches b ON b.seq = s.value JOIN json_each(:connections) c
        WHERE b.scope IS NULL OR b.scope = c.value GROUP BY 1, 2
    ) w
    WHERE lanes.user = w.user AND lanes.connection = w.connection AND lanes.seq = 0
"""
WISH = """
    INSERT INTO wishes (name, connection, before_ms, received_ms, user, seq) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET before_ms = max(before_ms, excluded.before_ms), received_ms = excluded.received_ms,
    user = excluded.user, seq = excluded.seq
"""
TOMBSTONE = """
    SELECT max(w.before_ms), max(EXISTS (
        SELECT 1 FROM lanes l WHERE l.user = w.user AND l.connection = w.connection AND l.seq = w.seq
    ))
    FROM wishes w WHERE w.connection = ? AND w.name IN ({})
"""
WAITING = """
    SELECT u.user FROM (
        SELECT value AS user FROM json_each(:lanes)
        UNION
        SELECT user FROM batches WHERE :everywhere AND seq IN (SELECT value FROM json_each(:found))
    ) u WHERE EXISTS (
        SELECT 1 FROM lanes l WHERE l.user = u.user AND l.connection = :connection AND l.seq BETWEEN 1 AND :seq - 1
    )
"""
WITHHOLD = """
    UPDATE lanes SET erased_seq = max(erased_seq, :seq - 1), due_ms = 0
    WHERE connection = :connection AND seq = 0 AND user IN (SELECT value FROM json_each(:users))
"""
OLDER = """
    SELECT b.seq, b.user FROM batches b JOIN ledger l ON l.seq = b.seq AND l.connection = :connection
    WHERE b.seq IN (SELECT value FROM json_each(:found)) AND b.seq < :seq
    AND (:everywhere OR b.user IN (SELECT value FROM json_each(:lanes)))
"""
WAITS = """EXISTS (
        WITH RECURSIVE names (name) AS (
            SELECT min(connection) FROM lanes WHERE user = b.user
            UNION ALL
            SELECT (SELECT min(connection) FROM lanes WHERE user = b.user AND connection > name) FROM names
            WHERE name IS NOT NULL
        )
        SELECT 1 FROM names JOIN lanes w ON w.user = b.user AND w.connection = name AND w.seq = b.seq
    )"""
"""A condition: a batch ``b`` waits on any connection. It does not look at everything that waits for its user."""
REMOVE = f"""
    UPDATE batches AS b SET body = x'' WHERE seq IN (SELECT value FROM json_each(?)) AND body != x''
    AND NOT {WAITS}
    AND (? OR NOT EXISTS (SELECT 1 FROM ledger l WHERE l.seq = b.seq AND l.dead > 0))
    RETURNING seq
"""
BEFORE = "SELECT removed FROM receipts WHERE seq = ? AND connection = ?"
KEEP = """
    INSERT INTO receipts (seq, connection, lanes, touched, removed) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET lanes = excluded.lanes, touched = excluded.touched, removed = excluded.removed
"""
FORGET = """
    DELETE FROM memory WHERE connection = :connection AND user != 0 AND (
        user = :user OR user IN (
            SELECT lane.value FROM receipts r, json_each(r.lanes) lane
            WHERE r.seq = :seq AND r.connection = :connection
        )
    )
"""
COUNT = "UPDATE receipts SET memories = memories + ? WHERE seq = ? AND connection = ?"
RECEIPT = "SELECT touched, removed, memories FROM receipts WHERE seq = ? AND connection = ?"
TOUCHED = """
    SELECT b.message, b.part, l.outcomes, b.body = x''
    FROM batches b JOIN ledger l ON l.seq = b.seq AND l.connection = :connection
    WHERE b.seq IN (SELECT value FROM json_each(:touched)) ORDER BY b.seq
"""


@contextmanager
def thoroughly(database: sqlite3.Connection) -> Iterator[None]:
    """Overwrite deleted data meanwhile, instead of leaving it in the file until the space is used again."""
    database.execute("PRAGMA secure_delete = ON").fetchone()
    try:
        yield
    finally:
        database.execute("PRAGMA secure_delete = OFF").fetchone()


def begin(database: sqlite3.Connection, requests: Sequence[tuple[int, Entry]], connections: Sequence[str]) -> None:
    """Begin the erasures that were just stored: withhold the waiting items of their lanes, and record the requests."""
    given = {"seqs": _json([seq for seq, _ in requests]), "connections": _json(connections)}
    database.execute(BEGIN, given)
    rows = make_request_rows(requests, connections)
    database.executemany(WISH, rows)


def remove(database: sqlite3.Connection, seqs: Iterable[int], *, dead: bool) -> set[int]:
    """Remove the documents of the batches that wait on no connection; return these batches.

    Batches with dead letters are included only if ``dead``.
    """
    return {seq for (seq,) in database.execute(REMOVE, (_json(list(seqs)), dead)).fetchall()}


def finish(database: sqlite3.Connection, connection: str, user: int, seq: int) -> None:
    """Complete an erasure on a connection: forget the memories of the user there."""
    given = {"connection": connection, "user": user, "seq": seq}
    forgotten = database.execute(FORGET, given).rowcount
    database.execute(COUNT, (forgotten, seq, connection))


def forget(database: sqlite3.Connection, seqs: Sequence[int], before_ms: int) -> None:
    """Forget the receipts of forgotten batches, and old erasure requests."""
    database.execute("DELETE FROM wishes WHERE received_ms < ?", (before_ms,))
    if seqs:
        database.execute("DELETE FROM receipts WHERE seq IN (SELECT value FROM json_each(?))", (_json(seqs),))


def tombstone(database: sqlite3.Connection, connection: str, names: Sequence[bytes]) -> Tombstone | None:
    """Return the tombstone of these names on a connection, or None if there is none."""
    query = TOMBSTONE.format(",".join("?" * len(names)))
    before_ms, is_under_way = database.execute(query, (connection, *names)).fetchone()
    return None if before_ms is None else Tombstone(before_ms=before_ms, is_under_way=bool(is_under_way))


def receipt(database: sqlite3.Connection, seq: int, connection: str) -> Receipt | None:
    """Return the receipt of the erasure in this batch on a connection; None if there is none yet."""
    row = database.execute(RECEIPT, (seq, connection)).fetchone()
    if row is None:
        return None
    touched, removed, memories = row
    given = {"touched": touched, "connection": connection}
    return make_receipt(len(NUMBERS.decode(removed)), memories, database.execute(TOUCHED, given).fetchall())


def _json(values: Sequence[Any]) -> str:
    return msgspec.json.encode(values).decode()
