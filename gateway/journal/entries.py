"""Storing batches: many posts in a handful of statements, whatever their number.

Each statement that SQLite runs gives up the interpreter's lock once; with a statement a row, a busy event
loop would take it back every time. So rows travel together, and work is spread over connections by SQLite.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.journal import accounts, erasures, picking, refs
from gateway.journal.port import Entry, Sealed

MOST_ROWS = 64
BATCHES = "batches (seq, dedupe, user, message, part, dialect, received_ms, scope, facts, body)"


@dataclass(frozen=True, slots=True)
class Accept:
    """Store these batches, with work for these connections."""

    entries: tuple[Entry, ...]
    connections: tuple[str, ...]
    sealed: tuple[Sealed, ...] = ()


WORK = """
    INSERT INTO work (user, connection, seq)
    SELECT b.user, c.value, b.seq FROM batches b, json_each(:connections) c
    WHERE b.seq > :base AND (b.scope IS NULL OR b.scope = c.value)
"""
LANES = """
    INSERT INTO lanes (user, connection, due_ms)
    SELECT b.user, c.value, b.received_ms FROM batches b, json_each(:connections) c
    WHERE b.seq > :base AND (b.scope IS NULL OR b.scope = c.value)
    ON CONFLICT DO NOTHING
"""
RECEIVED = """
    INSERT INTO counts (connection, word, reason, facts)
    SELECT c.value, 'received', '', sum(b.facts) FROM batches b, json_each(:connections) c
    WHERE b.seq > :base AND (b.scope IS NULL OR b.scope = c.value)
    GROUP BY c.value
    ON CONFLICT DO UPDATE SET facts = facts + excluded.facts
"""


def run(database: sqlite3.Connection, operations: Sequence[Any], results: list[Any]) -> None:
    """Carry out the Accepts among these operations; the result of each is how many of its batches were new."""
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


def _store(database: sqlite3.Connection, entries: Sequence[Entry], connections: tuple[str, ...]) -> set[bytes]:
    """Store batches and their work; returns the ``dedupe`` of those that were new."""
    (base,) = database.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'batches'").fetchone()
    numbered = list(enumerate(entries, base + 1))
    _insert(database, [_row(seq, entry) for seq, entry in numbered])
    new = dict(database.execute("SELECT seq, dedupe FROM batches WHERE seq > ?", (base,)).fetchall())
    refs.add(database, [(seq, ref) for seq, entry in numbered if seq in new for ref in entry.refs])
    given = {"base": base, "connections": msgspec.json.encode(connections).decode()}
    for statement in (WORK, LANES, RECEIVED):
        database.execute(statement, given)
    wishing = [(seq, entry) for seq, entry in numbered if entry.wish is not None and seq in new]
    if wishing:
        erasures.begin(database, wishing, connections)
    again = [(seq, entry, entry.again) for seq, entry in numbered if entry.again is not None and seq in new]
    if again:
        picking.add(database, again)
    return set(new.values())


def _insert(database: sqlite3.Connection, rows: Sequence[Sequence[Any]]) -> None:
    """Insert batches, a power of two at a time so that few statements need preparing."""
    start = 0
    while start < len(rows):
        size = min(MOST_ROWS, 1 << ((len(rows) - start).bit_length() - 1))
        values = [value for row in rows[start : start + size] for value in row]
        places = ",".join(["(?,?,?,?,?,?,?,?,?,?)"] * size)
        database.execute(f"INSERT OR IGNORE INTO {BATCHES} VALUES {places}", values)  # noqa: S608
        start += size


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
