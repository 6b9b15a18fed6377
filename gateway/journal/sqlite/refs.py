"""The ids by which batches are found: written in order of arrival, and put on shelves later.

An index written with each batch would be the most expensive part of storing it. So the ids of a commit are one row of
``refs``, which can only be scanned. Later, a run of many ids is sorted onto shelves, one for each first byte of a hash.
A look-up reads one shelf of each run, and the rows that have come since.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterator, Sequence

import msgspec

from gateway.journal.shelves import SHELVES, Ids, ShelfRun, places

RUN_BITS = 48

NEWEST = "SELECT first_seq, hashes, offsets FROM refs WHERE instr(hashes, :wanted)"
SHELVED = """
    SELECT r.first_seq, s.hashes, s.offsets FROM ref_shelves s
    JOIN ref_runs r ON r.run = s.place & :mask
    WHERE s.place BETWEEN :shelf AND :shelf | :mask AND instr(s.hashes, :wanted)
"""
BOTH = f"{NEWEST} UNION ALL {SHELVED}"  # one query, as ids move from one to the other
MASK = (1 << RUN_BITS) - 1
WAITING = "SELECT first_seq, hashes, offsets FROM refs ORDER BY first_seq"
GONE = """
    DELETE FROM refs WHERE first_seq <= :upto
    AND NOT EXISTS (SELECT 1 FROM batches b WHERE b.seq BETWEEN refs.first_seq AND refs.last_seq)
"""
ADD = "INSERT INTO refs (first_seq, last_seq, hashes, offsets) VALUES (?, ?, ?, ?)"


def salt(database: sqlite3.Connection) -> bytes:
    """Return the salt of this journal's ids."""
    found: bytes = database.execute("SELECT salt FROM origin").fetchone()[0]
    return found


def add(database: sqlite3.Connection, ids: Ids) -> None:
    """Make batches findable by their ids, given in the order of batches, as one row."""
    if ids:
        first, last = ids[0][0], ids[-1][0]
        offsets = array("I", [seq - first for seq, _ in ids]).tobytes()
        database.execute(ADD, (first, last, b"".join([ref for _, ref in ids]), offsets))


def seqs(database: sqlite3.Connection, wanted: Sequence[bytes]) -> list[int]:
    """Return the batches that have one of these ids, in order."""
    found: set[int] = set()
    for ref in wanted:
        given = {"shelf": ref[0] << RUN_BITS, "mask": MASK, "wanted": ref}
        for first, hashes, offsets in database.execute(BOTH, given):
            of = memoryview(offsets).cast("I")
            found.update(first + of[place // 8] for place in places(hashes, ref))
    return sorted(found)


def read_next_run(database: sqlite3.Connection, size: int) -> ShelfRun | None:
    """Return the oldest rows of ``refs`` as a run to be shelved; None if they hold fewer ids than ``size``."""
    rows: list[int] = []
    hashes = bytearray()
    seqs = array("q")
    for first, some, offsets in database.execute(WAITING):
        rows.append(first)
        hashes += some
        seqs.extend([first + offset for offset in memoryview(offsets).cast("I")])
        if len(seqs) >= size:
            return ShelfRun(rows=rows, hashes=bytes(hashes), seqs=seqs)
    return None


def put(database: sqlite3.Connection, run: ShelfRun, shelves: Sequence[tuple[bytes, bytes]]) -> None:
    """Put a run on shelves, and remove the rows that it was made of."""
    bounds = min(run.seqs), max(run.seqs)
    number = database.execute("INSERT INTO ref_runs (first_seq, last_seq) VALUES (?, ?)", bounds).lastrowid or 0
    held_at = [(shelf << RUN_BITS | number, *held) for shelf, held in enumerate(shelves) if held[0]]
    database.executemany("INSERT INTO ref_shelves (place, hashes, offsets) VALUES (?, ?, ?)", held_at)
    database.execute("DELETE FROM refs WHERE first_seq IN (SELECT value FROM json_each(?))", (_json(run.rows),))


def forget(database: sqlite3.Connection, upto: int) -> None:
    """Forget the ids of removed batches; the other ids of a run that ends by ``upto`` return to ``refs``."""
    database.execute(GONE, {"upto": upto})
    for run, first, last in database.execute("SELECT * FROM ref_runs WHERE last_seq <= ?", (upto,)).fetchall():
        left = {seq for (seq,) in database.execute("SELECT seq FROM batches WHERE seq BETWEEN ? AND ?", (first, last))}
        at = _json([shelf << RUN_BITS | run for shelf in range(SHELVES)])
        if left:
            held = "SELECT hashes, offsets FROM ref_shelves WHERE place IN (SELECT value FROM json_each(?))"
            add(database, sorted(_left(database.execute(held, (at,)), first, left)))
        database.execute("DELETE FROM ref_shelves WHERE place IN (SELECT value FROM json_each(?))", (at,))
        database.execute("DELETE FROM ref_runs WHERE run = ?", (run,))


def _left(shelves: sqlite3.Cursor, first: int, left: set[int]) -> Iterator[tuple[int, bytes]]:
    for hashes, offsets in shelves:
        for number, offset in enumerate(memoryview(offsets).cast("I")):
            if first + offset in left:
                yield first + offset, hashes[8 * number : 8 * number + 8]


def _json(numbers: Sequence[int]) -> str:
    return msgspec.json.encode(numbers).decode()
