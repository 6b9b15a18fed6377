"""The ids by which batches are found: one row for each commit, put on shelves later by one node at a time."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from gateway.journal.postgres.link import Connection, PostgresLink
from gateway.journal.shelves import Ids, ShelfRun, laid_out, places
from gateway.journal.types import JournalUnavailable

EVERY_S = 2.0
PAUSE_S = 0.05
IDS_A_RUN = 65_536
TURN = 7_166_405_236_114  # advisory lock: one node at a time moves ids

NEWEST = "SELECT first_seq, hashes, offsets FROM refs WHERE position($1::bytea IN hashes) > 0"
SHELVED = """
    SELECT r.first_seq, s.hashes, s.offsets FROM ref_shelves s JOIN ref_runs r ON r.run = s.run
    WHERE s.shelf = $2 AND position($1::bytea IN s.hashes) > 0
"""
BOTH = f"{NEWEST} UNION ALL {SHELVED}"  # one look: ids move between the two
WAITING = "SELECT first_seq, hashes, offsets FROM refs ORDER BY first_seq"
ADD = "INSERT INTO refs (first_seq, last_seq, hashes, offsets) VALUES ($1, $2, $3, $4)"
RUN = "INSERT INTO ref_runs (first_seq, last_seq) VALUES ($1, $2) RETURNING run"
SHELVE = """
    INSERT INTO ref_shelves (shelf, run, hashes, offsets)
    SELECT s.shelf, $1, s.hashes, s.offsets
    FROM unnest($2::integer[], $3::bytea[], $4::bytea[]) s (shelf, hashes, offsets)
"""
GONE = """
    DELETE FROM refs WHERE first_seq <= $1
    AND NOT EXISTS (SELECT 1 FROM batches b WHERE b.seq BETWEEN refs.first_seq AND refs.last_seq)
"""


async def seqs(connection: Connection, wanted: Sequence[bytes]) -> list[int]:
    """Return the batches that have one of these ids, in order."""
    found: set[int] = set()
    for ref in wanted:
        for first, hashes, offsets in await connection.fetch(BOTH, ref, ref[0]):
            of = memoryview(offsets).cast("Q")
            found.update(first + of[place // 8] for place in places(hashes, ref))
    return sorted(found)


async def keep_shelving(link: PostgresLink, ids_a_run: int = IDS_A_RUN) -> None:
    """Put ids on shelves whenever there are enough of them, until stopped."""
    while True:
        shelved = False
        with suppress(JournalUnavailable):
            shelved = await link.run(shelve, ids_a_run)
        await asyncio.sleep(PAUSE_S if shelved else EVERY_S)


async def shelve(connection: Connection, ids_a_run: int) -> bool:
    """Put one run of ids on shelves, if there are enough and no other node does so; return whether it was done."""
    async with connection.transaction():
        if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", TURN):
            return False
        run = await _a_run(connection, ids_a_run)
        if run is None:
            return False
        shelves = await asyncio.to_thread(laid_out, run, "Q")
        number = await connection.fetchval(RUN, min(run.seqs), max(run.seqs))
        held = [(shelf, *ids) for shelf, ids in enumerate(shelves) if ids[0]]
        await connection.execute(SHELVE, number, *map(list, zip(*held, strict=True)))
        await connection.execute("DELETE FROM refs WHERE first_seq = ANY($1)", run.rows)
    return True


async def forget(connection: Connection, upto: int) -> None:
    """Forget the ids of removed batches; the other ids of a run that ends by ``upto`` return to ``refs``."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", TURN)
    await connection.execute(GONE, upto)
    runs = await connection.fetch("SELECT run, first_seq, last_seq FROM ref_runs WHERE last_seq <= $1", upto)
    for run, first, last in runs:
        rows = await connection.fetch("SELECT seq FROM batches WHERE seq BETWEEN $1 AND $2", first, last)
        if left := {row[0] for row in rows}:
            held = await connection.fetch("SELECT hashes, offsets FROM ref_shelves WHERE run = $1", run)
            await _add(connection, sorted(_left(held, first, left)))
        await connection.execute("DELETE FROM ref_shelves WHERE run = $1", run)
        await connection.execute("DELETE FROM ref_runs WHERE run = $1", run)


async def _a_run(connection: Connection, size: int) -> ShelfRun | None:
    """Return the oldest rows that wait for the shelves; None while they hold fewer ids than ``size``."""
    rows: list[int] = []
    hashes = bytearray()
    of = array("q")
    async for first, some, offsets in connection.cursor(WAITING):
        rows.append(first)
        hashes += some
        of.extend([first + offset for offset in memoryview(offsets).cast("Q")])
        if len(of) >= size:
            return ShelfRun(rows=rows, hashes=bytes(hashes), seqs=of)
    return None


async def _add(connection: Connection, ids: Ids) -> None:
    """Let ids, in the order of batches, wait as one row; there may be none, as other runs lie in between."""
    if ids:
        first, last = ids[0][0], ids[-1][0]
        offsets = array("Q", [seq - first for seq, _ in ids]).tobytes()
        await connection.execute(ADD, first, last, b"".join([ref for _, ref in ids]), offsets)


def _left(shelves: Iterable[tuple[bytes, bytes]], first: int, left: set[int]) -> Iterator[tuple[int, bytes]]:
    for hashes, offsets in shelves:
        for number, offset in enumerate(memoryview(offsets).cast("Q")):
            if first + offset in left:
                yield first + offset, hashes[8 * number : 8 * number + 8]
