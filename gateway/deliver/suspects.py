"""Suspects: lanes that shared a call which killed the process. One of them is why, and nobody knows which."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field


def _keep_nowhere(lanes: Collection[int]) -> None:
    """Keep nothing: where there is no black box."""


@dataclass(slots=True)
class Suspects:
    """The suspects of one connection, who share calls among themselves alone, and half as many at the most each time.

    So whoever it is stands alone after as many deaths as halvings. ``keep`` has to remember those that are left, for
    the next process.
    """

    lanes: frozenset[int] = frozenset()
    keep: Callable[[Collection[int]], None] = _keep_nowhere
    most: int = field(init=False)

    def __post_init__(self) -> None:
        self.most = max(1, len(self.lanes) // 2)

    def clear(self, lanes: Iterable[int]) -> None:
        """The process has outlived a call of theirs."""
        left = self.lanes.difference(lanes) if self.lanes else self.lanes
        if left != self.lanes:
            self.lanes = left
            self.keep(left)
