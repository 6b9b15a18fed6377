"""Look-ups in the journal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.journal.backlog import Backlog, Gate, make_backlog
from gateway.journal.operations import Operation, group_by_kind
from gateway.journal.postgres import accounts, erase, gates
from gateway.journal.postgres.indexing import seqs
from gateway.journal.postgres.link import Connection
from gateway.journal.postgres.settle import SHARED
from gateway.journal.rows import group_waiting, make_finished_status, make_found, make_waiting_status
from gateway.journal.types import Count, DeliveryStatus, FoundBatch, Tombstone


@dataclass(frozen=True, slots=True)
class SharedMemory(Operation[dict[str, Any]]):
    """Ask what a plugin remembers for its whole connection."""

    connection: str


@dataclass(frozen=True, slots=True)
class CheckLaneEmpty(Operation[bool]):
    """Ask whether no work older than ``before_seq`` is left in a lane."""

    user: int
    connection: str
    before_seq: int


@dataclass(frozen=True, slots=True)
class CheckTombstone(Operation[Tombstone | None]):
    """Ask for the tombstone of these names."""

    connection: str
    names: tuple[bytes, ...]


REMEMBERED = "SELECT connection, key, value FROM memory WHERE user_hash = $1 AND connection = ANY($2)"
NOT_EMPTY = """
    SELECT l.user_hash, l.connection, l.before_seq
    FROM unnest($1::bigint[], $2::text[], $3::bigint[]) l (user_hash, connection, before_seq) WHERE EXISTS (
        SELECT 1 FROM work w WHERE w.user_hash = l.user_hash AND w.connection = l.connection AND w.seq < l.before_seq
    )
"""
TOMBSTONES = """
    SELECT n.number, max(w.before_ms), bool_or(EXISTS (
        SELECT 1 FROM work k WHERE k.user_hash = w.user_hash AND k.connection = w.connection AND k.seq = w.seq
    ))
    FROM unnest($1::integer[], $2::bytea[], $3::text[]) n (number, name, connection)
    JOIN wishes w ON w.name = n.name AND w.connection = n.connection GROUP BY 1
"""
NEXT_DUE = """
    SELECT min(d.due_ms) FROM unnest($1::text[]) c (connection) CROSS JOIN LATERAL (
        SELECT due_ms FROM lanes WHERE connection = c.connection AND owner IS NULL ORDER BY due_ms LIMIT 1
    ) d
"""
LEFT_OF = """
    SELECT EXISTS (
        SELECT 1 FROM batches b JOIN work w ON w.user_hash = b.user_hash AND w.seq = b.seq AND w.connection = $1
        WHERE b.seq = ANY($2) AND b.seq < $3
    )
"""
COUNTS = """
    SELECT connection, word, reason, sum(facts)::bigint FROM counts GROUP BY 1, 2, 3
    ORDER BY connection COLLATE "C", word COLLATE "C", reason COLLATE "C"
"""
LANES = """
    SELECT connection, code, detail, owner IS NOT NULL AS claimed, count(*), max(due_ms), max(attempts),
        min(nullif(failing_since_ms, 0))
    FROM lanes GROUP BY 1, 2, 3, 4 ORDER BY connection COLLATE "C", claimed, count(*) DESC
"""
OLDEST = """
    SELECT w.connection, w.batches, (SELECT min(received_ms) FROM batches WHERE seq = w.oldest) FROM (
        SELECT connection, count(*) AS batches, min(seq) AS oldest FROM work GROUP BY connection
    ) w ORDER BY connection COLLATE "C"
"""
ERASURES = """
    SELECT seq FROM receipts UNION SELECT seq FROM wishes WHERE seq <> 0 ORDER BY seq DESC LIMIT $1
"""
FOUND = """
    SELECT b.seq, b.user_hash, b.message, b.part, b.received_ms, b.dialect, b.body, r.replay, p.created_ms
    FROM batches b LEFT JOIN replayed r ON r.user_hash = b.user_hash AND r.seq = b.seq
    LEFT JOIN replays p ON p.id = r.replay WHERE b.seq = ANY($1) ORDER BY b.seq
"""
FINISHED = """
    SELECT connection, at_ms, outcomes FROM ledger WHERE user_hash = $1 AND seq = $2 ORDER BY connection COLLATE "C"
"""
WAITING = """
    SELECT w.connection, w.progress, l.due_ms, l.attempts, l.code, l.detail, l.owner IS NOT NULL,
        coalesce(a.trouble, '')
    FROM work w JOIN lanes l ON l.user_hash = w.user_hash AND l.connection = w.connection
    LEFT JOIN accounts a ON a.connection = w.connection
    WHERE w.user_hash = $1 AND w.seq = $2 ORDER BY w.connection COLLATE "C"
"""


async def look(connection: Connection, looks: Sequence[Any]) -> list[Any]:
    """Answer SharedMemory, CheckLaneEmpty and CheckTombstone, those of a kind with one statement."""
    results: list[Any] = [None] * len(looks)
    kinds: dict[type, Callable[[Connection, list[Any]], Awaitable[list[Any]]]] = {
        SharedMemory: _remembered,
        CheckLaneEmpty: _empty,
        CheckTombstone: _tombstones,
    }
    for kind, places in group_by_kind(looks).items():
        answers = await kinds[kind](connection, [looks[place] for place in places])
        for place, answer in zip(places, answers, strict=True):
            results[place] = answer
    return results


async def _remembered(connection: Connection, looks: list[SharedMemory]) -> list[dict[str, Any]]:
    rows = await connection.fetch(REMEMBERED, SHARED, list({one.connection for one in looks}))
    return [
        {msgspec.json.decode(key): msgspec.json.decode(value) for name, key, value in rows if name == one.connection}
        for one in looks
    ]


async def _empty(connection: Connection, looks: list[CheckLaneEmpty]) -> list[bool]:
    lanes = [(one.user, one.connection, one.before_seq) for one in looks]
    not_empty = {tuple(row) for row in await connection.fetch(NOT_EMPTY, *map(list, zip(*lanes, strict=True)))}
    return [lane not in not_empty for lane in lanes]


async def _tombstones(connection: Connection, looks: list[CheckTombstone]) -> list[Tombstone | None]:
    names = [(number, name, one.connection) for number, one in enumerate(looks) for name in one.names]
    columns = map(list, zip(*names, strict=True)) if names else ([], [], [])
    found = {
        number: Tombstone(before_ms=before_ms, is_under_way=is_under_way)
        for number, before_ms, is_under_way in await connection.fetch(TOMBSTONES, *columns)
    }
    return [found.get(number) for number in range(len(looks))]


async def salt(connection: Connection) -> bytes:
    """Return the salt of this journal's ids."""
    found: bytes = await connection.fetchval("SELECT salt FROM origin")
    return found


async def next_due_ms(connection: Connection, connections: Sequence[str]) -> int | None:
    """Return when the next unclaimed lane of these connections is due; None if there is none."""
    due: int | None = await connection.fetchval(NEXT_DUE, connections)
    return due


async def backlog(connection: Connection) -> list[Backlog]:
    """Return the backlog and the closed gates by connection."""
    waiting = group_waiting(await connection.fetch(LANES))
    oldest = {name: (batches, at_ms) for name, batches, at_ms in await connection.fetch(OLDEST)}
    trouble = {one.connection: one.trouble for one in await accounts.sealed(connection, None)}
    return make_backlog(oldest, waiting, await gates.closed(connection), trouble)


async def counts(connection: Connection) -> list[Count]:
    """Return the counts of facts by connection, state and reason."""
    return [Count(connection=c, state=w, reason=r, facts=n) for c, w, r, n in await connection.fetch(COUNTS)]


async def is_dealt_with(connection: Connection, name: str, ref: bytes, before_seq: int) -> bool:
    """Return whether no older work is left on this connection of batches in which this hashed id was found."""
    found = await seqs(connection, [ref])
    ((is_left,),) = await connection.fetch(LEFT_OF, name, found, before_seq)
    return not is_left


async def find(connection: Connection, wanted: Sequence[bytes], limit: int) -> list[FoundBatch]:
    """Return the newest batches that have one of these ids, oldest first."""
    return await _find_all(connection, (await seqs(connection, wanted))[-limit:])


async def erasures(connection: Connection, limit: int) -> list[FoundBatch]:
    """Return the newest erasures, oldest first."""
    return await _find_all(connection, [row[0] for row in await connection.fetch(ERASURES, limit)])


async def _find_all(connection: Connection, known: Sequence[int]) -> list[FoundBatch]:
    closed = await gates.closed(connection)
    return [await _found(connection, row, closed) for row in await connection.fetch(FOUND, known)]


async def _found(connection: Connection, row: Sequence[Any], closed: Mapping[str, Sequence[Gate]]) -> FoundBatch:
    seq, user = row[:2]
    return make_found(row, (*await _finished(connection, user, seq), *await _waiting(connection, user, seq, closed)))


async def _finished(connection: Connection, user: int, seq: int) -> list[DeliveryStatus]:
    rows = await connection.fetch(FINISHED, user, seq)
    return [make_finished_status(row, await erase.receipt(connection, seq, row[0])) for row in rows]


async def _waiting(
    connection: Connection, user: int, seq: int, closed: Mapping[str, Sequence[Gate]]
) -> list[DeliveryStatus]:
    rows = await connection.fetch(WAITING, user, seq)
    return [make_waiting_status(row, closed, await erase.receipt(connection, seq, row[0])) for row in rows]
