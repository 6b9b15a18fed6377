"""Gates shared between dispatchers: each publishes that it runs, and the limits that a destination reported."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.journal.backlog import Gate
from gateway.journal.postgres.claim import NOW_MS
from gateway.journal.postgres.link import Connection
from gateway.journal.rows import group_gates, make_closings
from gateway.journal.shared_limits import MAX_MS, OPERATOR, PAUSED, ClosedGate, SharedLimits, governing


@dataclass(frozen=True, slots=True)
class ExchangeGates:
    """Publish the gates that a dispatcher of a connection closed; it counts as a dispatcher for ``lease_ms``."""

    connection: str
    owner: str
    lease_ms: int
    closings: tuple[ClosedGate, ...]


BEAT = f"""
    INSERT INTO dispatchers (connection, owner, seen_ms) VALUES ($1, $2, {NOW_MS})
    ON CONFLICT (connection, owner) DO UPDATE SET seen_ms = excluded.seen_ms
    WHERE dispatchers.seen_ms < excluded.seen_ms - $3::bigint / 3
"""
TELL = f"""
    INSERT INTO gates (connection, scope, until_ms, code, detail, owner)
    SELECT $1, c.scope, {NOW_MS} + c.left_ms, c.code, c.detail, $2
    FROM unnest($3::text[], $4::bigint[], $5::text[], $6::text[]) c (scope, left_ms, code, detail) ORDER BY c.scope
    ON CONFLICT (connection, scope) DO UPDATE
    SET until_ms = excluded.until_ms, code = excluded.code, detail = excluded.detail, owner = excluded.owner
    WHERE gates.until_ms < excluded.until_ms
"""
COUNT = f"SELECT count(*) FROM dispatchers WHERE connection = $1 AND seen_ms > {NOW_MS} - $2"
HEAR = f"""
    SELECT scope, until_ms - {NOW_MS}, code, detail FROM gates
    WHERE connection = $1 AND owner <> $2 AND until_ms BETWEEN {NOW_MS} + 1 AND {NOW_MS} + {MAX_MS}
"""
REST = f"""
    INSERT INTO rests (connection, owner, until_ms, code, detail) VALUES ($1, $2, {NOW_MS} + $3, $4, $5)
    ON CONFLICT (connection, owner) DO UPDATE
    SET until_ms = excluded.until_ms, code = excluded.code, detail = excluded.detail
"""
FOREVER = """
    INSERT INTO rests (connection, owner, until_ms, code, detail) VALUES ($1, $2, 0, $3, $4)
    ON CONFLICT (connection, owner) DO UPDATE SET until_ms = 0
"""
IS_WANTED = f"(owner = '{OPERATOR}' AND (until_ms = 0 OR until_ms > {NOW_MS}))"
RESUME = f"DELETE FROM rests WHERE connection = $1 AND owner = $2 RETURNING {IS_WANTED}"
IS_PAUSED = f"SELECT EXISTS (SELECT 1 FROM rests WHERE connection = ANY($1) AND {IS_WANTED})"
IS_CLOSED = f"until_ms BETWEEN {NOW_MS} + 1 AND {NOW_MS} + {MAX_MS}"
CLOSED = f"""
    SELECT connection, NULL AS scope, max(until_ms) AS until_ms, code, detail FROM rests
    WHERE {IS_WANTED} OR (owner <> '{OPERATOR}' AND {IS_CLOSED}) GROUP BY connection, code, detail
    UNION ALL
    SELECT connection, scope, until_ms, code, detail FROM gates WHERE {IS_CLOSED}
    ORDER BY 1, scope NULLS FIRST
"""
LEAVE = (
    "DELETE FROM dispatchers WHERE owner = $1",
    "DELETE FROM rests WHERE owner = $1",
)
FORGET = (
    f"DELETE FROM rests WHERE until_ms BETWEEN 1 AND {NOW_MS}",
    f"DELETE FROM dispatchers WHERE seen_ms NOT BETWEEN {NOW_MS} - 86400000 AND {NOW_MS} + 1000",
    f"DELETE FROM gates WHERE until_ms NOT BETWEEN {NOW_MS} AND {NOW_MS} + {MAX_MS}",
)


async def exchange(connection: Connection, order: ExchangeGates) -> SharedLimits:
    """Carry out an ExchangeGates. While nothing changes, nothing is written."""
    await connection.execute(BEAT, order.connection, order.owner, order.lease_ms)
    sayable = [one for one in order.closings if "\0" not in (one.scope or "") + one.reason.detail]
    told = [(one.scope, one.left_ms, one.reason.code, one.reason.detail) for one in sayable if one.scope is not None]
    if told:
        await connection.execute(TELL, order.connection, order.owner, *map(list, zip(*told, strict=True)))
    for one in sayable:
        if one.scope is None:
            await connection.execute(
                REST, order.connection, order.owner, one.left_ms, one.reason.code, one.reason.detail
            )
    heard = await connection.fetch(HEAR, order.connection, order.owner)
    dispatchers = await connection.fetchval(COUNT, order.connection, order.lease_ms)
    return SharedLimits(
        dispatchers=max(1, dispatchers),
        closings=make_closings(heard),
        paused=await connection.fetchval(IS_PAUSED, governing(order.connection)),
    )


async def pause(connection: Connection, name: str, left_ms: int | None) -> bool:
    """Pause a connection for ``left_ms`` (None: until resumed), or resume it (0); return whether a pause ended."""
    if left_ms is None:
        await connection.execute(FOREVER, name, OPERATOR, PAUSED.code, PAUSED.detail)
    elif left_ms:
        await connection.execute(REST, name, OPERATOR, left_ms, PAUSED.code, PAUSED.detail)
    else:
        return bool(await connection.fetchval(RESUME, name, OPERATOR))
    return False


async def closed(connection: Connection) -> dict[str, list[Gate]]:
    """Return every closed gate by connection; an older journal has none."""
    if await connection.fetchval("SELECT to_regclass('rests')") is None:
        return {}
    return group_gates(await connection.fetch(CLOSED))


async def leave(connection: Connection, owner: str) -> None:
    """Stop counting as a dispatcher."""
    for statement in LEAVE:
        await connection.execute(statement, owner)


async def forget(connection: Connection) -> None:
    """Forget old dispatchers, gates that are open again, and closures too far in the future."""
    for statement in FORGET:
        await connection.execute(statement)
