"""Replays in PostgreSQL: the selection, the redelivered batches, and the progress."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.journal.postgres import indexing
from gateway.journal.postgres.link import Connection
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
from gateway.journal.types import Entry, hash_ref

BEGIN = """
    INSERT INTO replays (id, created_ms, selection, rate, upto, state)
    SELECT $1, $2, $3, $4, (SELECT coalesce(max(seq), 0) FROM batches), 'open' ON CONFLICT (id) DO NOTHING
"""
ADVANCE = """
    UPDATE replays SET cursor = greatest(cursor, $2), state = CASE WHEN $3 THEN 'done' ELSE state END
    WHERE id = $1 AND state <> 'aborted' RETURNING 1
"""
ABORT = "UPDATE replays SET state = 'aborted' WHERE id = $1 RETURNING 1"
AT_ONCE = """
    WITH waiting AS MATERIALIZED (
        SELECT DISTINCT r.user_hash, r.connection FROM replayed r
        JOIN work w ON w.user_hash = r.user_hash AND w.connection = r.connection AND w.seq = r.seq WHERE r.replay = $1
    ),
    held AS MATERIALIZED (
        SELECT l.user_hash, l.connection FROM waiting w
        JOIN lanes l ON l.user_hash = w.user_hash AND l.connection = w.connection
        WHERE l.owner IS NULL ORDER BY l.user_hash, l.connection FOR UPDATE OF l
    )
    UPDATE lanes SET due_ms = 0 FROM held
    WHERE lanes.user_hash = held.user_hash AND lanes.connection = held.connection
"""
REPLAYED = """
    INSERT INTO replayed (user_hash, of_seq, seq, connection, replay, facts)
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::integer[])
"""
ALL = """
    SELECT p.id, p.created_ms, p.selection, p.rate, p.upto, p.cursor, p.state, coalesce(sum(r.facts), 0)::bigint,
        count(w.seq)
    FROM replays p LEFT JOIN replayed r ON r.replay = p.id
    LEFT JOIN work w ON w.user_hash = r.user_hash AND w.connection = r.connection AND w.seq = r.seq
    GROUP BY p.id ORDER BY p.created_ms, p.id
"""
WITHDRAWN = """
    SELECT EXISTS (SELECT 1 FROM replays WHERE id = $1 AND state = 'aborted'),
        EXISTS (SELECT 1 FROM batches WHERE user_hash = $2 AND seq = $3 AND body = '')
"""
WINDOW = "SELECT user_hash, seq FROM batches WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3"
KNOWN = "SELECT user_hash, seq FROM batches WHERE seq = ANY($1) ORDER BY seq"
PLACES = "unnest($1::bigint[], $2::bigint[]) p (user_hash, seq)"
FINISHED = f"""
    SELECT l.seq, l.connection, l.outcomes FROM {PLACES}
    JOIN batches b ON b.user_hash = p.user_hash AND b.seq = p.seq
    JOIN ledger l ON l.user_hash = p.user_hash AND l.seq = p.seq
    WHERE b.dialect <> 'replay' AND ($3::text IS NULL OR l.connection = $3 OR starts_with(l.connection, $3 || '/'))
    AND ($4::text IS NULL OR b.message = $4) AND b.received_ms >= coalesce($5::bigint, 0)
    AND ($6::bigint IS NULL OR b.received_ms < $6)
    ORDER BY l.seq, l.connection COLLATE "C"
"""
LATER = f"""
    SELECT r.of_seq, r.connection, l.outcomes FROM {PLACES}
    JOIN replayed r ON r.user_hash = p.user_hash AND r.of_seq = p.seq
    LEFT JOIN ledger l ON l.user_hash = r.user_hash AND l.seq = r.seq AND l.connection = r.connection ORDER BY r.seq
"""
SIZES = f"""
    SELECT b.seq, length(b.body) FROM {PLACES} JOIN batches b ON b.user_hash = p.user_hash AND b.seq = p.seq
    ORDER BY b.seq
"""
DOCUMENTS = f"""
    SELECT b.seq, b.user_hash, b.message, b.part, b.dialect, b.received_ms, b.body FROM {PLACES}
    JOIN batches b ON b.user_hash = p.user_hash AND b.seq = p.seq
"""
SURVEYED = """
    SELECT EXISTS (
        SELECT 1 FROM batches b JOIN ledger l ON l.user_hash = b.user_hash AND l.seq = b.seq AND l.connection = $2
        WHERE b.user_hash = $1 AND b.seq > $3 AND b.dialect <> 'replay'
        AND EXISTS (SELECT 1 FROM json_array_elements(l.outcomes::json) o WHERE o ->> 1 = 'delivered')
    )
"""
MEMORY = "SELECT key, value FROM memory WHERE user_hash = $1 AND connection = $2"
FORGET = """
    DELETE FROM replays p WHERE created_ms < $1 AND NOT EXISTS (SELECT 1 FROM replayed r WHERE r.replay = p.id)
"""

Place = tuple[int, int]
"""The key of a batch: the hash of its user, its seq."""


async def begin(connection: Connection, one: Replay) -> None:
    """Record a new replay."""
    selection = msgspec.json.encode(one.selection).decode()
    await connection.execute(BEGIN, one.id, one.created_ms, selection, one.rate)


async def advance(connection: Connection, id: str, cursor: int, done: bool) -> bool:  # noqa: FBT001  # as a column
    """Record the progress of a replay; return False if it was aborted."""
    return await connection.fetchval(ADVANCE, id, cursor, done) is not None


async def abort(connection: Connection, id: str) -> bool:
    """Abort a replay; return False if it is unknown."""
    async with connection.transaction():
        is_known = await connection.fetchval(ABORT, id) is not None
        await connection.execute(AT_ONCE, id)
    return is_known


async def add(connection: Connection, stored: Sequence[tuple[int, Entry, ReplayOrigin]]) -> None:
    """Record the origins of batches that were just stored again."""
    rows = [(entry.user, again.of, seq, entry.scope, again.replay, entry.facts) for seq, entry, again in stored]
    await connection.execute(REPLAYED, *map(list, zip(*rows, strict=True)))


async def forget(connection: Connection, before_ms: int) -> None:
    """Forget old replays whose batches are all gone."""
    await connection.execute(FORGET, before_ms)


async def replays(connection: Connection) -> list[Replay]:
    """Return every known replay."""
    return [make_replay(row) for row in await connection.fetch(ALL)]


async def withdrawn(connection: Connection, user: int, again: ReplayOrigin) -> str:
    """Return why a redelivered batch must not be sent."""
    is_aborted, is_erased = await connection.fetchrow(WITHDRAWN, again.replay, user, again.of)
    return why_withdrawn(is_aborted=is_aborted, is_erased=is_erased)


async def pick(
    connection: Connection,
    selection: Selection,
    salt: bytes,
    place: tuple[int, int, int],
    surveys: bool,  # noqa: FBT001  # handed on by a link
) -> tuple[list[PickedFacts], int | None]:
    """Return the facts that a selection matches in a range of batches; ``place`` is (after, up to, how many)."""
    places = await _window(connection, selection, salt, place)
    reached = places[-1][1] if len(places) == place[2] else None
    found = await _chosen(connection, selection, places)
    seqs = {seq for seq, _ in found}
    wanted = [at for at in places if at[1] in seqs]
    last = find_cut(await _at(connection, SIZES, wanted))
    if last is not None:
        reached, wanted = last, [at for at in wanted if at[1] <= last]
    picked = make_picked(found, await _at(connection, DOCUMENTS, wanted))
    return [await _surveyed(connection, one) for one in picked] if surveys else picked, reached


async def _window(
    connection: Connection, selection: Selection, salt: bytes, place: tuple[int, int, int]
) -> list[Place]:
    """Return the batches to examine, in order."""
    after, upto, limit = place
    if selection.message is None:
        return [tuple(row) for row in await connection.fetch(WINDOW, *place)]
    known = await indexing.seqs(connection, [hash_ref(selection.message, salt)])
    wanted = [seq for seq in known if after < seq <= upto][:limit]
    return [tuple(row) for row in await connection.fetch(KNOWN, wanted)]


async def _chosen(connection: Connection, selection: Selection, places: Sequence[Place]) -> Chosen:
    given = (selection.connection, selection.message, selection.since_ms, selection.until_ms)
    finished, later = await _at(connection, FINISHED, places, *given), await _at(connection, LATER, places)
    said = [(seq, name, read_outcomes(outcomes)) for seq, name, outcomes in finished]
    return choose_all(selection, said, map(read_later, later))


async def _surveyed(connection: Connection, one: PickedFacts) -> PickedFacts:
    memory = await connection.fetch(MEMORY, one.user, one.connection)
    return msgspec.structs.replace(
        one,
        newer=await connection.fetchval(SURVEYED, one.user, one.connection, one.seq),
        memory={msgspec.json.decode(key): msgspec.json.decode(value) for key, value in memory},
    )


async def _at(connection: Connection, statement: str, places: Sequence[Place], *given: Any) -> list[Any]:
    """Return the rows of a statement for these keys."""
    users, seqs = [user for user, _ in places], [seq for _, seq in places]
    return list(await connection.fetch(statement, users, seqs, *given)) if places else []
