"""The backlog: what waits in the journal, as it is told to operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from gateway.journal.shared_limits import governing


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


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """A rate-limit scope that is closed, or a whole connection that rests (``scope`` is None).

    It opens at ``until_ms``; 0: when an operator says so.
    """

    scope: str | None
    until_ms: int
    reason: str


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """The backlog of a connection: the number of batches, the time of the oldest, and what their lanes wait for.

    ``gates`` are those that are closed now, whether a lane has come to one or not. ``trouble`` is what is wrong with
    the settings of an account's connection.
    """

    connection: str
    batches: int = 0
    oldest_ms: int = 0
    waiting: tuple[Waiting, ...] = ()
    gates: tuple[Gate, ...] = ()
    trouble: str = ""


def rest_of(connection: str, closed: Mapping[str, Sequence[Gate]]) -> Gate | None:
    """Return the rest of a whole connection, or of the one that an account belongs to, or None."""
    gates = (gate for name in governing(connection) for gate in closed.get(name, ()))
    return next((gate for gate in gates if gate.scope is None), None)


def assembled(
    oldest: Mapping[str, tuple[int, int]],
    waiting: Mapping[str, Sequence[Waiting]],
    closed: Mapping[str, Sequence[Gate]],
    trouble: Mapping[str, str],
) -> list[Backlog]:
    """Every connection on which something waits or is closed; ``oldest``: how many batches, and since when."""
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
