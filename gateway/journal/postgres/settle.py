"""Settlements of claimed lanes, many in a few statements.

If the answer to a commit is lost with the connection, the settlement is repeated; it is recorded and counted once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.journal.operations import Operation
from gateway.journal.postgres import erase
from gateway.journal.postgres.link import Connection
from gateway.journal.rows import count_dead, count_outcomes
from gateway.journal.types import Finished, Settlement

SHARED = 0  # the user under which a connection's shared memory is kept


@dataclass(frozen=True, slots=True)
class Settle(Operation[bool]):
    """Record this settlement as of ``now_ms``."""

    settlement: Settlement
    now_ms: int


HOLD = """
    SELECT l.user_hash, l.connection, l.fence FROM lanes l
    JOIN unnest($1::bigint[], $2::text[]) k (user_hash, connection)
    ON l.user_hash = k.user_hash AND l.connection = k.connection
    ORDER BY l.user_hash, l.connection FOR UPDATE OF l
"""
DONE = """
    WITH done AS MATERIALIZED (
        SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::integer[], $6::text[])
        d (user_hash, connection, seq, at_ms, dead, outcomes)
    ),
    gone AS (
        DELETE FROM work USING done
        WHERE work.user_hash = done.user_hash AND work.connection = done.connection AND work.seq = done.seq
        RETURNING done.*
    )
    INSERT INTO ledger (user_hash, connection, seq, at_ms, dead, outcomes) SELECT * FROM gone
    RETURNING user_hash, connection, seq
"""
PROGRESS = """
    UPDATE work SET progress = p.progress
    FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[]) p (user_hash, connection, seq, progress)
    WHERE work.user_hash = p.user_hash AND work.connection = p.connection AND work.seq = p.seq
"""
REMEMBER = """
    INSERT INTO memory (user_hash, connection, key, value)
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[]) m (user_hash, connection, key, value)
    ORDER BY 1, 2, 3
    ON CONFLICT (user_hash, connection, key) DO UPDATE SET value = excluded.value
"""
FORGET = """
    DELETE FROM memory USING unnest($1::bigint[], $2::text[], $3::text[]) m (user_hash, connection, key)
    WHERE memory.user_hash = m.user_hash AND memory.connection = m.connection AND memory.key = m.key
"""
RELEASE = """
    WITH given AS MATERIALIZED (
        SELECT g.*, EXISTS (
            SELECT 1 FROM work w WHERE w.user_hash = g.user_hash AND w.connection = g.connection
        ) AS has_work
        FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::integer[], $5::bigint[], $6::text[], $7::text[])
        g (user_hash, connection, due_ms, attempts, failing_since_ms, code, detail)
    ),
    gone AS (
        DELETE FROM lanes USING given g
        WHERE lanes.user_hash = g.user_hash AND lanes.connection = g.connection AND NOT g.has_work
    )
    UPDATE lanes SET owner = NULL, due_ms = g.due_ms, attempts = g.attempts,
        failing_since_ms = g.failing_since_ms, code = g.code, detail = g.detail
    FROM given g WHERE lanes.user_hash = g.user_hash AND lanes.connection = g.connection AND g.has_work
"""
COUNT = """
    INSERT INTO counts (shard, connection, word, reason, facts)
    SELECT $1, c.* FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[]) c (connection, word, reason, facts)
    ORDER BY 2, 3, 4
    ON CONFLICT (shard, connection, word, reason) DO UPDATE SET facts = counts.facts + excluded.facts
"""


async def settle(connection: Connection, settles: Sequence[Settle], shard: int) -> list[bool]:
    """Carry out Settles inside a transaction; return for each whether its claim still held.

    Their lanes are locked first, so that their content does not change meanwhile.
    """
    held = {tuple(row) for row in await _execute(connection, HOLD, {_key(one): None for one in settles})}
    results = [(*_key(one), one.settlement.fence) in held for one in settles]
    await _record(connection, [one for one, holds in zip(settles, results, strict=True) if holds], shard)
    return results


async def _record(connection: Connection, settles: Sequence[Settle], shard: int) -> None:
    done = {(*_key(one), finished.seq): (one, finished) for one in settles for finished in one.settlement.finished}
    rows = await _execute(connection, DONE, (_done_row(one, finished) for one, finished in done.values()))
    news = [done[tuple(row)] for row in rows]
    for one, finished in news:
        if finished.is_wish:
            await erase.finish(connection, one.settlement.connection, one.settlement.user, finished.seq)
    unkept = [(one.settlement.user, finished.seq) for one, finished in news if finished.unkept]
    await erase.remove(connection, unkept, dead=False)
    progress = {(*_key(one), seq): state for one in settles for seq, state in one.settlement.progress.items()}
    await _execute(connection, PROGRESS, ((*key, _json(state)) for key, state in progress.items()))
    await _remember(connection, settles)
    released = {_key(one): one.settlement for one in settles if one.settlement.release}
    await _execute(connection, RELEASE, ((*key, *_release_row(of)) for key, of in released.items()))
    counted = count_outcomes(((one.settlement.connection, finished) for one, finished in news), _text)
    if counted:
        await connection.execute(COUNT, shard, *map(list, zip(*counted, strict=True)))


async def _remember(connection: Connection, settles: Sequence[Settle]) -> None:
    memos = {
        (SHARED if memo.shared else one.settlement.user, one.settlement.connection, _json(memo.key)): memo.value
        for one in settles
        for memo in one.settlement.memos
    }
    kept = [(*key, _json(value)) for key, value in memos.items() if value is not None]
    await _execute(connection, REMEMBER, kept)
    await _execute(connection, FORGET, [key for key, value in memos.items() if value is None])


async def _execute(connection: Connection, statement: str, rows: Iterable[Any]) -> list[Any]:
    """Run a statement over rows given as columns, unless there are none."""
    columns = list(map(list, zip(*rows, strict=True)))
    return list(await connection.fetch(statement, *columns)) if columns else []


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _key(one: Settle) -> tuple[int, str]:
    return one.settlement.user, one.settlement.connection


def _done_row(one: Settle, finished: Finished) -> tuple[Any, ...]:
    return *_key(one), finished.seq, one.now_ms, count_dead(finished), _json(finished.outcomes)


def _release_row(of: Settlement) -> tuple[Any, ...]:
    return of.due_ms, of.attempts, of.failing_since_ms, of.reason.code, _text(of.reason.detail)


def _text(value: str) -> str:
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}")
