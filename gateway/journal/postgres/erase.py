"""Erasures: withholding and removing a user's data in the journal, and the receipt.

PostgreSQL keeps removed data in its files until a vacuum, or until the space is used again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.journal.postgres import indexing
from gateway.journal.postgres.link import Connection
from gateway.journal.rows import hash_lanes, make_receipt, make_request_rows
from gateway.journal.types import Entry, Receipt, hash_ref


@dataclass(frozen=True, slots=True)
class Erase:
    """Withhold a user's items older than the batch ``seq``, and remove their documents; see the port."""

    connection: str
    salt: bytes
    names: tuple[str, ...]
    everywhere: bool
    seq: int


BEGIN = """
    UPDATE lanes SET erased_seq = greatest(erased_seq, e.seq), due_ms = CASE WHEN owner IS NULL THEN 0 ELSE due_ms END
    FROM unnest($1::bigint[], $2::bigint[], $3::text[]) e (user_hash, seq, scope), unnest($4::text[]) c (connection)
    WHERE lanes.user_hash = e.user_hash AND lanes.connection = c.connection
    AND (e.scope IS NULL OR e.scope = c.connection)
"""
WISH = """
    INSERT INTO wishes (name, connection, before_ms, received_ms, user_hash, seq)
    SELECT * FROM unnest($1::bytea[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
    ON CONFLICT (name, connection) DO UPDATE
    SET before_ms = greatest(wishes.before_ms, excluded.before_ms), received_ms = excluded.received_ms,
        user_hash = excluded.user_hash, seq = excluded.seq
"""
WAITING = """
    SELECT DISTINCT user_hash FROM work WHERE connection = $1 AND seq < $2 AND (
        user_hash = ANY($3) OR $4 AND user_hash IN (SELECT user_hash FROM batches WHERE seq = ANY($5))
    )
"""
WITHHOLD = """
    UPDATE lanes SET erased_seq = greatest(erased_seq, $2 - 1), due_ms = CASE WHEN owner IS NULL THEN 0 ELSE due_ms END
    FROM (
        SELECT user_hash, connection FROM lanes WHERE connection = $1 AND user_hash = ANY($3)
        ORDER BY user_hash, connection FOR UPDATE
    ) e WHERE lanes.user_hash = e.user_hash AND lanes.connection = e.connection
"""
OLDER = """
    SELECT b.user_hash, b.seq FROM batches b
    JOIN ledger l ON l.user_hash = b.user_hash AND l.seq = b.seq AND l.connection = $1
    WHERE b.seq = ANY($5) AND b.seq < $2 AND ($4 OR b.user_hash = ANY($3)) ORDER BY b.seq
"""
HOLD = """
    SELECT 1 FROM batches b JOIN unnest($1::bigint[], $2::bigint[]) r (user_hash, seq)
    ON b.user_hash = r.user_hash AND b.seq = r.seq ORDER BY b.user_hash, b.seq FOR UPDATE OF b
"""
REMOVE = """
    UPDATE batches b SET body = '' FROM unnest($1::bigint[], $2::bigint[]) r (user_hash, seq)
    WHERE b.user_hash = r.user_hash AND b.seq = r.seq AND b.body <> ''
    AND NOT EXISTS (SELECT 1 FROM work w WHERE w.user_hash = b.user_hash AND w.seq = b.seq)
    AND ($3 OR NOT EXISTS (SELECT 1 FROM ledger l WHERE l.user_hash = b.user_hash AND l.seq = b.seq AND l.dead > 0))
    RETURNING b.seq
"""
KEEP = """
    INSERT INTO receipts (seq, connection, lanes, touched, removed) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (seq, connection) DO UPDATE
    SET lanes = excluded.lanes, touched = excluded.touched, removed = receipts.removed || excluded.removed
"""
FORGET = """
    WITH forgotten AS (
        DELETE FROM memory m WHERE m.connection = $1 AND m.user_hash <> 0 AND m.user_hash = ANY(
            $2 || coalesce((SELECT lanes FROM receipts WHERE seq = $3 AND connection = $1), '{}')
        )
        RETURNING 1
    )
    UPDATE receipts SET memories = memories + (SELECT count(*) FROM forgotten) WHERE seq = $3 AND connection = $1
"""
RECEIPT = "SELECT touched, removed, memories FROM receipts WHERE seq = $1 AND connection = $2"
TOUCHED = """
    SELECT b.message, b.part, l.outcomes, b.body = ''
    FROM batches b JOIN ledger l ON l.user_hash = b.user_hash AND l.seq = b.seq AND l.connection = $1
    WHERE b.seq = ANY($2) ORDER BY b.seq
"""

Place = tuple[int, int]
"""The key of a batch: the hash of its user, its seq."""


async def begin(connection: Connection, requests: Sequence[tuple[int, Entry]], connections: Sequence[str]) -> None:
    """Begin the erasures that were just stored: withhold the waiting items of their lanes, and record the requests."""
    lanes = [(entry.user, seq, entry.scope) for seq, entry in requests]
    await connection.execute(BEGIN, *map(list, zip(*lanes, strict=True)), connections)
    rows = make_request_rows(requests, connections)
    if rows:
        await connection.execute(WISH, *map(list, zip(*rows, strict=True)))


async def erase(connection: Connection, order: Erase) -> bool:
    """Carry out an Erase; return whether nothing of the user waits any more."""
    lanes = list(hash_lanes(order.names, order.salt))
    async with connection.transaction():
        found = await indexing.seqs(connection, [hash_ref(name, order.salt) for name in order.names])
        given = (order.connection, order.seq, lanes, order.everywhere, found)
        if waiting := [row[0] for row in await connection.fetch(WAITING, *given)]:
            await connection.execute(WITHHOLD, order.connection, order.seq, waiting)
            return False
        older = [tuple(row) for row in await connection.fetch(OLDER, *given)]
        removed = await remove(connection, older, dead=True)
        all_lanes, touched = sorted({*lanes, *(user for user, _ in older)}), [seq for _, seq in older]
        await connection.execute(KEEP, order.seq, order.connection, all_lanes, touched, removed)
    return True


async def remove(connection: Connection, places: Sequence[Place], *, dead: bool) -> list[int]:
    """Remove the documents of the batches that wait on no connection; return these batches.

    Batches with dead letters are included only if ``dead``. The batches are locked first: of two nodes that each finish
    the work of one connection, the later one then sees the work of the earlier one.
    """
    if not places:
        return []
    columns = [list(column) for column in zip(*sorted(places), strict=True)]
    await connection.fetch(HOLD, *columns)
    return [row[0] for row in await connection.fetch(REMOVE, *columns, dead)]


async def finish(connection: Connection, name: str, user: int, seq: int) -> None:
    """Complete an erasure on a connection: forget the memories of the user there."""
    await connection.execute(FORGET, name, [user], seq)


async def forget(connection: Connection, seqs: Sequence[int], before_ms: int) -> None:
    """Forget the receipts of forgotten batches, and old erasure requests."""
    await connection.execute("DELETE FROM wishes WHERE received_ms < $1", before_ms)
    if seqs:
        await connection.execute("DELETE FROM receipts WHERE seq = ANY($1)", seqs)


async def receipt(connection: Connection, seq: int, name: str) -> Receipt | None:
    """Return the receipt of the erasure in this batch on a connection; None if there is none yet."""
    row = await connection.fetchrow(RECEIPT, seq, name)
    if row is None:
        return None
    touched, removed, memories = row
    return make_receipt(len(removed), memories, await connection.fetch(TOUCHED, name, touched))
