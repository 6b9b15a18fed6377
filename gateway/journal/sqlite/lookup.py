"""Look-ups in the journal, and the removal of old batches."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from operator import itemgetter
from typing import Any

import msgspec

from gateway.clock import now_ms as the_time
from gateway.journal.backlog import Backlog, Gate, make_backlog
from gateway.journal.rows import group_waiting, make_finished_status, make_found, make_waiting_status
from gateway.journal.sqlite import accounts, arrivals, erase, gates, refs, replay
from gateway.journal.sqlite.operations import SqliteOperation
from gateway.journal.sqlite.settle import SHARED, plain_key
from gateway.journal.types import Count, DeliveryStatus, FoundBatch
from gateway.journal.wait_reasons import WaitReason

ERASURES = """
    SELECT seq FROM receipts UNION SELECT seq FROM wishes WHERE seq != 0 ORDER BY seq DESC LIMIT ?
"""
FOUND = """
    SELECT b.seq, b.user, b.message, b.part, b.received_ms, b.dialect, b.body, r.replay, p.created_ms FROM batches b
    LEFT JOIN replayed r ON r.seq = b.seq LEFT JOIN replays p ON p.id = r.replay
    WHERE b.seq IN (SELECT value FROM json_each(?)) ORDER BY b.seq
"""


@dataclass(frozen=True, slots=True)
class Ping(SqliteOperation[None]):
    """Prove that the journal can be written, by writing."""

    now_ms: int

    def run(self, database: sqlite3.Connection) -> None:
        """Write."""
        database.execute(PING, (self.now_ms,))


@dataclass(frozen=True, slots=True)
class Wake(SqliteOperation[None]):
    """Make the lanes of a connection due that were given back for this reason."""

    connection: str
    reason: WaitReason
    now_ms: int

    def run(self, database: sqlite3.Connection) -> None:
        """Make the lanes due."""
        why = {"code": self.reason.code, "detail": self.reason.detail}
        database.execute(ROUSE, {"connection": self.connection, "now_ms": self.now_ms, **why})


@dataclass(frozen=True, slots=True)
class RescheduleAfterClockJump(SqliteOperation[int]):
    """Make up to ``limit`` lanes due that were put off until after then."""

    after_ms: int
    now_ms: int
    limit: int

    def run(self, database: sqlite3.Connection) -> int:
        """Return how many lanes were made due."""
        given = {name: getattr(self, name) for name in ("after_ms", "now_ms", "limit")}
        return len(database.execute(RECALL, given).fetchall())


@dataclass(frozen=True, slots=True)
class Crashed(SqliteOperation[None]):
    """Count a crash of the process on an item."""

    connection: str
    user: int
    seq: int
    doing: str

    def run(self, database: sqlite3.Connection) -> None:
        """Count the crash."""
        given = {name: getattr(self, name) for name in ("doing", "user", "connection", "seq")}
        database.execute(CRASHED, given)


@dataclass(frozen=True, slots=True)
class CheckRefFinished(SqliteOperation[bool]):
    """Ask whether no work older than ``before_seq`` is left of batches in which this hashed id was found."""

    connection: str
    ref: bytes
    before_seq: int

    def run(self, database: sqlite3.Connection) -> bool:
        """Return whether none is left."""
        older = [seq for seq in refs.seqs(database, [self.ref]) if seq < self.before_seq]
        given = {"connection": self.connection, "seqs": msgspec.json.encode(older).decode()}
        return database.execute(LEFT_OF, given).fetchone() is None


@dataclass(frozen=True, slots=True)
class Prune(SqliteOperation[int | None]):
    """Forget, among the next ``limit`` batches, those that are finished and older than these times."""

    before_ms: int
    dead_before_ms: int
    after_seq: int
    limit: int

    def run(self, database: sqlite3.Connection) -> int | None:
        """Return the last batch that was looked at, or None once a younger one was met."""
        given = {name: getattr(self, name) for name in ("before_ms", "dead_before_ms", "after_seq", "limit")}
        looked_at = database.execute(OLD, given).fetchall()
        old = list(takewhile(itemgetter(1), looked_at))
        forgotten = [seq for seq, _, is_done in old if is_done]
        if forgotten:
            for statement in FORGETTING:
                database.execute(statement, {"seqs": msgspec.json.encode(forgotten).decode()})
            refs.forget(database, max(forgotten))
        erase.forget(database, forgotten, self.dead_before_ms)
        replay.forget(database, forgotten, self.dead_before_ms)
        accounts.forget(database, self.before_ms)
        gates.forget(database, the_time())
        return old[-1][0] if len(old) == self.limit else None


PING = """
    INSERT INTO memory (user, connection, key, value) VALUES (0, '', 'ping', ?)
    ON CONFLICT DO UPDATE SET value = excluded.value
"""
CRASHED = """
    UPDATE lanes SET crashes = crashes + (seq > 0), crashed_in = iif(seq > 0, :doing, NULL), sole_seq = NULL
    WHERE user = :user AND connection = :connection AND seq IN (0, :seq)
"""
WAITING = """
    WITH heads (connection, code, detail, claimed, due_ms, attempts, failing_since_ms) AS (
        SELECT l.connection, l.code, l.detail, c.user IS NOT NULL, l.due_ms, l.attempts, l.failing_since_ms
        FROM lanes l LEFT JOIN claims c ON c.connection = l.connection AND c.user = l.user WHERE seq = 0
        UNION ALL
        SELECT connection, '', '', 0, min(due_ms), 0, 0 FROM arrived a WHERE NOT EXISTS (
            SELECT 1 FROM lanes l WHERE l.user = a.user AND l.connection = a.connection
        ) GROUP BY connection, user
    )
    SELECT connection, code, detail, claimed, count(*), max(due_ms), max(attempts), min(nullif(failing_since_ms, 0))
    FROM heads GROUP BY connection, code, detail, claimed ORDER BY connection, claimed, count(*) DESC
"""
OLDEST = """
    SELECT w.connection, w.batches, (SELECT received_ms FROM batches WHERE seq = w.oldest) FROM (
        SELECT connection, count(*) AS batches, min(seq) AS oldest FROM (
            SELECT connection, seq FROM lanes WHERE seq > 0 UNION ALL SELECT connection, seq FROM arrived
        ) GROUP BY connection
    ) w ORDER BY connection
"""
TROUBLE = "SELECT connection, trouble FROM accounts WHERE trouble <> ''"
OLDER = "SELECT 1 FROM lanes WHERE user = ? AND connection = ? AND seq > 0 AND seq < ? LIMIT 1"
OLD = f"""
    SELECT b.seq, b.received_ms < :before_ms, NOT {erase.WAITS} AND NOT EXISTS (
        SELECT 1 FROM ledger l WHERE l.seq = b.seq AND l.dead > 0 AND b.received_ms >= :dead_before_ms
    )
    FROM batches b WHERE b.seq > :after_seq ORDER BY b.seq LIMIT :limit
"""
ANY_DUE = """
    SELECT 1 FROM lanes l WHERE seq = 0 AND connection = ? AND due_ms <= ?
    AND NOT EXISTS (SELECT 1 FROM claims c WHERE c.connection = l.connection AND c.user = l.user) LIMIT 1
"""
FORGETTING = (
    "DELETE FROM ledger WHERE seq IN (SELECT value FROM json_each(:seqs))",
    "DELETE FROM batches WHERE seq IN (SELECT value FROM json_each(:seqs))",
)
ROUSE = """
    UPDATE lanes SET due_ms = min(due_ms, :now_ms) WHERE seq = 0 AND connection = :connection
    AND code = :code AND detail = :detail
"""
RECALL = """
    WITH RECURSIVE names (name) AS (
        SELECT min(connection) FROM lanes WHERE seq = 0
        UNION ALL
        SELECT (SELECT min(connection) FROM lanes WHERE seq = 0 AND connection > name) FROM names
        WHERE name IS NOT NULL
    )
    UPDATE lanes SET due_ms = :now_ms FROM (
        SELECT l.user, l.connection FROM names JOIN lanes l ON l.connection = name
        WHERE l.seq = 0 AND l.due_ms > :after_ms LIMIT :limit
    ) off
    WHERE lanes.user = off.user AND lanes.connection = off.connection AND lanes.seq = 0 RETURNING 1
"""
LEFT_OF = """
    SELECT 1 FROM json_each(:seqs) s JOIN batches b ON b.seq = s.value
    JOIN lanes w ON w.user = b.user AND w.connection = :connection AND w.seq = b.seq LIMIT 1
"""


def any_due(database: sqlite3.Connection, connections: Sequence[str], now_ms: int) -> bool:
    """Return whether one of these connections has a lane that is due, or may have one."""
    return any(
        arrivals.any_left_for(database, name) or database.execute(ANY_DUE, (name, now_ms)).fetchone()
        for name in connections
    )


def shared_memory(database: sqlite3.Connection, connection: str) -> dict[str, Any]:
    """Return what a plugin remembers for its whole connection."""
    rows = database.execute("SELECT key, value FROM memory WHERE user = ? AND connection = ?", (SHARED, connection))
    return {plain_key(key): msgspec.json.decode(value) for key, value in rows.fetchall()}


def lane_is_empty(database: sqlite3.Connection, connection: str, user: int, before_seq: int) -> bool:
    """Return whether no work older than ``before_seq`` is left in a lane."""
    return database.execute(OLDER, (user, connection, before_seq)).fetchone() is None


def backlog(database: sqlite3.Connection, now_ms: int) -> list[Backlog]:
    """Return the backlog and the closed gates by connection."""
    waiting = group_waiting(database.execute(WAITING))
    oldest = {connection: (batches, at_ms) for connection, batches, at_ms in database.execute(OLDEST)}
    trouble = dict(database.execute(TROUBLE).fetchall())
    return make_backlog(oldest, waiting, gates.closed(database, now_ms), trouble)


def free_bytes(database: sqlite3.Connection) -> int:
    """Return the free bytes inside the file."""
    pages, size = (database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_size"))
    return int(pages * size)


def counts(database: sqlite3.Connection) -> list[Count]:
    """Return the counts of facts by connection, state and reason."""
    rows = database.execute("SELECT connection, word, reason, facts FROM counts ORDER BY connection, word, reason")
    return [Count(connection=c, state=w, reason=r, facts=n) for c, w, r, n in rows.fetchall()]


def find(database: sqlite3.Connection, wanted: Sequence[bytes], limit: int) -> list[FoundBatch]:
    """Return the newest batches that have one of these ids, oldest first."""
    return _find_all(database, refs.seqs(database, wanted)[-limit:])


def erasures(database: sqlite3.Connection, limit: int) -> list[FoundBatch]:
    """Return the newest erasures, oldest first."""
    return _find_all(database, [seq for (seq,) in database.execute(ERASURES, (limit,)).fetchall()])


def _find_all(database: sqlite3.Connection, seqs: Sequence[int]) -> list[FoundBatch]:
    rows = database.execute(FOUND, (msgspec.json.encode(seqs).decode(),)).fetchall()
    closed = gates.closed(database, the_time())
    return [_found(database, row, closed) for row in rows]


def _found(database: sqlite3.Connection, row: Sequence[Any], closed: Mapping[str, Sequence[Gate]]) -> FoundBatch:
    seq, user = row[:2]
    return make_found(row, (*_finished(database, seq), *_waiting(database, seq, user, closed)))


def _finished(database: sqlite3.Connection, seq: int) -> list[DeliveryStatus]:
    rows = database.execute("SELECT connection, at_ms, outcomes FROM ledger WHERE seq = ? ORDER BY connection", (seq,))
    return [make_finished_status(row, erase.receipt(database, seq, row[0])) for row in rows.fetchall()]


def _waiting(
    database: sqlite3.Connection, seq: int, user: int, closed: Mapping[str, Sequence[Gate]]
) -> list[DeliveryStatus]:
    rows = database.execute(
        """
        SELECT w.connection, w.progress, coalesce(l.due_ms, w.due_ms), coalesce(l.attempts, 0), coalesce(l.code, ''),
            coalesce(l.detail, ''), c.user IS NOT NULL, coalesce(a.trouble, '')
        FROM (
            SELECT user, connection, progress, due_ms FROM lanes WHERE user = :user AND seq = :seq
            UNION ALL
            SELECT user, connection, NULL, due_ms FROM arrived WHERE seq = :seq
            AND first_seq = (SELECT max(first_seq) FROM arrivals WHERE first_seq <= :seq)
        ) w
        LEFT JOIN lanes l ON l.user = w.user AND l.connection = w.connection AND l.seq = 0
        LEFT JOIN claims c ON c.user = w.user AND c.connection = w.connection
        LEFT JOIN accounts a ON a.connection = w.connection
        ORDER BY w.connection
        """,
        {"user": user, "seq": seq},
    )
    return [make_waiting_status(row, closed, erase.receipt(database, seq, row[0])) for row in rows.fetchall()]
