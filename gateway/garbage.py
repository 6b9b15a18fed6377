"""Garbage collection: tuned for processes that run for long and make few reference cycles."""

from __future__ import annotations

import gc


def tune_garbage_collection() -> None:
    """Collect garbage less often, and never look at the objects that exist now: few objects are in a cycle."""
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)
