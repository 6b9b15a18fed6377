"""Closed gates, recorded for the next dispatcher and for operators; and pauses by operators."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.journal.backlog import Gate
from gateway.journal.rows import group_gates, make_closings
from gateway.journal.shared_limits import MAX_MS, OPERATOR, PAUSED, ClosedGate, SharedLimits, governing
from gateway.journal.sqlite.operations import SqliteOperation


@dataclass(frozen=True, slots=True)
class PublishGates(SqliteOperation[None]):
    """Publish the gates that a dispatcher closed."""

    connection: str
    owner: str
    closings: tuple[ClosedGate, ...]
    now_ms: int

    def run(self, database: sqlite3.Connection) -> None:
        """Record the closures; a longer one of a scope stays."""
        for one in self.closings:
            until_ms, why = self.now_ms + one.left_ms, (one.reason.code, one.reason.detail)
            if one.scope is None:
                database.execute(REST, (self.connection, self.owner, until_ms, *why))
            else:
                database.execute(CLOSE, (self.connection, one.scope, until_ms, *why, self.owner))


@dataclass(frozen=True, slots=True)
class Pause(SqliteOperation[bool]):
    """Pause a connection for ``left_ms`` (None: until resumed), or resume it (0)."""

    connection: str
    left_ms: int | None
    now_ms: int

    def run(self, database: sqlite3.Connection) -> bool:
        """Return whether a pause ended."""
        if self.left_ms == 0:
            ended = database.execute(RESUME, (self.connection, OPERATOR)).fetchall()
            return any(until_ms == 0 or until_ms > self.now_ms for (until_ms,) in ended)
        until_ms = 0 if self.left_ms is None else self.now_ms + self.left_ms
        database.execute(REST, (self.connection, OPERATOR, until_ms, PAUSED.code, PAUSED.detail))
        return False


CLOSE = """
    INSERT INTO gates (connection, scope, until_ms, code, detail, owner) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET until_ms = excluded.until_ms, code = excluded.code, detail = excluded.detail,
        owner = excluded.owner
    WHERE gates.until_ms < excluded.until_ms
"""
REST = """
    INSERT INTO rests (connection, owner, until_ms, code, detail) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET until_ms = excluded.until_ms, code = excluded.code, detail = excluded.detail
"""
RESUME = "DELETE FROM rests WHERE connection = ? AND owner = ? RETURNING until_ms"
HEAR = """
    SELECT scope, until_ms - :now_ms, code, detail FROM gates
    WHERE connection = :connection AND owner <> :owner AND until_ms BETWEEN :now_ms + 1 AND :now_ms + :most_ms
"""
IS_PAUSED = """
    SELECT EXISTS (
        SELECT 1 FROM rests JOIN json_each(:names) n ON connection = n.value
        WHERE owner = :operator AND (until_ms = 0 OR until_ms > :now_ms)
    )
"""
CLOSED = """
    SELECT connection, NULL AS scope, max(until_ms), code, detail FROM rests
    WHERE owner = :operator AND (until_ms = 0 OR until_ms > :now_ms)
        OR owner <> :operator AND until_ms BETWEEN :now_ms + 1 AND :now_ms + :most_ms
    GROUP BY connection, code, detail
    UNION ALL
    SELECT connection, scope, until_ms, code, detail FROM gates
    WHERE until_ms BETWEEN :now_ms + 1 AND :now_ms + :most_ms
    ORDER BY connection, scope
"""
SUCCEED = "DELETE FROM rests WHERE owner <> ?"
FORGET = (
    "DELETE FROM gates WHERE until_ms NOT BETWEEN :now_ms AND :now_ms + :most_ms",
    "DELETE FROM rests WHERE owner = :operator AND until_ms BETWEEN 1 AND :now_ms",
)


def apply_remote(database: sqlite3.Connection, connection: str, owner: str, now_ms: int) -> SharedLimits:
    """Return the closures that another dispatcher published before, and whether an operator paused the connection."""
    names = msgspec.json.encode(governing(connection)).decode()
    given = {"connection": connection, "owner": owner, "names": names, **_now(now_ms)}
    told = database.execute(HEAR, given).fetchall()
    return SharedLimits(
        closings=make_closings(told),
        paused=bool(database.execute(IS_PAUSED, given).fetchone()[0]),
    )


def closed(database: sqlite3.Connection, now_ms: int) -> dict[str, list[Gate]]:
    """Return every closed gate by connection."""
    return group_gates(database.execute(CLOSED, _now(now_ms)))


def succeed(database: sqlite3.Connection) -> None:
    """Forget the connections that an earlier dispatcher closed: the new one finds out by itself."""
    database.execute(SUCCEED, (OPERATOR,))


def forget(database: sqlite3.Connection, now_ms: int) -> None:
    """Forget gates that are open again, and closures too far in the future."""
    for statement in FORGET:
        database.execute(statement, _now(now_ms))


def _now(now_ms: int) -> dict[str, Any]:
    return {"now_ms": now_ms, "most_ms": MAX_MS, "operator": OPERATOR}
