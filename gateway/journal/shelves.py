"""Shelves: runs of ids, laid out by the first byte of their hashes; a lookup reads one shelf of each run."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Literal

SHELVES = 256

Ids = list[tuple[int, bytes]]
"""Pairs of a batch and the hash of one of its ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShelfRun:
    """Ids to put on shelves: the rows that hold them, their hashes end to end, and the batch of each."""

    rows: list[int]
    hashes: bytes
    seqs: array[int]


def places(hashes: bytes, wanted: bytes) -> Iterator[int]:
    """Yield the offsets of a hash among hashes end to end."""
    place = hashes.find(wanted)
    while place >= 0:
        if place % 8 == 0:
            yield place
        place = hashes.find(wanted, place + 1)


def laid_out(run: ShelfRun, offset: Literal["I", "Q"] = "I") -> list[tuple[bytes, bytes]]:
    """Return the hashes and offsets of a run for each shelf, that is by the first byte of the hashes.

    An offset is four bytes ("I") or eight ("Q").
    """
    first_bytes, first = run.hashes[::8], min(run.seqs)
    order = sorted(range(len(first_bytes)), key=first_bytes.__getitem__)
    hashes = array("Q", map(memoryview(run.hashes).cast("Q").__getitem__, order)).tobytes()
    seqs = array(offset, [run.seqs[number] - first for number in order])
    ends = list(accumulate(first_bytes.count(shelf) for shelf in range(SHELVES)))
    return [(hashes[8 * start : 8 * end], seqs[start:end].tobytes()) for start, end in pairwise((0, *ends))]
