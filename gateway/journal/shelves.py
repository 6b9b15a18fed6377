"""Shelves: ids laid out by the first byte of their hashes, so that looking one up reads a shelf of each run of them."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Literal

SHELVES = 256

Ids = list[tuple[int, bytes]]
"""Batches, each with the hash of one of its ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShelfRun:
    """Ids to be put on shelves: the rows they are in, their hashes end to end, and the batch of each."""

    rows: list[int]
    hashes: bytes
    seqs: array[int]


def places(hashes: bytes, wanted: bytes) -> Iterator[int]:
    """Return the offset of a hash among hashes end to end."""
    place = hashes.find(wanted)
    while place >= 0:
        if place % 8 == 0:
            yield place
        place = hashes.find(wanted, place + 1)


def laid_out(run: ShelfRun, offset: Literal["I", "Q"] = "I") -> list[tuple[bytes, bytes]]:
    """The ids of a run, sorted by the first byte of their hashes: hashes and offsets for each shelf.

    An offset is four bytes ("I") or eight ("Q").
    """
    first_bytes, first = run.hashes[::8], min(run.seqs)
    order = sorted(range(len(first_bytes)), key=first_bytes.__getitem__)
    hashes = array("Q", map(memoryview(run.hashes).cast("Q").__getitem__, order)).tobytes()
    seqs = array(offset, [run.seqs[number] - first for number in order])
    ends = list(accumulate(first_bytes.count(shelf) for shelf in range(SHELVES)))
    return [(hashes[8 * start : 8 * end], seqs[start:end].tobytes()) for start, end in pairwise((0, *ends))]
