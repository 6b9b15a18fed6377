"""Suspects: lanes that shared a call which killed the process. One of them is the cause; bisection finds it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field


def _keep_nowhere(lanes: Collection[int]) -> None:
    """Keep nothing, as there is no black box."""


@dataclass(slots=True)
class Suspects:
    """The suspects of one connection. They share calls only with each other, at most half of them in one call.

    Each further crash halves them, until the cause is alone. ``keep`` stores those that are left for the next process.
    """

    lanes: frozenset[int] = frozenset()
    keep: Callable[[Collection[int]], None] = _keep_nowhere
    most: int = field(init=False)

    def __post_init__(self) -> None:
        self.most = max(1, len(self.lanes) // 2)

    def clear(self, lanes: Iterable[int]) -> None:
        """Clear lanes of suspicion: the process has survived a call of theirs."""
        left = self.lanes.difference(lanes) if self.lanes else self.lanes
        if left != self.lanes:
            self.lanes = left
            self.keep(left)
