"""Claiming lanes: whole users, each with its oldest work in order."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.journal.port import Item, Lane
from gateway.journal.replays import unwrapped
from gateway.journal.settlements import plain_key


@dataclass(frozen=True, slots=True)
class Claim:
    """Claim up to ``lanes`` lanes of a connection until ``until_ms``, with up to ``items`` items each."""

    connection: str
    now_ms: int
    until_ms: int
    lanes: int
    items: int
    fence: int


TAKE = """
    UPDATE lanes SET due_ms = :until_ms, owner = 'dispatch', fence = :fence
    WHERE connection = :connection AND user IN (
        SELECT user FROM lanes WHERE connection = :connection AND due_ms <= :now_ms AND owner IS NULL
        ORDER BY due_ms LIMIT :lanes
    )
    RETURNING user, attempts, failing_since_ms, erased_seq
"""
ITEMS = """
    SELECT b.user, b.seq, b.message, b.part, b.dialect, b.received_ms, b.facts, b.body, w.progress, w.crashes,
        w.crashed_in
    FROM json_each(:users) u
    JOIN work w ON w.user = u.value AND w.connection = :connection
    JOIN batches b ON b.seq = w.seq
    WHERE w.seq IN (
        SELECT seq FROM work WHERE user = u.value AND connection = :connection ORDER BY seq LIMIT :items
    )
    ORDER BY b.user, b.seq
"""
WISHES = "SELECT EXISTS (SELECT 1 FROM wishes)"
MEMORY = """
    SELECT m.user, m.key, m.value FROM json_each(:users) u
    JOIN memory m ON m.user = u.value AND m.connection = :connection
"""


def run(database: sqlite3.Connection, operations: Sequence[Any], results: list[Any]) -> None:
    """Carry out the Claims among these operations; the result of each is its lanes."""
    for index, operation in enumerate(operations):
        if isinstance(operation, Claim):
            results[index] = _claim(database, operation)


def _claim(database: sqlite3.Connection, claim: Claim) -> list[Lane]:
    given = {name: getattr(claim, name) for name in ("connection", "now_ms", "until_ms", "lanes", "items", "fence")}
    taken = database.execute(TAKE, given).fetchall()
    if not taken:
        return []
    given["users"] = msgspec.json.encode([user for user, *_ in taken]).decode()
    items: dict[int, list[Item]] = {}
    for user, *row in database.execute(ITEMS, given).fetchall():
        items.setdefault(user, []).append(_item(row))
    memory: dict[int, dict[str, Any]] = {}
    for user, key, value in database.execute(MEMORY, given).fetchall():
        memory.setdefault(user, {})[plain_key(key)] = msgspec.json.decode(value)
    wishes = bool(database.execute(WISHES).fetchone()[0])
    return [
        Lane(
            connection=claim.connection,
            user=user,
            fence=claim.fence,
            attempts=attempts,
            failing_since_ms=failing_since_ms,
            items=tuple(items.get(user, ())),
            memory=memory.get(user, {}),
            erased_seq=erased_seq,
            wishes=wishes,
        )
        for user, attempts, failing_since_ms, erased_seq in taken
    ]


def _item(row: Sequence[Any]) -> Item:
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
