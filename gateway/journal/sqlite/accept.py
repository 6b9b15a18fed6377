"""Storing batches: many posts in one statement.

SQLite releases the interpreter's lock a few times in every statement, and a busy event loop then keeps it for
milliseconds. So all batches of a commit are inserted into a temporary view, whose triggers write all the rows. If
every batch is new, as nearly always, this one statement is the transaction.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

from gateway.journal.sqlite import accounts, arrivals, erase, replay
from gateway.journal.sqlite.operations import ACCEPTS, SqliteOperation
from gateway.journal.types import Entry, SealedSettings, salt_dedupe

MAX_ROWS = 64
"""The most rows that a statement takes in; one statement is prepared for each number of rows."""


@dataclass(frozen=True, slots=True)
class Accept(SqliteOperation[int]):
    """Store these batches, with work for these connections."""

    entries: tuple[Entry, ...]
    connections: tuple[str, ...]
    sealed: tuple[SealedSettings, ...] = ()
    turn: ClassVar[int] = ACCEPTS

    @classmethod
    def run_all(cls, database: sqlite3.Connection, operations: Sequence[Accept]) -> list[int]:
        """Store batches; the result of each operation is how many of its batches were new."""
        stored: set[bytes] = set()
        for connections, entries in _spread(operations).items():
            stored |= _store(database, entries, connections)
        results = []
        for operation in operations:
            if operation.sealed:
                accounts.keep(database, operation.sealed)
            new = {entry.dedupe for entry in operation.entries} & stored
            stored -= new
            results.append(len(new))
        return results

    @property
    def is_plain(self) -> bool:
        """True if the operation does nothing but store batches."""
        return not self.sealed and all(entry.wish is None and entry.again is None for entry in self.entries)


FIRST = "(SELECT max(seq) FROM batches) - NEW.stored + 1"
INTAKE = (
    """
    CREATE TEMP VIEW intake AS
    SELECT dedupe, user, message, part, dialect, received_ms, scope, facts, body,    -- a row for each batch, then
    NULL AS stored, NULL AS hashes, NULL AS offsets, NULL AS connections FROM batches  -- one for so many together
    """,
    """
    CREATE TEMP TRIGGER intake_of_one INSTEAD OF INSERT ON intake WHEN NEW.stored IS NULL BEGIN
        INSERT INTO batches (dedupe, user, message, part, dialect, received_ms, scope, facts, body) VALUES (
            NEW.dedupe, NEW.user, NEW.message, NEW.part, NEW.dialect, NEW.received_ms, NEW.scope, NEW.facts, NEW.body
        );
    END
    """,
    f"""
    CREATE TEMP TRIGGER intake_of_all INSTEAD OF INSERT ON intake WHEN NEW.stored BEGIN
        INSERT INTO refs (first_seq, last_seq, hashes, offsets)
        SELECT {FIRST}, {FIRST} + NEW.stored - 1, NEW.hashes, NEW.offsets WHERE NEW.hashes != x'';
        INSERT INTO arrivals (first_seq, connections, batches)
        SELECT {FIRST}, NEW.connections, json_group_array(json_array(seq, user, received_ms, scope))
        FROM batches WHERE seq >= {FIRST};
        INSERT INTO counts (connection, word, reason, facts)
        SELECT c.value, 'received', '', sum(b.facts) FROM batches b, json_each(NEW.connections) c
        WHERE b.seq >= {FIRST} AND (b.scope IS NULL OR b.scope = c.value)
        GROUP BY c.value
        ON CONFLICT DO UPDATE SET facts = facts + excluded.facts;
    END
    """,
    f"""
    CREATE TEMP TRIGGER intake_beside_many INSTEAD OF INSERT ON intake
    WHEN NEW.stored AND {arrivals.MANY_ARE_LEFT} BEGIN
        {arrivals.PUT_A_FEW};
    END
    """,
)
ROW = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
OF_BATCH, OF_ALL = (None,) * 4, (None,) * 9
KNOWN = "SELECT dedupe FROM batches WHERE dedupe IN ({})"
LAST = "SELECT max(seq) FROM batches"


CONFLICTS = "SELECT 1 FROM batches WHERE dedupe = ? AND body NOT IN (x'', ?)"


def conflicting(database: sqlite3.Connection, entries: Sequence[Entry], salt: bytes) -> list[Entry]:
    """Return the batches that are stored with another document."""
    keys = [(salt_dedupe(one.dedupe, salt), one.body) for one in entries]
    return [one for one, key in zip(entries, keys, strict=True) if database.execute(CONFLICTS, key).fetchone()]


def prepare(database: sqlite3.Connection) -> None:
    """Prepare a connection for storing batches."""
    database.execute("PRAGMA temp_store = MEMORY")
    for statement in INTAKE:
        database.execute(statement)


def store_new(database: sqlite3.Connection, operations: Sequence[SqliteOperation[Any]]) -> list[int] | None:
    """Store a few new batches in a transaction of their own; return how many each operation had.

    Return None, and store nothing, if there is any other operation or batch.
    """
    accepts = [operation for operation in operations if isinstance(operation, Accept) and operation.is_plain]
    if len(accepts) < len(operations):
        return None
    rows = [row for connections, new in _spread(accepts).items() for row in _rows(new, connections)]
    if not 0 < len(rows) <= MAX_ROWS:
        return None
    try:
        _insert(database, rows)
    except sqlite3.IntegrityError:  # one of them is known
        return None
    return [len(operation.entries) for operation in accepts]


def _spread(operations: Sequence[Accept]) -> dict[tuple[str, ...], list[Entry]]:
    """Return the batches to store, by the connections they are for."""
    spread: dict[tuple[str, ...], list[Entry]] = {}
    for operation in operations:
        spread.setdefault(operation.connections, []).extend(operation.entries)
    return spread


def _store(database: sqlite3.Connection, entries: Sequence[Entry], connections: tuple[str, ...]) -> set[bytes]:
    """Store batches for these connections; return the ``dedupe`` of the new ones."""
    new = _unknown(database, entries)
    _insert(database, _rows(new, connections))
    if not all(entry.wish is None and entry.again is None for entry in new):
        arrivals.put(database)
        (last,) = database.execute(LAST).fetchone()
        stored = list(enumerate(new, last - len(new) + 1))
        erase.begin(database, [(seq, entry) for seq, entry in stored if entry.wish is not None], connections)
        replay.add(database, [(seq, entry, entry.again) for seq, entry in stored if entry.again is not None])
    return {entry.dedupe for entry in new}


def _unknown(database: sqlite3.Connection, entries: Sequence[Entry]) -> list[Entry]:
    """Return the batches that are not stored yet, each once."""
    new: dict[bytes, Entry] = {}
    for entry in entries:
        new.setdefault(entry.dedupe, entry)
    wanted = list(new)
    for start in range(0, len(wanted), MAX_ROWS):
        some = wanted[start : start + MAX_ROWS]
        for (known,) in database.execute(KNOWN.format(", ".join("?" * len(some))), some).fetchall():
            del new[known]
    return list(new.values())


def _rows(entries: Sequence[Entry], connections: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """Return the intake's rows for batches that are all new."""
    if not entries:
        return []
    scopes = {entry.scope for entry in entries}
    told = connections if None in scopes else [name for name in connections if name in scopes]
    hashes = b"".join([ref for entry in entries for ref in entry.refs])
    offsets = array("I", [number for number, entry in enumerate(entries) for _ in entry.refs]).tobytes()
    shared = (len(entries), hashes, offsets, msgspec.json.encode(told).decode())
    return [*[_row(entry) for entry in entries], (*OF_ALL, *shared)]


def _row(entry: Entry) -> tuple[Any, ...]:
    return (
        entry.dedupe,
        entry.user,
        entry.message,
        entry.part,
        entry.dialect,
        entry.received_ms,
        entry.scope,
        entry.facts,
        entry.body,
        *OF_BATCH,
    )


def _insert(database: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows, MAX_ROWS in one statement. Raises sqlite3.IntegrityError for a known batch."""
    for start in range(0, len(rows), MAX_ROWS):
        some = rows[start : start + MAX_ROWS]
        values = [value for row in some for value in row]
        database.execute(f"INSERT INTO intake VALUES {', '.join([ROW] * len(some))}", values)
