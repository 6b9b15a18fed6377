"""Pruning: old, finished batches are removed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile

from gateway.journal.postgres import accounts, erase, gates, indexing, replay
from gateway.journal.postgres.link import Connection

TURN = 7_166_405_236_113  # advisory lock: one node at a time prunes


@dataclass(frozen=True, slots=True)
class Prune:
    """Forget, among the next ``limit`` batches, those that are finished and older than these times."""

    before_ms: int
    dead_before_ms: int
    after_seq: int
    limit: int


OLD = """
    SELECT b.user_hash, b.seq, b.received_ms < $1 AS is_old, NOT EXISTS (
        SELECT 1 FROM work w WHERE w.user_hash = b.user_hash AND w.seq = b.seq
    ) AND NOT EXISTS (
        SELECT 1 FROM ledger l
        WHERE l.user_hash = b.user_hash AND l.seq = b.seq AND l.dead > 0 AND b.received_ms >= $2
    ) AS is_done
    FROM batches b WHERE b.seq > $3 ORDER BY b.seq LIMIT $4
"""
FORGETTING = tuple(
    f"DELETE FROM {table} t USING unnest($1::bigint[], $2::bigint[]) f (user_hash, seq) "
    "WHERE t.user_hash = f.user_hash AND t.seq = f.seq"
    for table in ("ledger", "batches", "replayed")
)


async def prune(connection: Connection, order: Prune) -> int | None:
    """Prune; return where to go on, or None once a younger batch was met or while another node prunes."""
    async with connection.transaction():
        if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", TURN):
            return None
        looked_at = await connection.fetch(OLD, order.before_ms, order.dead_before_ms, order.after_seq, order.limit)
        old = list(takewhile(lambda row: row["is_old"], looked_at))
        forgotten = [(row["user_hash"], row["seq"]) for row in old if row["is_done"]]
        if forgotten:
            columns = [list(column) for column in zip(*forgotten, strict=True)]
            for statement in FORGETTING:
                await connection.execute(statement, *columns)
            await indexing.forget(connection, forgotten[-1][1])
        if order.after_seq == 0:
            await gates.forget(connection)
        await erase.forget(connection, [seq for _, seq in forgotten], order.dead_before_ms)
        await replay.forget(connection, order.dead_before_ms)
        await accounts.forget(connection, order.before_ms)
        return old[-1]["seq"] if len(old) == order.limit else None
