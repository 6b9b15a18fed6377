"""Work that nobody does: that of connections which are no longer configured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from gateway.journal.port import Count


def stranded(counts: Iterable[Count], configured: Collection[str]) -> dict[str, int]:
    """How many facts wait for each connection that is not configured, those of its accounts with it."""
    waiting: Counter[str] = Counter()
    for count in counts:
        waiting[count.connection.partition("/")[0]] += count.facts if count.word == "received" else -count.facts
    return {name: facts for name, facts in sorted(waiting.items()) if facts > 0 and name not in configured}
