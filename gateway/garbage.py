"""Garbage collection, tuned for processes that live long and make few cycles."""

from __future__ import annotations

import gc


def tend_garbage() -> None:
    """Collect garbage less often, and never the objects made at start: few objects here are in a cycle."""
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)
