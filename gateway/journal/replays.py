"""Replays: what was finished once, stored again to be sent anew. The port's words for it, and how such a batch is kept.

A batch stored again is a batch like any other, for one connection, behind whatever waits in its lane. Its document has
a line before it which says by which replay, of which batch, and for which of its facts alone. Its dialect says so too:
a gateway too old to know of replays cannot read it, and so leaves it to others instead of sending all of it.
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
"""So many bytes of documents are picked at once, and one document more."""


class ReplayOrigin(msgspec.Struct, frozen=True, kw_only=True):
    """The origin of a redelivered batch: the ``replay``, the batch ``of`` which it is a copy, and the ``facts`` meant.

    ``accepted_ms`` is when that one was accepted, ``dialect`` that of its document.
    """

    replay: str
    of: int
    accepted_ms: int
    dialect: str
    facts: tuple[str, ...]


def wrapped(again: ReplayOrigin, document: bytes) -> bytes:
    """A document as it is stored again."""
    return msgspec.json.encode(again) + b"\n" + document


def unwrapped(dialect: str, body: bytes) -> tuple[str, bytes, ReplayOrigin | None]:
    """The dialect and the document of a stored batch, and what it is where it was stored again and is still there."""
    if dialect != DIALECT or not body:
        return dialect, body, None
    line, _, document = body.partition(b"\n")
    again = msgspec.json.decode(line, type=ReplayOrigin)
    return again.dialect, document, again


class Selection(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which facts to replay: those whose latest word is one of ``words``, and that all else which is given holds for.

    Times are of acceptance: from ``since_ms`` on, before ``until_ms``. ``connection`` means its accounts' too.
    """

    words: tuple[str, ...] = ("dead",)
    connection: str | None = None
    reason: str | None = None
    message: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """A replay. ``rate`` is in facts a second, ``state`` is ``open``, ``done`` or ``aborted``.

    It is about nothing newer than the batch ``upto``; what there was up to ``cursor`` is stored again. ``facts`` are
    those stored again that the journal still knows, in so many batches ``waiting``.
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
    """Facts of one batch on one connection that a selection is about, with their latest words.

    ``waiting``: some of the batch is being replayed already. Where it was asked for, ``newer`` says whether something
    of the same lane that was accepted later has been delivered, and ``memory`` is what is remembered of the user.
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
    """That a stored batch is one stored again: by which replay, and when that began."""

    replay: str
    at_ms: int


class Replays(Protocol):
    """The part of the journal that serves replays. All methods raise JournalUnavailable."""

    async def pick(
        self, selection: Selection, *, after_seq: int, upto: int, limit: int, surveys: bool = False
    ) -> tuple[list[PickedFacts], int | None]:
        """Return the facts that a selection matches in the next finished batches, and where to go on, or None.

        A redelivered fact has its newest outcome; an aborted replay leaves it as it was. ``surveys``: each
        with what is remembered of its user, and whether something newer was delivered.
        """

    async def begin_replay(self, replay: Replay) -> None:
        """Note a new replay; it is about what the journal holds now."""

    async def replays(self) -> list[Replay]:
        """Every replay that is known, the oldest first."""

    async def advance_replay(self, id: str, *, cursor: int, done: bool) -> bool:
        """Note how far a replay has come; False where it was aborted."""

    async def abort_replay(self, id: str) -> bool:
        """Have nothing more sent of a replay, and what waits of it dealt with at once; False where it is not known."""

    async def withdrawn(self, user: int, again: ReplayOrigin) -> str:
        """Why what was stored again is not to be sent any more: ``replay_aborted``, ``erased``, or empty."""


Chosen = dict[tuple[int, str], tuple[tuple["Outcome", ...], bool]]
"""By batch and connection: the outcomes that a selection is about, and whether some of the batch waits."""


def all_chosen(
    selection: Selection,
    finished: Iterable[tuple[int, str, Sequence[Outcome]]],
    later: Iterable[tuple[int, str, Sequence[Outcome] | None]],
) -> Chosen:
    """Return the facts that a selection matches, given the outcomes of batches and of their redelivered copies."""
    since: dict[tuple[int, str], list[Sequence[Outcome] | None]] = {}
    for seq, connection, outcomes in later:
        since.setdefault((seq, connection), []).append(outcomes)
    looked_at = {
        (seq, connection): chosen(selection, said, since.get((seq, connection), ()))
        for seq, connection, said in finished
    }
    return {key: found for key, found in looked_at.items() if found[0]}


def all_picked(found: Chosen, documents: Iterable[Sequence[Any]]) -> list[PickedFacts]:
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


def chosen(
    selection: Selection, said: Iterable[Outcome], later: Iterable[Sequence[Outcome] | None]
) -> tuple[tuple[Outcome, ...], bool]:
    """Which of a batch's outcomes a selection is about, and whether some of it waits.

    ``later`` are the outcomes of what was stored again of it since, in order; None: that waits.
    """
    latest = {outcome.fact: outcome for outcome in said}
    waits = False
    for outcomes in later:
        waits = waits or outcomes is None
        latest.update((one.fact, one) for one in outcomes or () if one.reason != ABORTED)
    found = (one for one in latest.values() if one.state in selection.words)
    return tuple(one for one in found if selection.reason in (None, one.reason)), waits


def cut(sizes: Iterable[tuple[int, int]]) -> int | None:
    """The last batch of those to pick at once, given each one's document's size in order; None: all of them."""
    known = list(sizes)
    sums = accumulate(size for _, size in known)
    reached = next((at for at, sum in enumerate(sums) if sum > MAX_BYTES), len(known))
    return known[reached][0] if reached < len(known) - 1 else None
