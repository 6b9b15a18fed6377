"""Operations: an engine carries out several in one transaction, each with a result of its own type."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Operation(Generic[T]):
    """An operation on the journal whose result is a ``T``."""

    __slots__ = ()
