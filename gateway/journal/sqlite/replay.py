"""Replays in SQLite: the selection, the redelivered batches, and the progress."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.journal.replays import (
    Chosen,
    PickedFacts,
    Replay,
    ReplayOrigin,
    Selection,
    choose_all,
    find_cut,
    make_picked,
)
from gateway.journal.rows import make_replay, read_later, read_outcomes, why_withdrawn
from gateway.journal.sqlite import refs
from gateway.journal.sqlite.operations import SqliteOperation
from gateway.journal.types import Entry, hash_ref


@dataclass(frozen=True, slots=True)
class Begin(SqliteOperation[None]):
    """Record a new replay."""

    replay: Replay

    def run(self, database: sqlite3.Connection) -> None:
        """Record it, for everything that the journal holds now."""
        one = self.replay
        database.execute(BEGIN, (one.id, one.created_ms, msgspec.json.encode(one.selection).decode(), one.rate))


@dataclass(frozen=True, slots=True)
class Advance(SqliteOperation[bool]):
    """Record the progress of a replay, unless it was aborted."""

    id: str
    cursor: int
    done: bool

    def run(self, database: sqlite3.Connection) -> bool:
        """Return false if it was aborted."""
        given = {name: getattr(self, name) for name in ("id", "cursor", "done")}
        return bool(database.execute(ADVANCE, given).rowcount)


@dataclass(frozen=True, slots=True)
class Abort(SqliteOperation[bool]):
    """Abort a replay."""

    id: str

    def run(self, database: sqlite3.Connection) -> bool:
        """Return whether the replay is known."""
        is_known = bool(database.execute(ABORT, (self.id,)).rowcount)
        database.execute(AT_ONCE, (self.id,))
        return is_known


BEGIN = """
    INSERT INTO replays (id, created_ms, selection, rate, upto, state)
    SELECT ?, ?, ?, ?, (SELECT coalesce(max(seq), 0) FROM batches), 'open'
"""
ADVANCE = """
    UPDATE replays SET cursor = max(cursor, :cursor), state = iif(:done, 'done', state)
    WHERE id = :id AND state != 'aborted'
"""
ABORT = "UPDATE replays SET state = 'aborted' WHERE id = ?"
AT_ONCE = """
    UPDATE lanes SET due_ms = 0 FROM replayed r JOIN batches b ON b.seq = r.seq
    JOIN lanes w ON w.user = b.user AND w.connection = r.connection AND w.seq = r.seq
    WHERE r.replay = ? AND lanes.user = w.user AND lanes.connection = w.connection AND lanes.seq = 0
"""
REPLAYED = """
    INSERT INTO replayed (seq, of_seq, connection, replay, facts)
    SELECT r.value ->> 0, r.value ->> 1, r.value ->> 2, r.value ->> 3, r.value ->> 4 FROM json_each(?) r
"""
ALL = """
    SELECT p.id, p.created_ms, p.selection, p.rate, p.upto, p.cursor, p.state, coalesce(sum(r.facts), 0), count(w.seq)
    FROM replays p LEFT JOIN replayed r ON r.replay = p.id LEFT JOIN batches b ON b.seq = r.seq
    LEFT JOIN lanes w ON w.user = b.user AND w.connection = r.connection AND w.seq = r.seq
    GROUP BY p.id ORDER BY p.created_ms, p.id
"""
WITHDRAWN = """
    SELECT EXISTS (SELECT 1 FROM replays WHERE id = ? AND state = 'aborted'),
        EXISTS (SELECT 1 FROM batches WHERE seq = ? AND body = x'')
"""
WINDOW = "SELECT seq FROM batches WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
FINISHED = """
    SELECT l.seq, l.connection, l.outcomes FROM json_each(:seqs) s
    JOIN batches b ON b.seq = s.value JOIN ledger l ON l.seq = b.seq
    WHERE b.dialect != 'replay'
    AND (:connection IS NULL OR l.connection = :connection
        OR substr(l.connection, 1, length(:connection) + 1) = :connection || '/')
    AND (:message IS NULL OR b.message = :message)
    AND b.received_ms >= coalesce(:since_ms, 0) AND (:until_ms IS NULL OR b.received_ms < :until_ms)
    ORDER BY l.seq, l.connection
"""
LATER = """
    SELECT r.of_seq, r.connection, l.outcomes FROM json_each(?) s JOIN replayed r ON r.of_seq = s.value
    LEFT JOIN ledger l ON l.seq = r.seq AND l.connection = r.connection ORDER BY r.seq
"""
SIZES = "SELECT b.seq, length(b.body) FROM json_each(?) s JOIN batches b ON b.seq = s.value ORDER BY b.seq"
DOCUMENTS = """
    SELECT seq, user, message, part, dialect, received_ms, body FROM batches
    WHERE seq IN (SELECT value FROM json_each(?))
"""
NEWEST = """
    CREATE TEMP TABLE IF NOT EXISTS newest AS
    SELECT b.user, l.connection, max(l.seq) AS seq FROM ledger l JOIN batches b ON b.seq = l.seq
    WHERE b.dialect != 'replay' AND EXISTS (
        SELECT 1 FROM json_each(l.outcomes) o WHERE o.value ->> 1 = 'delivered'
    ) GROUP BY 1, 2
"""
NEWEST_BY = "CREATE INDEX IF NOT EXISTS temp.newest_by ON newest (user, connection)"
IS_NEWER = "SELECT 1 FROM temp.newest WHERE user = ? AND connection = ? AND seq > ?"
MEMORY = "SELECT key, value FROM memory WHERE user = ? AND connection = ?"
FORGET = """
    DELETE FROM replays WHERE created_ms < ? AND NOT EXISTS (SELECT 1 FROM replayed r WHERE r.replay = replays.id)
"""


def add(database: sqlite3.Connection, stored: Sequence[tuple[int, Entry, ReplayOrigin]]) -> None:
    """Record the origins of batches that were just stored again."""
    rows = [(seq, again.of, entry.scope, again.replay, entry.facts) for seq, entry, again in stored]
    database.execute(REPLAYED, (_json(rows),))


def forget(database: sqlite3.Connection, seqs: Sequence[int], before_ms: int) -> None:
    """Forget the origins of removed batches, and old replays whose batches are all gone."""
    if seqs:
        database.execute("DELETE FROM replayed WHERE seq IN (SELECT value FROM json_each(?))", (_json(seqs),))
    database.execute(FORGET, (before_ms,))


def replays(database: sqlite3.Connection) -> list[Replay]:
    """Return every known replay."""
    return [make_replay(row) for row in database.execute(ALL).fetchall()]


def withdrawn(database: sqlite3.Connection, again: ReplayOrigin) -> str:
    """Return why a redelivered batch must not be sent."""
    is_aborted, is_erased = database.execute(WITHDRAWN, (again.replay, again.of)).fetchone()
    return why_withdrawn(is_aborted=is_aborted, is_erased=is_erased)


def pick(
    database: sqlite3.Connection,
    selection: Selection,
    salt: bytes,
    place: tuple[int, int, int],
    *,
    surveys: bool,
) -> tuple[list[PickedFacts], int | None]:
    """Return the facts that a selection matches in a range of batches; ``place`` is (after, up to, how many)."""
    seqs = _window(database, selection, salt, place)
    reached = seqs[-1] if len(seqs) == place[2] else None
    found = _chosen(database, selection, seqs)
    wanted = sorted({seq for seq, _ in found})
    last = find_cut(database.execute(SIZES, (_json(wanted),)))
    if last is not None:
        reached, wanted = last, [seq for seq in wanted if seq <= last]
    picked = make_picked(found, database.execute(DOCUMENTS, (_json(wanted),)).fetchall())
    if surveys:
        database.execute(NEWEST)
        database.execute(NEWEST_BY)
        picked = [_surveyed(database, one) for one in picked]
    return picked, reached


def _window(database: sqlite3.Connection, selection: Selection, salt: bytes, place: tuple[int, int, int]) -> list[int]:
    """Return the batches to examine, in order."""
    after, upto, limit = place
    if selection.message is None:
        return [seq for (seq,) in database.execute(WINDOW, place)]
    known = refs.seqs(database, [hash_ref(selection.message, salt)])
    return [seq for seq in known if after < seq <= upto][:limit]


def _chosen(database: sqlite3.Connection, selection: Selection, seqs: Sequence[int]) -> Chosen:
    names = ("connection", "message", "since_ms", "until_ms")
    given = {"seqs": _json(seqs), **{name: getattr(selection, name) for name in names}}
    finished = database.execute(FINISHED, given).fetchall()
    later = database.execute(LATER, (_json(seqs),)).fetchall()
    said = [(seq, name, read_outcomes(outcomes)) for seq, name, outcomes in finished]
    return choose_all(selection, said, map(read_later, later))


def _surveyed(database: sqlite3.Connection, one: PickedFacts) -> PickedFacts:
    memory = database.execute(MEMORY, (one.user, one.connection)).fetchall()
    return msgspec.structs.replace(
        one,
        newer=database.execute(IS_NEWER, (one.user, one.connection, one.seq)).fetchone() is not None,
        memory={key: msgspec.json.decode(value) for key, value in memory},
    )


def _json(values: Sequence[Any]) -> str:
    return msgspec.json.encode(values).decode()
