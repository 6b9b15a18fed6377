"""Claims of lanes and their leases. The server's clock ends leases, so the nodes' clocks do not matter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.journal.operations import Operation
from gateway.journal.postgres.link import Connection
from gateway.journal.rows import make_lanes
from gateway.journal.types import Lane
from gateway.journal.wait_reasons import WaitReason


@dataclass(frozen=True, slots=True)
class Claim(Operation[list[Lane]]):
    """Claim up to ``lanes`` lanes of a connection, with up to ``items`` items each."""

    connection: str
    now_ms: int
    lease_ms: int
    lanes: int
    items: int
    owner: str
    fence: int


Key = tuple[int, str, int]
"""A claimed lane: its user, its connection, its fence."""

NOW_MS = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
BEGUN_MS = "(extract(epoch FROM now()) * 1000)::bigint"  # the same for a whole statement, so an index may serve
TAKE = f"""
    WITH due AS MATERIALIZED (
        SELECT user_hash, connection FROM lanes
        WHERE connection = $1 AND due_ms <= greatest($2, {BEGUN_MS}) AND CASE WHEN owner IS NULL THEN due_ms <= $2
            ELSE $3 AND due_ms <= {NOW_MS} AND NOT (owner = $6 AND user_hash = ANY($8::bigint[])) END
        ORDER BY due_ms LIMIT $4 FOR UPDATE SKIP LOCKED
    )
    UPDATE lanes SET due_ms = {NOW_MS} + $5, owner = $6, fence = $7
    FROM due WHERE lanes.user_hash = due.user_hash AND lanes.connection = due.connection
    RETURNING lanes.user_hash, attempts, failing_since_ms, erased_seq
"""
ITEMS = """
    SELECT b.user_hash, b.seq, b.message, b.part, b.dialect, b.received_ms, b.facts, b.body, w.progress, w.crashes,
        w.crashed_in,
        EXISTS (SELECT 1 FROM wishes)
    FROM unnest($1::bigint[]) u (user_hash)
    CROSS JOIN LATERAL (
        SELECT seq, progress, crashes, crashed_in FROM work WHERE user_hash = u.user_hash AND connection = $2
        ORDER BY seq LIMIT $3
    ) w
    JOIN batches b ON b.user_hash = u.user_hash AND b.seq = w.seq
    ORDER BY b.user_hash, b.seq
"""
MEMORY = """
    SELECT m.user_hash, m.key, m.value FROM unnest($1::bigint[]) u (user_hash)
    JOIN memory m ON m.user_hash = u.user_hash AND m.connection = $2
"""
HELD = """
    WITH held AS MATERIALIZED (
        SELECT l.user_hash, l.connection FROM lanes l
        JOIN unnest($1::bigint[], $2::text[], $3::bigint[]) k (user_hash, connection, fence)
        ON l.user_hash = k.user_hash AND l.connection = k.connection AND l.fence = k.fence
        WHERE l.owner IS NOT NULL ORDER BY l.user_hash, l.connection FOR UPDATE OF l
    )
"""
RENEW = f"""{HELD}
    UPDATE lanes SET due_ms = {NOW_MS} + $4 FROM held
    WHERE lanes.user_hash = held.user_hash AND lanes.connection = held.connection
"""
LET_GO = f"""{HELD}
    UPDATE lanes SET due_ms = 0, owner = NULL FROM held
    WHERE lanes.user_hash = held.user_hash AND lanes.connection = held.connection
"""
RETRY_REFUSED = """
    UPDATE lanes SET due_ms = 0 FROM (
        SELECT user_hash, connection FROM lanes WHERE owner IS NULL AND code = 'refused' AND code <> ''
        ORDER BY user_hash, connection FOR UPDATE SKIP LOCKED
    ) r WHERE lanes.user_hash = r.user_hash AND lanes.connection = r.connection
"""
ROUSE = """
    UPDATE lanes SET due_ms = least(due_ms, $4) FROM (
        SELECT user_hash, connection FROM lanes
        WHERE connection = $1 AND code = $2 AND code <> '' AND left(detail, 200) = left($3, 200) AND detail = $3
        AND owner IS NULL
        ORDER BY user_hash, connection FOR UPDATE SKIP LOCKED
    ) r WHERE lanes.user_hash = r.user_hash AND lanes.connection = r.connection
"""
NAMES = """
    WITH RECURSIVE names (name) AS (
        (SELECT connection FROM lanes ORDER BY connection LIMIT 1)
        UNION ALL
        SELECT (SELECT connection FROM lanes WHERE connection > name ORDER BY connection LIMIT 1)
        FROM names WHERE name IS NOT NULL
    )
"""
RECALL = f"""{NAMES}, late AS MATERIALIZED (
        SELECT l.user_hash, l.connection FROM names JOIN lanes l ON l.connection = name
        WHERE l.due_ms > $1 AND l.owner IS NULL LIMIT $3 FOR UPDATE OF l SKIP LOCKED
    )
    UPDATE lanes SET due_ms = $2 FROM late
    WHERE lanes.user_hash = late.user_hash AND lanes.connection = late.connection RETURNING 1
"""
SHORTEN = f"""{NAMES}, late AS MATERIALIZED (
        SELECT l.user_hash, l.connection FROM names JOIN lanes l ON l.connection = name
        WHERE l.due_ms > {NOW_MS} + 10 * $1::bigint AND l.owner IS NOT NULL FOR UPDATE OF l SKIP LOCKED
    )
    UPDATE lanes SET due_ms = {NOW_MS} + $1 FROM late
    WHERE lanes.user_hash = late.user_hash AND lanes.connection = late.connection
"""


async def claim(connection: Connection, order: Claim, *, takes_over: bool, held: Sequence[int]) -> list[Lane]:
    """Claim lanes; with ``takes_over`` also those whose lease has expired.

    A process never claims the lanes that it still holds (``held``). The items are read after the claim, because other
    nodes may have finished some before.
    """
    given = (order.connection, order.now_ms, takes_over, order.lanes, order.lease_ms, order.owner, order.fence, held)
    taken = await connection.fetch(TAKE, *given)
    if not taken:
        return []
    users = [row[0] for row in taken]
    items = await connection.fetch(ITEMS, users, order.connection, order.items)
    memory = await connection.fetch(MEMORY, users, order.connection)
    return make_lanes(
        (order.connection, order.fence),
        taken,
        [row[:-1] for row in items],
        [(user, msgspec.json.decode(key), value) for user, key, value in memory],
        wishes=any(row[-1] for row in items[:1]),
    )


async def renew(connection: Connection, keys: Iterable[Key], lease_ms: int) -> None:
    """Renew the leases of these lanes that are still claimed as given."""
    await connection.execute(RENEW, *_columns(keys), lease_ms)


async def let_go(connection: Connection, keys: Iterable[Key]) -> None:
    """Release these lanes unchanged."""
    await connection.execute(LET_GO, *_columns(keys))


async def retry_refused(connection: Connection) -> None:
    """Make refused lanes due: the settings may have changed."""
    await connection.execute(RETRY_REFUSED)


async def wake(connection: Connection, name: str, reason: WaitReason, now_ms: int) -> None:
    """Make the lanes of a connection due that wait for this reason."""
    await connection.execute(ROUSE, name, reason.code, reason.detail, now_ms)


async def reschedule_after_clock_jump(
    connection: Connection, after_ms: int, now_ms: int, limit: int, lease_ms: int
) -> int:
    """Make lanes due that were put off until after then.

    A lease that ends much later than ``lease_ms`` from now was given before the server's clock was set back. It is
    shortened: a node that lives renews it, and the lanes of a dead node are taken over.
    """
    await connection.execute(SHORTEN, lease_ms)
    return len(await connection.fetch(RECALL, after_ms, now_ms, limit))


def _columns(keys: Iterable[Key]) -> list[list[Any]]:
    return list(map(list, zip(*keys, strict=True)))
