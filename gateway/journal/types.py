"""The values that the journal takes and gives: frozen, and the same for every engine."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgspec

from gateway.journal.backlog import Gate
from gateway.journal.replays import Replayed, ReplayOrigin


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


class ErasureRequest(msgspec.Struct, frozen=True, kw_only=True):
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
    wish: ErasureRequest | None = None
    again: ReplayOrigin | None = None


class SealedSettings(msgspec.Struct, frozen=True, kw_only=True):
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
    again: ReplayOrigin | None = None


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
    state: str
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
    """The result of work on a claimed lane. All of it is stored together, or, under an old fence, none of it.

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


class ErasedBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch that an erasure came across. ``withheld``: it waited, and was not sent; ``removed``: its document was."""

    message: str
    part: int
    withheld: bool
    removed: bool


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """The record of what an erasure did here on one connection, besides what its partner answered.

    ``documents`` are those removed, ``memories`` the values that the plugin remembered of the user. ``touched`` are the
    batches of the user's that the journal still knows.
    """

    documents: int
    memories: int
    touched: tuple[ErasedBatch, ...]


class DeliveryStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a stored batch on one connection.

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


class FoundBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A stored batch that an id was found in. ``body`` is empty where it was removed; ``replayed``: stored again."""

    seq: int
    message: str
    part: int
    dialect: str
    received_ms: int
    body: bytes
    sightings: tuple[DeliveryStatus, ...]
    replayed: Replayed | None = None


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """A count of a connection's facts by word (``received``, ``delivered``, ``skipped``, ``dead``) and reason."""

    connection: str
    state: str
    reason: str
    facts: int


MAX_DATA_POINTS = 20_000


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
