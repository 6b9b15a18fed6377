"""Settlements of claimed lanes, many in a few statements."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

from gateway.journal.rows import count_dead, count_outcomes
from gateway.journal.sqlite import erase
from gateway.journal.sqlite.operations import SETTLES, SqliteOperation
from gateway.journal.types import Finished, Settlement

ESCAPED = "\x1a"  # first character of memory keys that are stored as JSON
SHARED = 0  # the user under which a connection's shared memory is kept


@dataclass(frozen=True, slots=True)
class Settle(SqliteOperation[bool]):
    """Record this settlement as of ``now_ms``."""

    settlement: Settlement
    now_ms: int
    turn: ClassVar[int] = SETTLES

    @classmethod
    def run_all(cls, database: sqlite3.Connection, operations: Sequence[Settle]) -> list[bool]:
        """Record settlements; the result of each is whether its claim still held."""
        claims = [(*_key(settle), settle.settlement.fence) for settle in operations]
        stale = set(_execute(database, STALE, claims))
        holds = [claim not in stale for claim in claims]
        _record(database, [settle for settle, held in zip(operations, holds, strict=True) if held])
        return holds


STALE = """
    SELECT s.value ->> 0, s.value ->> 1, s.value ->> 2 FROM json_each(:rows) s
    LEFT JOIN claims c ON c.user = s.value ->> 0 AND c.connection = s.value ->> 1 AND c.fence = s.value ->> 2
    WHERE c.user IS NULL
"""
LEDGER = """
    INSERT INTO ledger (seq, connection, at_ms, dead, outcomes)
    SELECT r.value ->> 0, r.value ->> 1, r.value ->> 2, r.value ->> 3, r.value -> 4 FROM json_each(:rows) r
"""
DONE = """
    INSERT INTO emptied (user, connection, seq)
    SELECT r.value ->> 0, r.value ->> 1, r.value ->> 2 FROM json_each(:rows) r
"""
PROGRESS = """
    UPDATE lanes SET progress = r.value -> 3 FROM json_each(:rows) r
    WHERE lanes.user = r.value ->> 0 AND lanes.connection = r.value ->> 1 AND lanes.seq = r.value ->> 2
"""
GONE = """
    INSERT INTO emptied (user, connection, seq)
    SELECT r.value ->> 0, r.value ->> 1, 0 FROM json_each(:rows) r WHERE NOT EXISTS (
        SELECT 1 FROM lanes w WHERE w.user = r.value ->> 0 AND w.connection = r.value ->> 1 AND w.seq > 0
    )
"""
LET_GO = """
    DELETE FROM claims WHERE (connection, user) IN (
        SELECT CAST(r.value ->> 1 AS TEXT), CAST(r.value ->> 0 AS INTEGER) FROM json_each(:rows) r
    )
"""
RELEASE = """
    UPDATE lanes SET due_ms = r.value ->> 2, attempts = r.value ->> 3, failing_since_ms = r.value ->> 4,
        code = r.value ->> 5, detail = r.value ->> 6, sole_seq = NULL
    FROM json_each(:rows) r WHERE lanes.user = r.value ->> 0 AND lanes.connection = r.value ->> 1 AND lanes.seq = 0
"""
REMEMBER = """
    INSERT INTO memory (user, connection, key, value)
    SELECT r.value ->> 0, r.value ->> 1, r.value ->> 2, r.value -> 3 FROM json_each(:rows) r WHERE true
    ON CONFLICT DO UPDATE SET value = excluded.value
"""
FORGET = "DELETE FROM memory WHERE value = 'null'"
COUNT = """
    INSERT INTO counts (connection, word, reason, facts)
    SELECT r.value ->> 0, r.value ->> 1, r.value ->> 2, r.value ->> 3 FROM json_each(:rows) r WHERE true
    ON CONFLICT DO UPDATE SET facts = facts + excluded.facts
"""


def _record(database: sqlite3.Connection, settles: Sequence[Settle]) -> None:
    done = [(settle, finished) for settle in settles for finished in settle.settlement.finished]
    with erase.thoroughly(database) if any(finished.unkept for _, finished in done) else nullcontext():
        _record_done(database, settles, done)
    released = [settle for settle in settles if settle.settlement.release]
    _execute(database, LET_GO, (_key(settle) for settle in released))
    _execute(database, GONE, (_key(settle) for settle in released))
    _execute(database, RELEASE, (_release_row(settle) for settle in released))
    _execute(database, COUNT, count_outcomes((settle.settlement.connection, finished) for settle, finished in done))


def _record_done(
    database: sqlite3.Connection, settles: Sequence[Settle], done: Sequence[tuple[Settle, Finished]]
) -> None:
    _execute(database, LEDGER, (_ledger_row(settle, finished) for settle, finished in done))
    _execute(database, DONE, ((*_key(settle), finished.seq) for settle, finished in done))
    _execute(
        database,
        PROGRESS,
        ((*_key(settle), seq, state) for settle in settles for seq, state in settle.settlement.progress.items()),
    )
    for settle, finished in done:
        if finished.is_wish:
            erase.finish(database, settle.settlement.connection, settle.settlement.user, finished.seq)
    unkept = [finished.seq for _, finished in done if finished.unkept]
    if unkept:
        erase.remove(database, unkept, dead=False)
    _remember(database, settles)


def _execute(database: sqlite3.Connection, statement: str, rows: Iterable[Any]) -> list[Any]:
    """Run a statement over rows given as JSON, unless there are none."""
    given = list(rows)
    if not given:
        return []
    return database.execute(statement, {"rows": msgspec.json.encode(given).decode()}).fetchall()


def _key(settle: Settle) -> tuple[int, str]:
    return settle.settlement.user, settle.settlement.connection


def _ledger_row(settle: Settle, finished: Finished) -> tuple[Any, ...]:
    return finished.seq, settle.settlement.connection, settle.now_ms, count_dead(finished), finished.outcomes


def _release_row(settle: Settle) -> tuple[Any, ...]:
    of = settle.settlement
    return *_key(settle), of.due_ms, of.attempts, of.failing_since_ms, of.reason.code, of.reason.detail


def stored_key(key: str) -> str:
    """Return a memory key as it is stored: SQLite's JSON functions cut a text at NUL."""
    return ESCAPED + msgspec.json.encode(key).decode() if "\0" in key or key.startswith(ESCAPED) else key


def plain_key(stored: str) -> str:
    """Return the memory key of a stored one."""
    return msgspec.json.decode(stored[1:], type=str) if stored.startswith(ESCAPED) else stored


def _remember(database: sqlite3.Connection, settles: Sequence[Settle]) -> None:
    rows = [
        (
            SHARED if memo.shared else settle.settlement.user,
            settle.settlement.connection,
            stored_key(memo.key),
            memo.value,
        )
        for settle in settles
        for memo in settle.settlement.memos
    ]
    _execute(database, REMEMBER, rows)
    if any(value is None for *_, value in rows):
        database.execute(FORGET)
