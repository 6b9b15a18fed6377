"""Lanes as they are handed out: what either engine reads of those that were claimed, put together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from gateway.journal.replays import unwrapped
from gateway.journal.types import Item, Lane

Row = Sequence[Any]


def assembled(
    of: tuple[str, int], taken: Iterable[Row], items: Iterable[Row], memory: Iterable[Row], *, wishes: bool
) -> list[Lane]:
    """The lanes claimed on a connection under a fence (``of``), in the order in which they were ``taken``.

    Rows of those have user, attempts, since when it fails, up to where it is erased; of ``items``, in order, a user
    and what an Item holds, progress as JSON; of ``memory`` a user, a key, and a value as JSON.
    """
    waiting: dict[int, list[Item]] = {}
    for user, *row in items:
        waiting.setdefault(user, []).append(_item(row))
    known: dict[int, dict[str, Any]] = {}
    for user, key, value in memory:
        known.setdefault(user, {})[key] = msgspec.json.decode(value)
    connection, fence = of
    return [
        Lane(
            connection=connection,
            user=user,
            fence=fence,
            attempts=attempts,
            failing_since_ms=failing_since_ms,
            items=tuple(waiting.get(user, ())),
            memory=known.get(user, {}),
            erased_seq=erased_seq,
            wishes=wishes,
        )
        for user, attempts, failing_since_ms, erased_seq in taken
    ]


def _item(row: Row) -> Item:
    seq, message, part, dialect, received_ms, facts, body, progress, crashes, crashed_in = row
    dialect, body, again = unwrapped(dialect, body)
    return Item(
        seq=seq,
        message=message,
        part=part,
        dialect=dialect,
        received_ms=received_ms,
        facts=facts,
        body=body,
        progress=msgspec.json.decode(progress) if progress else {},
        crashes=crashes,
        crashed_in=crashed_in,
        again=again,
    )
