"""Storing batches: the batches of many posts in one statement, which is one round trip and one commit.

Two nodes never deadlock: rows that several nodes may need are locked in one order.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.journal.operations import Operation
from gateway.journal.postgres import accounts, erase, replay
from gateway.journal.postgres.claim import NOW_MS
from gateway.journal.postgres.link import Connection
from gateway.journal.types import Entry, SealedSettings, salt_dedupe


@dataclass(frozen=True, slots=True)
class Accept(Operation[int]):
    """Store these batches, with work for these connections."""

    entries: tuple[Entry, ...]
    connections: tuple[str, ...]
    sealed: tuple[SealedSettings, ...] = ()


# A lane that is there already is locked, not changed. Whoever empties it meanwhile holds it, looks for work only
# then, and so either sees this work or has taken the lane away before it is made anew here.
ACCEPT = f"""
    WITH base AS MATERIALIZED (SELECT nextval('batches_seq') AS seq),
    given AS MATERIALIZED (
        SELECT base.seq + g.n - 1 AS seq, g.*
        FROM base, unnest(
            $1::bigint[], $2::bytea[], $3::text[], $4::integer[], $5::text[], $6::bigint[], $7::text[], $8::integer[],
            $9::bytea[]
        ) WITH ORDINALITY g (user_hash, dedupe, message, part, dialect, received_ms, scope, facts, body, n)
    ),
    stored AS (
        INSERT INTO batches (user_hash, seq, dedupe, message, part, dialect, received_ms, scope, facts, body)
        SELECT user_hash, seq, dedupe, message, part, dialect, received_ms, scope, facts, body FROM given
        ORDER BY user_hash, dedupe, seq
        ON CONFLICT (user_hash, dedupe) DO NOTHING
        RETURNING user_hash, seq, dedupe, received_ms, scope, facts
    ),
    wanted AS MATERIALIZED (
        SELECT s.user_hash, c.connection, s.seq, s.received_ms, s.facts
        FROM stored s JOIN unnest($10::text[]) c (connection) ON s.scope IS NULL OR s.scope = c.connection
    ),
    worked AS (INSERT INTO work (user_hash, connection, seq) SELECT user_hash, connection, seq FROM wanted),
    opened AS (
        INSERT INTO lanes (user_hash, connection, due_ms)
        SELECT user_hash, connection, least(min(received_ms), {NOW_MS}) FROM wanted GROUP BY 1, 2 ORDER BY 1, 2
        ON CONFLICT (user_hash, connection) DO UPDATE SET due_ms = excluded.due_ms WHERE false
        RETURNING 1
    ),
    counted AS (
        INSERT INTO counts (shard, connection, word, reason, facts)
        SELECT $11, connection, 'received', '', sum(facts) + 0 * max(o.lanes)
        FROM wanted, (SELECT count(*) AS lanes FROM opened) o  -- so that lanes are always taken before counts
        GROUP BY connection ORDER BY connection
        ON CONFLICT (shard, connection, word, reason) DO UPDATE SET facts = counts.facts + excluded.facts
    ),
    indexed AS (
        INSERT INTO refs (first_seq, last_seq, hashes, offsets)
        SELECT seq, seq + $12, $13, $14 FROM base WHERE length($13::bytea) > 0
    )
    SELECT seq, dedupe FROM stored
"""


CONFLICTS = """
    SELECT g.n FROM unnest($1::bigint[], $2::bytea[], $3::bytea[]) WITH ORDINALITY g (user_hash, dedupe, body, n)
    JOIN batches b USING (user_hash, dedupe) WHERE b.body <> '' AND b.body <> g.body ORDER BY g.n
"""


async def conflicting(connection: Connection, entries: Sequence[Entry], salt: bytes) -> list[Entry]:
    """Return the batches that are stored with another document."""
    keys = [salt_dedupe(one.dedupe, salt) for one in entries]
    given = ([one.user for one in entries], keys, [one.body for one in entries])
    return [entries[row["n"] - 1] for row in await connection.fetch(CONFLICTS, *given)]


async def accept(connection: Connection, accepts: Sequence[Accept], shard: int) -> list[int]:
    """Carry out Accepts, one commit for those with the same connections; return how many batches of each were new."""
    spread: dict[tuple[str, ...], list[int]] = {}
    for index, one in enumerate(accepts):
        if one.sealed:
            await accounts.keep(connection, one.sealed)
        if one.entries:
            spread.setdefault(one.connections, []).append(index)
    results = [0] * len(accepts)
    for connections, indexes in spread.items():
        stored = await _store(connection, [e for i in indexes for e in accepts[i].entries], connections, shard)
        for index in indexes:
            new = {entry.dedupe for entry in accepts[index].entries} & stored
            stored -= new
            results[index] = len(new)
    return results


async def _store(
    connection: Connection, entries: Sequence[Entry], connections: tuple[str, ...], shard: int
) -> set[bytes]:
    """Store batches and their work; return the ``dedupe`` of the new ones."""
    given = (*_columns(entries), connections, shard, *_index(entries))
    if all(entry.wish is None and entry.again is None for entry in entries):
        return {dedupe for _, dedupe in await connection.fetch(ACCEPT, *given)}
    async with connection.transaction():
        new = {dedupe: seq for seq, dedupe in await connection.fetch(ACCEPT, *given)}
        stored = [(new[one.dedupe], one) for one in entries if one.dedupe in new]
        wishing = [(seq, one) for seq, one in stored if one.wish is not None]
        if wishing:
            await erase.begin(connection, wishing, connections)
        again = [(seq, one, one.again) for seq, one in stored if one.again is not None]
        if again:
            await replay.add(connection, again)
    return set(new)


def _columns(entries: Sequence[Entry]) -> tuple[list[object], ...]:
    return (
        [entry.user for entry in entries],
        [entry.dedupe for entry in entries],
        [entry.message.replace("\0", "\N{REPLACEMENT CHARACTER}") for entry in entries],
        [entry.part for entry in entries],
        [entry.dialect for entry in entries],
        [entry.received_ms for entry in entries],
        [entry.scope for entry in entries],
        [entry.facts for entry in entries],
        [entry.body for entry in entries],
    )


def _index(entries: Sequence[Entry]) -> tuple[int, bytes, bytes]:
    """Return the index of these batches: the seq of the last one, the ids, and the batch of each id."""
    refs = [(place, ref) for place, entry in enumerate(entries) for ref in entry.refs]
    return len(entries) - 1, b"".join(ref for _, ref in refs), array("Q", [place for place, _ in refs]).tobytes()
