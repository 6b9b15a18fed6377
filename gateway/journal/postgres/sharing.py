"""What dispatchers tell each other: that they are there, and what a destination said of its limits."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.journal.closings import Closing, Others
from gateway.journal.postgres.claiming import NOW_MS
from gateway.journal.postgres.link import Connection

MOST_MS = 3_660_000  # no gate is closed for longer: what says so was written before the server's clock was set back


@dataclass(frozen=True, slots=True)
class Exchange:
    """One of the dispatchers of a connection tells of closings; it counts as one for ``lease_ms``."""

    connection: str
    owner: str
    lease_ms: int
    closings: tuple[Closing, ...]


BEAT = f"""
    INSERT INTO dispatchers (connection, owner, seen_ms) VALUES ($1, $2, {NOW_MS})
    ON CONFLICT (connection, owner) DO UPDATE SET seen_ms = excluded.seen_ms
    WHERE dispatchers.seen_ms < excluded.seen_ms - $3::bigint / 3
"""  # noqa: S608
TELL = f"""
    INSERT INTO gates (connection, scope, until_ms, reason, owner)
    SELECT $1, c.scope, {NOW_MS} + c.left_ms, c.reason, $2
    FROM unnest($3::text[], $4::bigint[], $5::text[]) c (scope, left_ms, reason) ORDER BY c.scope
    ON CONFLICT (connection, scope) DO UPDATE
    SET until_ms = excluded.until_ms, reason = excluded.reason, owner = excluded.owner
    WHERE gates.until_ms < excluded.until_ms
"""  # noqa: S608
COUNT = f"SELECT count(*) FROM dispatchers WHERE connection = $1 AND seen_ms > {NOW_MS} - $2"  # noqa: S608
HEAR = f"""
    SELECT scope, until_ms - {NOW_MS}, reason FROM gates
    WHERE connection = $1 AND owner <> $2 AND until_ms BETWEEN {NOW_MS} + 1 AND {NOW_MS} + {MOST_MS}
"""  # noqa: S608
LEAVE = "DELETE FROM dispatchers WHERE owner = $1"
FORGET = (
    f"DELETE FROM dispatchers WHERE seen_ms NOT BETWEEN {NOW_MS} - 86400000 AND {NOW_MS} + 1000",  # noqa: S608
    f"DELETE FROM gates WHERE until_ms NOT BETWEEN {NOW_MS} AND {NOW_MS} + {MOST_MS}",  # noqa: S608
)


async def exchange(connection: Connection, order: Exchange) -> Others:
    """Carry out an Exchange. While nothing changes, nothing is written."""
    await connection.execute(BEAT, order.connection, order.owner, order.lease_ms)
    told = [(one.scope, one.left_ms, one.reason) for one in order.closings if "\0" not in one.scope + one.reason]
    if told:
        await connection.execute(TELL, order.connection, order.owner, *map(list, zip(*told, strict=True)))
    heard = await connection.fetch(HEAR, order.connection, order.owner)
    dispatchers = await connection.fetchval(COUNT, order.connection, order.lease_ms)
    return Others(
        dispatchers=max(1, dispatchers),
        closings=tuple(Closing(scope=scope, left_ms=left_ms, reason=reason) for scope, left_ms, reason in heard),
    )


async def leave(connection: Connection, owner: str) -> None:
    """Be none of the dispatchers any more."""
    await connection.execute(LEAVE, owner)


async def forget(connection: Connection) -> None:
    """Forget dispatchers of long ago, gates that are open again, and what is said of a time that has yet to come."""
    for statement in FORGET:
        await connection.execute(statement)
