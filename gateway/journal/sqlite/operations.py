"""Operations in SQLite: a kind says how several of its operations are carried out in one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, ClassVar

from gateway.journal.operations import Operation, T

ACCEPTS, SETTLES, OTHERS = range(3)


class SqliteOperation(Operation[T]):
    """An operation that a transaction carries out beside others.

    Kinds follow each other by their ``turn``. Those that come last find every stored batch in its lane.
    """

    __slots__ = ()
    turn: ClassVar[int] = OTHERS

    def run(self, database: sqlite3.Connection) -> T:
        """Carry out the operation; return its result."""
        raise NotImplementedError

    @classmethod
    def run_all(cls, database: sqlite3.Connection, operations: Sequence[Any]) -> Sequence[T]:
        """Carry out operations of this kind; return a result for each."""
        return [operation.run(database) for operation in operations]
