"""The journal's port: what is durable, in words that any engine can keep.

A *batch* is stored once. For each connection that shall have it there is a piece of *work* in the *lane* of
its user. A lane is claimed whole, by one owner at a time, for as long as its lease lasts (in a file: as its owner
lives); every claim has a fence of its own, and what is settled under another one changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Protocol

import msgspec

from gateway.journal.backlog import Backlog, Gate
from gateway.journal.closings import Closings
from gateway.journal.replays import Again, Replayed, Replays


class JournalUnavailable(Exception):
    """The journal cannot be read or written now (disk full, locked, gone); nothing was stored. Try again later."""


class JournalRejected(Exception):
    """An operation holds a value that cannot be stored, however often it is tried; nothing of it was stored.

    It names the kind of error and never the value. Operations of others in the same commit are carried out.
    """


class JournalUnusable(Exception):
    """The journal is not one that this version can use; says why."""


def hash64(text: str) -> int:
    """A signed 64-bit hash, the same on every machine and in every version."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), signed=True)


def hash_ref(text: str, salt: bytes) -> bytes:
    """An 8-byte hash of an id by which batches are found, salted with the journal's own ``salt``."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, salt=salt).digest()


def hash128(text: str) -> bytes:
    """A 16-byte hash, the same on every machine and in every version."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """A user's wish to be forgotten: what happened ``before_ms`` to whom these hashed names mean is sent no more.

    It is kept for longer than what it was posted with, so that what is told of too late is known for such.
    """

    names: tuple[bytes, ...]
    before_ms: int


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A batch to store. ``user`` is the hash of the lane's user, ``scope`` the one connection it is for (None: all).

    ``refs`` are the hashed ids by which it shall be found. A batch whose ``dedupe`` is stored already is
    passed over; see ``conflicting``. ``wish``: the user asks to be forgotten, so what waits in the lane before it
    need not be sent.
    ``again``: it was stored before (see ``replays``).
    """

    dedupe: bytes
    user: int
    message: str
    part: int
    dialect: str
    received_ms: int
    facts: int
    refs: tuple[bytes, ...]
    body: bytes
    scope: str | None = None
    wish: Wish | None = None
    again: Again | None = None


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """A customer's settings on a connection, sealed. ``connection`` is the account's own: ``NAME/ACCOUNT``.

    ``print`` tells them from other settings, ``told_ms`` is when mParticle said so. ``trouble`` is why they cannot be
    used or are not accepted, empty while nothing is wrong.
    """

    connection: str
    print: bytes
    sealed: bytes
    told_ms: int
    received_ms: int
    trouble: str = ""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A stored batch waiting in a lane. ``progress`` is what was recorded of it so far, by call id.

    ``crashes`` counts the processes that died of it, the last one while ``crashed_in`` (see Blackbox) was done.
    ``again``: it is stored again, for some of its facts.
    """

    seq: int
    message: str
    part: int
    dialect: str
    received_ms: int
    facts: int
    body: bytes
    progress: dict[str, Any] = {}
    crashes: int = 0
    crashed_in: str = ""
    again: Again | None = None


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """A claimed lane: its oldest items, in order. Those up to ``erased_seq`` are of a user who asked to be forgotten.

    ``attempts`` and ``failing_since_ms`` speak of the call that the lane stopped at (0: none). ``wishes``: somebody has
    asked to be forgotten on this connection, so that every item has to be looked at for being told of too late.
    """

    connection: str
    user: int
    fence: int
    attempts: int
    failing_since_ms: int
    items: tuple[Item, ...]
    memory: dict[str, Any] = {}
    erased_seq: int = 0
    wishes: bool = False


class KeptBack(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """Attributes or identities that a filter took out of a fact: the setting behind it, the first few names.

    ``more`` counts those whose names were not written down.
    """

    cause: str
    names: tuple[str, ...]
    more: int = 0


class Outcome(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """The terminal word for one fact on one connection: ``delivered``, ``skipped`` or ``dead``, and why.

    ``left_out`` lists parts that were not sent, each with its reason; ``detail`` says more of a dead letter.
    ``cause`` is the setting that had the fact skipped; ``kept_back`` is what the filter took out of it.
    """

    fact: str
    word: str
    reason: str = ""
    left_out: tuple[tuple[str, str], ...] = ()
    detail: str = ""
    cause: str = ""
    kept_back: tuple[KeptBack, ...] = ()


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """An item that is done with. ``outcomes`` has a word for every fact it was found to hold.

    ``erased``: the lane's user has been forgotten, and so has to be what waits in the lane by then. ``is_wish``: it
    asked for that, and all that is remembered of the user on this connection is forgotten. ``unkept``: its
    document is not kept, once no connection has work with it.
    """

    seq: int
    facts: int
    outcomes: tuple[Outcome, ...]
    erased: bool = False
    is_wish: bool = False
    unkept: bool = False


class Memo(msgspec.Struct, frozen=True, kw_only=True):
    """A value that a plugin remembers; ``shared`` by the whole connection, or of the lane's user. None forgets it."""

    key: str
    value: Any
    shared: bool = False


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a claimed lane. Everything in it is stored together, or (under an old fence) not at all.

    ``progress`` maps an item's seq to all that is known of its calls. ``release`` gives the lane back: it is
    claimable again from ``due_ms`` on, or gone if nothing is left in it; otherwise the lease goes on.
    """

    connection: str
    user: int
    fence: int
    finished: tuple[Finished, ...] = ()
    progress: dict[int, dict[str, Any]] = {}
    memos: tuple[Memo, ...] = ()
    release: bool = False
    due_ms: int = 0
    attempts: int = 0
    failing_since_ms: int = 0
    reason: str = ""


class Touched(msgspec.Struct, frozen=True, kw_only=True):
    """A batch that an erasure came across. ``withheld``: it waited, and was not sent; ``removed``: its document was."""

    message: str
    part: int
    withheld: bool
    removed: bool


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What an erasure did here on one connection, besides what its partner answered.

    ``documents`` are those removed, ``memories`` the values that the plugin remembered of the user. ``touched`` are the
    batches of the user's that the journal still knows.
    """

    documents: int
    memories: int
    touched: tuple[Touched, ...]


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """What the journal knows of a stored batch on one connection.

    ``at_ms`` and ``outcomes`` where it is finished; else how it waits: until ``due_ms``, after so many
    ``attempts``, for what ``reason``. ``rest`` is how the whole connection rests, if it does, ``trouble`` what is wrong
    with the settings of an account's connection. ``receipt`` is that of an erasure that was made, or is about to be.
    """

    connection: str
    at_ms: int | None = None
    outcomes: tuple[Outcome, ...] = ()
    progress: dict[str, Any] = {}
    due_ms: int | None = None
    attempts: int = 0
    reason: str = ""
    claimed: bool = False
    rest: Gate | None = None
    trouble: str = ""
    receipt: Receipt | None = None


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A stored batch that an id was found in. ``body`` is empty where it was removed; ``replayed``: stored again."""

    seq: int
    message: str
    part: int
    dialect: str
    received_ms: int
    body: bytes
    sightings: tuple[Sighting, ...]
    replayed: Replayed | None = None


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """How many facts of a connection met a word (``received``, ``delivered``, ``skipped``, ``dead``) for a reason."""

    connection: str
    word: str
    reason: str
    facts: int


MOST_DATA_POINTS = 20_000


class DataPoint(msgspec.Struct, frozen=True):
    """A name that was seen ``times`` times on the way to a connection, from one input.

    ``kind`` is the data filter's table for it: ``events``, ``screens``, ``commerce``, ``event_types``,
    ``user_attributes``, ``user_identities`` or ``audiences``. ``attribute`` is that of an event, or empty for the event
    itself; ``type`` is an attribute's JSON type.
    """

    connection: str
    input: str
    kind: str
    name: str
    attribute: str
    type: str
    first_ms: int
    last_ms: int
    times: int


class Journal(Replays, Closings, Protocol):
    """An engine that keeps the journal. All methods raise JournalUnavailable."""

    @property
    def salt(self) -> bytes:
        """What ids are salted with before they are hashed: made with the journal, and the same for as long as it lives.

        So a hashed id may be written down elsewhere, and found again, without telling whose it is.
        """

    async def accept(self, entries: Sequence[Entry], connections: Sequence[str], sealed: Sequence[Sealed] = ()) -> int:
        """Store batches durably, with work for these connections; returns how many were new.

        With them, settings are kept that are not older than those known of their connection. Where they are others,
        what waits there because it was refused is due at once. The same ones, told again an hour later or more, are
        only kept for longer.
        """

    async def conflicting(self, entries: Sequence[Entry]) -> list[Entry]:
        """Return those of these batches that are stored under the same ``dedupe`` with another document.

        A stored batch whose document was removed conflicts with none.
        """

    async def claim(self, connection: str, *, now_ms: int, lanes: int, items: int) -> list[Lane]:
        """Claim up to so many lanes that are due, longest due first, each with so many items at most."""

    async def settle(self, settlement: Settlement) -> bool:
        """Record durably what became of a lane; False where the claim was no longer ours."""

    async def rouse(self, connection: str, reason: str, *, now_ms: int) -> None:
        """Make the lanes due that were given back for this reason. A hint: they are due by themselves one day."""

    async def recall(self, *, after_ms: int, now_ms: int, limit: int) -> int:
        """Make lanes due, so many at the most, that were put off until after then; returns how many.

        For when a clock was wrong. Nor do claims stay that end later than any claim does.
        """

    async def crashed(self, connection: str, user: int, seq: int, doing: str) -> None:
        """Count that a process died of a piece of work, while ``doing`` was done."""

    async def shared_memory(self, connection: str) -> dict[str, Any]:
        """What a plugin remembers for its whole connection."""

    async def lane_is_empty(self, connection: str, user: int, before_seq: int) -> bool:
        """Whether no work older than ``before_seq`` is left in a lane."""

    async def is_dealt_with(self, connection: str, ref: bytes, before_seq: int) -> bool:
        """Whether no work older than ``before_seq`` is left of batches that this hashed id was found in."""

    async def erase(self, connection: str, names: Sequence[str], *, everywhere: bool, seq: int) -> bool:
        """Let nothing be sent of a user that is older than their wish, the batch ``seq``; keep nothing of it either.

        It is what lies in the lanes of these names and, if ``everywhere``, in any lane in which one of them was found.
        Returns whether none of it waits any more. Then the documents of it that this connection had are removed,
        where no other connection has work with them, and a receipt is kept.
        """

    async def erased_before(self, connection: str, names: Sequence[bytes]) -> int:
        """Up to when whom one of these hashed names means asked to be forgotten on this connection; 0 if never."""

    async def take_over(self) -> bool:
        """Become a dispatcher of this journal; False while another lives and the engine allows one at a time.

        What was refused may be tried at once: the settings may be others now.
        """

    async def wait(self, connections: Sequence[str], *, now_ms: int, timeout_s: float) -> None:
        """Return once a lane of these connections may be due, at the latest after the timeout."""

    async def find(self, wanted: Sequence[bytes], *, limit: int = 100) -> list[Found]:
        """Batches that one of these hashed ids (message, event, ``mpid:…``) was found in: the newest, oldest first."""

    async def sealed(self, connection: str) -> Sealed | None:
        """The settings kept for an account's connection."""

    async def all_sealed(self) -> list[Sealed]:
        """The settings of every account."""

    async def note_trouble(self, connection: str, print: bytes, trouble: str) -> None:
        """Note what is wrong with the settings of an account, as long as they are those of this print."""

    async def reseal(self, print: bytes, sealed: Sealed) -> None:
        """Keep the settings of this print sealed anew."""

    async def due(self, connection: str, now_ms: int) -> list[tuple[str, bytes | None]]:
        """The connection itself and those of its accounts, where a lane is due; with the print of their settings."""

    async def counts(self) -> list[Count]:
        """Counts of facts since the journal was made: exact, and true after any crash."""

    async def note(self, points: Sequence[DataPoint]) -> None:
        """Add to the catalog of data points what was seen since the last time; no two are of one name.

        It is bounded: once there are too many, those that were seen longest ago are forgotten.
        """

    async def data_points(self) -> list[DataPoint]:
        """The catalog of data points, by kind, name, attribute, connection and input."""

    async def backlog(self) -> list[Backlog]:
        """What waits or is closed, by connection. Looks at every lane and every piece of work, beside all else."""

    async def prune(self, *, before_ms: int, dead_before_ms: int, after_seq: int, limit: int) -> int | None:
        """Of so many batches behind one, forget those finished that are older than this (the second for dead letters).

        Returns where to go on, or None once a younger one was met.
        """

    async def room(self) -> int | None:
        """How many bytes can still be stored, or None where the engine cannot know."""

    async def ping(self) -> None:
        """Return if the journal can be written now."""

    async def close(self) -> None:
        """Finish what is in hand and let go of the database."""
