"""Accounts: customers' sealed settings, and their problems."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.journal.postgres.link import Connection
from gateway.journal.rows import make_sealed
from gateway.journal.types import SealedSettings

KEEP = """
    INSERT INTO accounts (connection, print, sealed, told_ms, received_ms) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (connection) DO UPDATE SET print = excluded.print, sealed = excluded.sealed,
        trouble = CASE WHEN excluded.print = accounts.print THEN accounts.trouble ELSE '' END,
        told_ms = excluded.told_ms, received_ms = excluded.received_ms
    WHERE excluded.told_ms >= accounts.told_ms
    AND (excluded.print <> accounts.print OR excluded.received_ms >= accounts.received_ms + 3600000)
    RETURNING connection
"""
RELEASE = """
    UPDATE lanes SET due_ms = 0 FROM (
        SELECT user_hash, connection FROM lanes
        WHERE connection = $1 AND owner IS NULL AND code = 'refused' AND code <> ''
        ORDER BY user_hash, connection FOR UPDATE SKIP LOCKED
    ) r WHERE lanes.user_hash = r.user_hash AND lanes.connection = r.connection
"""
NOTE = "UPDATE accounts SET trouble = $3 WHERE connection = $1 AND print = $2"
RESEAL = "UPDATE accounts SET print = $3, sealed = $4 WHERE connection = $1 AND print = $2"
SEALED = """
    SELECT connection, print, sealed, told_ms, received_ms, trouble FROM accounts
    WHERE $1::text IS NULL OR connection = $1 ORDER BY connection COLLATE "C"
"""
DUE = """
    WITH RECURSIVE names (name) AS (
        (SELECT connection FROM lanes ORDER BY connection LIMIT 1)
        UNION ALL
        SELECT (SELECT connection FROM lanes WHERE connection > name ORDER BY connection LIMIT 1)
        FROM names WHERE name IS NOT NULL
    )
    SELECT name, a.print FROM names LEFT JOIN accounts a ON a.connection = name
    WHERE (name = $1 OR starts_with(name, $1 || '/'))
    AND EXISTS (SELECT 1 FROM lanes l WHERE l.connection = name AND l.due_ms <= $2)
    ORDER BY name COLLATE "C"
"""
FORGET = """
    DELETE FROM accounts a WHERE received_ms < $1
    AND NOT EXISTS (SELECT 1 FROM lanes l WHERE l.connection = a.connection)
"""


async def keep(connection: Connection, sealed: Sequence[SealedSettings]) -> None:
    """Keep settings that are newer than the known ones, and make the connection's refused lanes due."""
    for one in sealed:
        async with connection.transaction():
            row = (one.connection, one.print, one.sealed, one.told_ms, one.received_ms)
            if await connection.fetchval(KEEP, *row):
                await connection.execute(RELEASE, one.connection)


async def note(connection: Connection, name: str, mark: bytes, trouble: str) -> None:
    """Record the problem of the settings with this print."""
    await connection.execute(NOTE, name, mark, trouble)


async def reseal(connection: Connection, mark: bytes, new: SealedSettings) -> None:
    """Replace the settings of this print by the same settings, sealed again."""
    await connection.execute(RESEAL, new.connection, mark, new.print, new.sealed)


async def forget(connection: Connection, before_ms: int) -> None:
    """Forget old settings for which nothing waits; the next message has them again."""
    await connection.execute(FORGET, before_ms)


async def sealed(connection: Connection, name: str | None) -> list[SealedSettings]:
    """Return the settings of one account's connection, or of all; an older journal has none."""
    if name is None and await connection.fetchval("SELECT to_regclass('accounts')") is None:
        return []
    return [make_sealed(row) for row in await connection.fetch(SEALED, name)]


async def due(connection: Connection, name: str, now_ms: int) -> list[tuple[str, bytes | None]]:
    """Return the connection and its accounts' connections that have a due lane."""
    return [(row["name"], row["print"]) for row in await connection.fetch(DUE, name, now_ms)]
