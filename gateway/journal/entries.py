"""Storing batches: many posts in a handful of statements, whatever their number.

Each statement that SQLite runs gives up the interpreter's lock once, and once more with every row that it answers; a
busy event loop takes it back every time. So rows travel together, and none is asked for that is not needed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.journal import accounts, arrivals, erasures, picking, refs
from gateway.journal.port import Entry, Sealed
from gateway.journal.settlements import Settle

MOST_ROWS = 64
BATCHES = "batches (seq, dedupe, user, message, part, dialect, received_ms, scope, facts, body)"


@dataclass(frozen=True, slots=True)
class Accept:
    """Store these batches, with work for these connections."""

    entries: tuple[Entry, ...]
    connections: tuple[str, ...]
    sealed: tuple[Sealed, ...] = ()


NEW = "SELECT json_group_array(seq) FROM batches WHERE seq > ?"
RECEIVED = """
    INSERT INTO counts (connection, word, reason, facts)
    SELECT c.value, 'received', '', sum(b.facts) FROM batches b, json_each(:connections) c
    WHERE b.seq > :base AND (b.scope IS NULL OR b.scope = c.value)
    GROUP BY c.value
    ON CONFLICT DO UPDATE SET facts = facts + excluded.facts
"""


def run(database: sqlite3.Connection, operations: Sequence[Any], results: list[Any]) -> None:
    """Carry out the Accepts among these operations; the result of each is how many of its batches were new.

    If there are others, they find everything in its lane; what settles a lane knows what it is about.
    """
    spread: dict[tuple[str, ...], list[tuple[int, Accept]]] = {}
    for index, operation in enumerate(operations):
        if isinstance(operation, Accept):
            spread.setdefault(operation.connections, []).append((index, operation))
    for connections, accepts in spread.items():
        stored = _store(database, [entry for _, accept in accepts for entry in accept.entries], connections)
        for index, accept in accepts:
            if accept.sealed:
                accounts.keep(database, accept.sealed)
            new = {entry.dedupe for entry in accept.entries} & stored
            stored -= new
            results[index] = len(new)
    if not all(isinstance(operation, (Accept, Settle)) for operation in operations):
        arrivals.put(database)


def _store(database: sqlite3.Connection, entries: Sequence[Entry], connections: tuple[str, ...]) -> set[bytes]:
    """Store batches for these connections; returns the ``dedupe`` of those that were new."""
    (base,) = database.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'batches'").fetchone()
    stored = list(enumerate(entries, base + 1))
    if _insert(database, [_row(seq, entry) for seq, entry in stored]) < len(stored):
        new = set(msgspec.json.decode(database.execute(NEW, (base,)).fetchone()[0]))
        stored = [(seq, entry) for seq, entry in stored if seq in new]
    refs.add(database, [(seq, ref) for seq, entry in stored for ref in entry.refs])
    arrivals.add(database, stored, connections)
    database.execute(RECEIVED, {"base": base, "connections": msgspec.json.encode(connections).decode()})
    wishing = [(seq, entry) for seq, entry in stored if entry.wish is not None]
    if wishing:
        arrivals.put(database)
        erasures.begin(database, wishing, connections)
    again = [(seq, entry, entry.again) for seq, entry in stored if entry.again is not None]
    if again:
        arrivals.put(database)
        picking.add(database, again)
    return {entry.dedupe for _, entry in stored}


def _insert(database: sqlite3.Connection, rows: Sequence[Sequence[Any]]) -> int:
    """Insert batches, up to 64 in a statement, of which one is prepared for each number; returns how many were new."""
    new = 0
    for start in range(0, len(rows), MOST_ROWS):
        some = rows[start : start + MOST_ROWS]
        places = ",".join(["(?,?,?,?,?,?,?,?,?,?)"] * len(some))
        values = [value for row in some for value in row]
        new += database.execute(f"INSERT OR IGNORE INTO {BATCHES} VALUES {places}", values).rowcount  # noqa: S608
    return new


def _row(seq: int, entry: Entry) -> tuple[Any, ...]:
    return (
        seq,
        entry.dedupe,
        entry.user,
        entry.message,
        entry.part,
        entry.dialect,
        entry.received_ms,
        entry.scope,
        entry.facts,
        entry.body,
    )
