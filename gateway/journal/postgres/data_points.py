"""The catalog of data points: the names that were seen, never a value."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gateway.journal.postgres.link import Connection
from gateway.journal.types import DataPoint

NOTE = """
    INSERT INTO data_points AS d (connection, input, kind, name, attribute, type, first_ms, last_ms, times)
    SELECT * FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::bigint[], $9::bigint[]
    )
    ON CONFLICT (connection, input, kind, name, attribute) DO UPDATE SET type = excluded.type,
        first_ms = least(d.first_ms, excluded.first_ms), last_ms = greatest(d.last_ms, excluded.last_ms),
        times = d.times + excluded.times
"""
BOUND = """
    DELETE FROM data_points WHERE (connection, input, kind, name, attribute) IN (
        SELECT connection, input, kind, name, attribute FROM data_points
        ORDER BY last_ms DESC, connection, input, kind, name, attribute OFFSET $1
    )
"""
FORGET = "DELETE FROM data_points WHERE name = $1 OR attribute = $1 RETURNING 1"
ALL = """
    SELECT connection, input, kind, name, attribute, type, first_ms, last_ms, times FROM data_points
    ORDER BY kind COLLATE "C", name COLLATE "C", attribute COLLATE "C", connection, input
"""


async def note(connection: Connection, points: Sequence[DataPoint], most: int) -> None:
    """Add data points to the catalog; beyond ``most`` of them, forget those that were seen longest ago."""
    told = [point for point in points if "\0" not in point.name + point.attribute]  # no text may hold it here
    rows = sorted(map(msgspec.structs.astuple, told))  # in one order, lest two nodes wait for each other
    if not rows:
        return
    async with connection.transaction():
        await connection.execute(NOTE, *(list(column) for column in zip(*rows, strict=True)))
        if await connection.fetchval("SELECT count(*) FROM data_points") > most:
            await connection.execute(BOUND, most)


async def forget(connection: Connection, name: str) -> int:
    """Remove every data point with this name, or of an attribute with it; return how many there were."""
    return len(await connection.fetch(FORGET, name))


async def data_points(connection: Connection) -> list[DataPoint]:
    """Return the whole catalog, sorted by kind and name."""
    return [DataPoint(*row) for row in await connection.fetch(ALL)]
