"""The ids by which batches are found: written as they come, and put on shelves later.

An index written with each batch would be the dearest part of taking it in. So the ids of a commit travel as one row of
``refs``, which can only be scanned; and what has become a run of many is laid out anew, one shelf for each first byte
of a hash, so that whoever looks an id up reads one shelf of each run and what has come since.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import msgspec

SHELVES = 256
RUN_BITS = 48

NEWEST = "SELECT first_seq, hashes, offsets FROM refs WHERE instr(hashes, ?)"
SHELVED = """
    SELECT r.first_seq, s.hashes, s.offsets FROM ref_shelves s
    JOIN ref_runs r ON r.run = s.place & :mask
    WHERE s.place BETWEEN :shelf AND :shelf | :mask AND instr(s.hashes, :wanted)
"""
MASK = (1 << RUN_BITS) - 1
WAITING = "SELECT first_seq, hashes, offsets FROM refs ORDER BY first_seq"
GONE = """
    DELETE FROM refs WHERE first_seq <= :upto
    AND NOT EXISTS (SELECT 1 FROM batches b WHERE b.seq BETWEEN refs.first_seq AND refs.last_seq)
"""
ADD = "INSERT INTO refs (first_seq, last_seq, hashes, offsets) VALUES (?, ?, ?, ?)"

Ids = list[tuple[int, bytes]]
"""Batches, each with the hash of one of its ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Ids to be put on shelves: the rows they are in, their hashes end to end, and the batch of each."""

    rows: list[int]
    hashes: bytes
    seqs: array[int]


def salt(database: sqlite3.Connection) -> bytes:
    """What this journal's ids are salted with."""
    found: bytes = database.execute("SELECT salt FROM origin").fetchone()[0]
    return found


def add(database: sqlite3.Connection, ids: Ids) -> None:
    """Make batches findable by their ids, given in the order of batches, as one row."""
    if ids:
        first, last = ids[0][0], ids[-1][0]
        offsets = array("I", [seq - first for seq, _ in ids]).tobytes()
        database.execute(ADD, (first, last, b"".join([ref for _, ref in ids]), offsets))


def seqs(database: sqlite3.Connection, wanted: Sequence[bytes]) -> list[int]:
    """The batches that one of these ids belongs to, in their order."""
    found: set[int] = set()
    for ref in wanted:
        given = {"shelf": ref[0] << RUN_BITS, "mask": MASK, "wanted": ref}
        for rows in (database.execute(NEWEST, (ref,)), database.execute(SHELVED, given)):
            for first, hashes, offsets in rows:
                of = memoryview(offsets).cast("I")
                found.update(first + of[place // 8] for place in _places(hashes, ref))
    return sorted(found)


def _places(hashes: bytes, wanted: bytes) -> Iterator[int]:
    place = hashes.find(wanted)
    while place >= 0:
        if place % 8 == 0:
            yield place
        place = hashes.find(wanted, place + 1)


def a_run(database: sqlite3.Connection, size: int) -> Run | None:
    """The oldest rows that wait to be put on shelves; None while there are fewer ids in them than ``size``."""
    rows: list[int] = []
    hashes = bytearray()
    seqs = array("q")
    for first, some, offsets in database.execute(WAITING):
        rows.append(first)
        hashes += some
        seqs.extend([first + offset for offset in memoryview(offsets).cast("I")])
        if len(seqs) >= size:
            return Run(rows=rows, hashes=bytes(hashes), seqs=seqs)
    return None


def laid_out(run: Run) -> list[tuple[bytes, bytes]]:
    """The ids of a run, sorted by the first byte of their hashes: hashes and offsets for each shelf."""
    first_bytes, first = run.hashes[::8], min(run.seqs)
    order = sorted(range(len(first_bytes)), key=first_bytes.__getitem__)
    hashes = array("Q", map(memoryview(run.hashes).cast("Q").__getitem__, order)).tobytes()
    offsets = array("I", [run.seqs[number] - first for number in order]).tobytes()
    ends = list(accumulate(first_bytes.count(shelf) for shelf in range(SHELVES)))
    return [(hashes[8 * start : 8 * end], offsets[4 * start : 4 * end]) for start, end in pairwise((0, *ends))]


def put(database: sqlite3.Connection, run: Run, shelves: Sequence[tuple[bytes, bytes]]) -> None:
    """Put a run on shelves, in place of the rows that it was made of."""
    bounds = min(run.seqs), max(run.seqs)
    number = database.execute("INSERT INTO ref_runs (first_seq, last_seq) VALUES (?, ?)", bounds).lastrowid or 0
    places = [(shelf << RUN_BITS | number, *held) for shelf, held in enumerate(shelves) if held[0]]
    database.executemany("INSERT INTO ref_shelves (place, hashes, offsets) VALUES (?, ?, ?)", places)
    database.execute("DELETE FROM refs WHERE first_seq IN (SELECT value FROM json_each(?))", (_json(run.rows),))


def forget(database: sqlite3.Connection, upto: int) -> None:
    """Forget the ids of batches that are gone; runs that end here give what is left of them back to wait again."""
    database.execute(GONE, {"upto": upto})
    for run, first, last in database.execute("SELECT * FROM ref_runs WHERE last_seq <= ?", (upto,)).fetchall():
        left = {seq for (seq,) in database.execute("SELECT seq FROM batches WHERE seq BETWEEN ? AND ?", (first, last))}
        places = _json([shelf << RUN_BITS | run for shelf in range(SHELVES)])
        if left:
            held = "SELECT hashes, offsets FROM ref_shelves WHERE place IN (SELECT value FROM json_each(?))"
            add(database, sorted(_left(database.execute(held, (places,)), first, left)))
        database.execute("DELETE FROM ref_shelves WHERE place IN (SELECT value FROM json_each(?))", (places,))
        database.execute("DELETE FROM ref_runs WHERE run = ?", (run,))


def _left(shelves: sqlite3.Cursor, first: int, left: set[int]) -> Iterator[tuple[int, bytes]]:
    for hashes, offsets in shelves:
        for number, offset in enumerate(memoryview(offsets).cast("I")):
            if first + offset in left:
                yield first + offset, hashes[8 * number : 8 * number + 8]


def _json(numbers: Sequence[int]) -> str:
    return msgspec.json.encode(numbers).decode()
