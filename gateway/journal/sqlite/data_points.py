"""The catalog of data points in SQLite: the names that were seen, never a value."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

import msgspec

from gateway.journal.sqlite.operations import SqliteOperation
from gateway.journal.types import DataPoint

NOTE = """
    INSERT INTO data_points (connection, input, kind, name, attribute, type, first_ms, last_ms, times)
    SELECT r.value ->> 0, r.value ->> 1, r.value ->> 2, r.value ->> 3, r.value ->> 4, r.value ->> 5, r.value ->> 6,
        r.value ->> 7, r.value ->> 8
    FROM json_each(:rows) r WHERE true
    ON CONFLICT DO UPDATE SET type = excluded.type, first_ms = min(first_ms, excluded.first_ms),
        last_ms = max(last_ms, excluded.last_ms), times = times + excluded.times
"""
BOUND = """
    DELETE FROM data_points WHERE rowid IN (
        SELECT rowid FROM data_points ORDER BY last_ms DESC, rowid DESC LIMIT -1 OFFSET :most
    )
"""
FORGET = "DELETE FROM data_points WHERE name = :name OR attribute = :name"
ALL = """
    SELECT connection, input, kind, name, attribute, type, first_ms, last_ms, times FROM data_points
    ORDER BY kind, name, attribute, connection, input
"""


@dataclass(frozen=True, slots=True)
class NoteDataPoints(SqliteOperation[None]):
    """Add data points to the catalog; beyond ``most`` of them, forget those that were seen longest ago."""

    points: tuple[DataPoint, ...]
    most: int

    def run(self, database: sqlite3.Connection) -> None:
        """Add the data points."""
        rows = [msgspec.structs.astuple(point) for point in self.points]
        database.execute(NOTE, {"rows": msgspec.json.encode(rows).decode()})
        (count,) = database.execute("SELECT count(*) FROM data_points").fetchone()
        if count > self.most:
            database.execute(BOUND, {"most": self.most})


@dataclass(frozen=True, slots=True)
class PruneDataPoints(SqliteOperation[int]):
    """Remove from the catalog every data point with this name, or of an attribute with it."""

    name: str

    def run(self, database: sqlite3.Connection) -> int:
        """Return how many there were."""
        return database.execute(FORGET, {"name": self.name}).rowcount


def all_points(database: sqlite3.Connection) -> list[DataPoint]:
    """Return the whole catalog, sorted by kind and name."""
    return [DataPoint(*row) for row in database.execute(ALL).fetchall()]
