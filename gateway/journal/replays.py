"""Replays: finished facts stored again for redelivery; their part of the port, and the format of such batches.

A redelivered batch is stored like any other, for one connection, behind all that waits in its lane. A line before its
document names the replay, the original batch and the facts to send. Its dialect is ``replay``, so that a gateway that
does not know replays cannot read it, and leaves it to others instead of sending all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from gateway.journal.types import Outcome

DIALECT = "replay"
ABORTED = "replay_aborted"
MAX_BYTES = 16 << 20
"""Bytes of documents that are picked at once; the last document may exceed it."""


class ReplayOrigin(msgspec.Struct, frozen=True, kw_only=True):
    """The origin of a redelivered batch: the ``replay``, the original batch ``of``, and the ``facts`` to send.

    ``accepted_ms`` is the time of the original's acceptance, ``dialect`` that of its document.
    """

    replay: str
    of: int
    accepted_ms: int
    dialect: str
    facts: tuple[str, ...]


def wrap(again: ReplayOrigin, document: bytes) -> bytes:
    """Return a document as a replay stores it."""
    return msgspec.json.encode(again) + b"\n" + document


def unwrap(dialect: str, body: bytes) -> tuple[str, bytes, ReplayOrigin | None]:
    """Return the dialect and document of a stored batch, and its origin if a replay stored it."""
    if dialect != DIALECT or not body:
        return dialect, body, None
    line, _, document = body.partition(b"\n")
    again = msgspec.json.decode(line, type=ReplayOrigin)
    return again.dialect, document, again


class Selection(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The facts to redeliver: those whose latest state is one of ``words``, and that match all other given fields.

    They were accepted from ``since_ms`` on and before ``until_ms``. ``connection`` includes its accounts'.
    """

    words: tuple[str, ...] = ("dead",)
    connection: str | None = None
    reason: str | None = None
    message: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """A replay. ``rate`` is in facts a second, ``state`` is ``open``, ``done`` or ``aborted``.

    It selects no batch newer than ``upto``; the selected ones up to ``cursor`` are stored again. ``facts`` counts the
    redelivered facts that the journal still knows, ``waiting`` their batches that wait.
    """

    id: str
    created_ms: int
    selection: Selection
    rate: float
    upto: int = 0
    cursor: int = 0
    state: str = "open"
    facts: int = 0
    waiting: int = 0


class PickedFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Selected facts of one batch on one connection, with their latest outcomes.

    ``waiting``: another replay of the batch waits. For a survey, ``newer`` says whether a later batch of the lane was
    delivered, and ``memory`` holds the memories of the user.
    """

    seq: int
    user: int
    connection: str
    message: str
    part: int
    dialect: str
    received_ms: int
    body: bytes
    outcomes: tuple[Outcome, ...]
    waiting: bool = False
    newer: bool = False
    memory: dict[str, Any] = {}


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """The mark of a redelivered batch: its replay, and the time when that began."""

    replay: str
    at_ms: int


class Replays(Protocol):
    """The part of the journal that serves replays. All methods raise JournalUnavailable."""

    async def pick(
        self, selection: Selection, *, after_seq: int, upto: int, limit: int, surveys: bool = False
    ) -> tuple[list[PickedFacts], int | None]:
        """Return the facts that a selection matches in the next finished batches, and where to go on, or None.

        A redelivered fact has its newest outcome; an aborted replay does not change it. ``surveys``: with the memories
        of each user, and whether a newer batch was delivered.
        """

    async def begin_replay(self, replay: Replay) -> None:
        """Record a new replay of what the journal holds now."""

    async def replays(self) -> list[Replay]:
        """Return every known replay, oldest first."""

    async def advance_replay(self, id: str, *, cursor: int, done: bool) -> bool:
        """Record the progress of a replay; return False if it was aborted."""

    async def abort_replay(self, id: str) -> bool:
        """Abort a replay, and make its waiting batches due; return False if it is unknown."""

    async def withdrawn(self, user: int, again: ReplayOrigin) -> str:
        """Return why a redelivered batch must not be sent: ``replay_aborted``, ``erased``, or "" if it may be."""


Chosen = dict[tuple[int, str], tuple[tuple["Outcome", ...], bool]]
"""By batch and connection: the selected outcomes, and whether a replay of the batch waits."""


def choose_all(
    selection: Selection,
    finished: Iterable[tuple[int, str, Sequence[Outcome]]],
    later: Iterable[tuple[int, str, Sequence[Outcome] | None]],
) -> Chosen:
    """Return the facts that a selection matches, given the outcomes of batches and of their redelivered copies."""
    since: dict[tuple[int, str], list[Sequence[Outcome] | None]] = {}
    for seq, connection, outcomes in later:
        since.setdefault((seq, connection), []).append(outcomes)
    looked_at = {
        (seq, connection): choose(selection, said, since.get((seq, connection), ()))
        for seq, connection, said in finished
    }
    return {key: found for key, found in looked_at.items() if found[0]}


def make_picked(found: Chosen, documents: Iterable[Sequence[Any]]) -> list[PickedFacts]:
    """Return chosen batches with their documents: rows of seq, user, message, part, dialect, acceptance time, body."""
    known = {row[0]: row for row in documents}
    return [
        PickedFacts(
            seq=seq,
            user=user,
            connection=connection,
            message=message,
            part=part,
            dialect=dialect,
            received_ms=received_ms,
            body=body,
            outcomes=outcomes,
            waiting=waiting,
        )
        for (seq, connection), (outcomes, waiting) in found.items()
        if seq in known
        for _, user, message, part, dialect, received_ms, body in (known[seq],)
    ]


def choose(
    selection: Selection, said: Iterable[Outcome], later: Iterable[Sequence[Outcome] | None]
) -> tuple[tuple[Outcome, ...], bool]:
    """Return a batch's outcomes that a selection matches, and whether a replay of the batch waits.

    ``later`` are the outcomes of its redelivered copies, in order; None for one that waits.
    """
    latest = {outcome.fact: outcome for outcome in said}
    waits = False
    for outcomes in later:
        waits = waits or outcomes is None
        latest.update((one.fact, one) for one in outcomes or () if one.reason != ABORTED)
    found = (one for one in latest.values() if one.state in selection.words)
    return tuple(one for one in found if selection.reason in (None, one.reason)), waits


def find_cut(sizes: Iterable[tuple[int, int]]) -> int | None:
    """Return the last batch of a window of MAX_BYTES, given the sizes of documents in order; None if all fit."""
    known = list(sizes)
    sums = accumulate(size for _, size in known)
    reached = next((at for at, sum in enumerate(sums) if sum > MAX_BYTES), len(known))
    return known[reached][0] if reached < len(known) - 1 else None
