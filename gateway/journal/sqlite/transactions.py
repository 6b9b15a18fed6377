"""Transactions in SQLite: operations of all kinds together, those of a kind in as few statements as it can."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from gateway.journal.operations import group_by_kind
from gateway.journal.sqlite import accept, arrivals
from gateway.journal.sqlite.operations import OTHERS, SqliteOperation


def commit(database: sqlite3.Connection, operations: Sequence[SqliteOperation[Any]]) -> Sequence[Any]:
    """Carry out operations in a transaction; return a result for each."""
    if database.in_transaction:  # the last rollback failed for lack of memory
        database.execute("ROLLBACK")
    if (stored := accept.store_new(database, operations)) is not None:
        return stored
    database.execute("BEGIN IMMEDIATE")
    try:
        results = carry_out(database, operations)
        database.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error, MemoryError):
            database.execute("ROLLBACK")
        raise
    return results


def carry_out(database: sqlite3.Connection, operations: Sequence[SqliteOperation[Any]]) -> list[Any]:
    """Carry out operations inside a transaction; return a result for each."""
    results: list[Any] = [None] * len(operations)
    kinds = group_by_kind(operations)
    are_in_lanes = False
    for kind in sorted(kinds, key=lambda kind: kind.turn):
        if kind.turn == OTHERS and not are_in_lanes:
            arrivals.put(database)
            are_in_lanes = True
        done = kind.run_all(database, [operations[place] for place in kinds[kind]])
        for place, result in zip(kinds[kind], done, strict=True):
            results[place] = result
    return results
