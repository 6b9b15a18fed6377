"""The backlog: what waits in the journal, as it is told to operators."""

from __future__ import annotations

import msgspec


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """Lanes of a connection that wait for the same ``reason`` (none: for their turn), or are ``claimed``.

    All of them are due at ``due_ms``; ``attempts`` is the most that one has had, ``failing_since_ms`` since when the
    call has failed that has failed for the longest (0: none has).
    """

    reason: str
    claimed: bool
    lanes: int
    due_ms: int
    attempts: int
    failing_since_ms: int


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """What waits on a connection: so many batches, the oldest of ``oldest_ms``, and what their lanes wait for."""

    connection: str
    batches: int
    oldest_ms: int
    waiting: tuple[Waiting, ...]
