"""The backlog: lanes and batches that wait in the journal, as operators see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from gateway.journal.shared_limits import governing
from gateway.journal.wait_reasons import WaitReason


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """Lanes of a connection that wait for the same ``reason`` (none: for their turn), or are ``claimed``.

    The last is due at ``due_ms``; ``attempts`` is the highest number of one of them, ``failing_since_ms`` the earliest
    first failure (0: none).
    """

    reason: WaitReason
    claimed: bool
    lanes: int
    due_ms: int
    attempts: int
    failing_since_ms: int


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """A closed rate-limit scope, or a closed connection (``scope`` is None).

    It opens at ``until_ms``; 0: when an operator resumes it.
    """

    scope: str | None
    until_ms: int
    reason: WaitReason


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """The backlog of a connection: the number of batches, the time of the oldest, and the lanes by reason.

    ``gates`` are all closed ones. ``trouble`` is the problem of an account's settings.
    """

    connection: str
    batches: int = 0
    oldest_ms: int = 0
    waiting: tuple[Waiting, ...] = ()
    gates: tuple[Gate, ...] = ()
    trouble: str = ""


def rest_of(connection: str, closed: Mapping[str, Sequence[Gate]]) -> Gate | None:
    """Return the closed gate of a whole connection, or of the one that its account belongs to, or None."""
    gates = (gate for name in governing(connection) for gate in closed.get(name, ()))
    return next((gate for gate in gates if gate.scope is None), None)


def make_backlog(
    oldest: Mapping[str, tuple[int, int]],
    waiting: Mapping[str, Sequence[Waiting]],
    closed: Mapping[str, Sequence[Gate]],
    trouble: Mapping[str, str],
) -> list[Backlog]:
    """Return the backlog of every connection with waiting batches or closed gates.

    ``oldest`` holds the number of batches, and the time of the oldest.
    """
    return [
        Backlog(
            connection=name,
            batches=batches,
            oldest_ms=oldest_ms,
            waiting=tuple(waiting.get(name, ())),
            gates=tuple(closed.get(name, ())),
            trouble=trouble.get(name, ""),
        )
        for name in sorted({*oldest, *closed})
        for batches, oldest_ms in (oldest.get(name, (0, 0)),)
    ]
