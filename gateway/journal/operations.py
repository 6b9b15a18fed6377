"""Operations: an engine carries out several in one transaction, each with a result of its own type."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Operation(Generic[T]):
    """An operation on the journal whose result is a ``T``."""

    __slots__ = ()


def group_by_kind(operations: Iterable[Operation[Any]]) -> dict[Any, list[int]]:
    """Return the places of operations among the others, by their class and in order."""
    kinds: dict[Any, list[int]] = {}
    for place, operation in enumerate(operations):
        kinds.setdefault(type(operation), []).append(place)
    return kinds
