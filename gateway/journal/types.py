"""Values of the journal's port: frozen, and the same for every engine."""

from __future__ import annotations

from hashlib import blake2b, sha256
from typing import Any

import msgspec

from gateway.journal.backlog import Gate
from gateway.journal.replays import Replayed, ReplayOrigin
from gateway.journal.wait_reasons import NO_REASON, WaitReason


class JournalUnavailable(Exception):
    """The journal cannot be read or written now (disk full, locked, missing); nothing was stored. Try again later."""


class JournalRejected(Exception):
    """An operation holds a value that can never be stored; nothing of the operation was stored.

    The message names the kind of error and never the value. Other operations of the same commit are carried out.
    """


class JournalUnusable(Exception):
    """This version cannot use the journal; the message says why."""


def hash64(text: str) -> int:
    """Return a signed 64-bit hash, the same on every machine and in every version."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), signed=True)


def hash_ref(text: str, salt: bytes) -> bytes:
    """Return the 8-byte hash of an id, salted with the journal's ``salt``; batches are found by it."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, salt=salt).digest()


def hash128(text: str) -> bytes:
    """Return a 16-byte hash, the same on every machine and in every version."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def hash_lane(key: str, salt: bytes) -> int:
    """Return the signed 64-bit hash of the user whose lane it is, salted like ``hash_ref``."""
    return salt_lane(hash64(key), salt)


def salt_lane(hashed: int, salt: bytes) -> int:
    """Return the salted form of the hash of a lane's user; without a salt, the hash itself."""
    if not salt:  # as in a journal that the first version made
        return hashed
    return int.from_bytes(sha256(salt + hashed.to_bytes(8, signed=True)).digest()[:8], signed=True)


def salt_dedupe(dedupe: bytes, salt: bytes) -> bytes:
    """Return the salted form of the hash by which a repeated batch is known, since the hashed text names the user."""
    return sha256(salt + dedupe).digest()[:16] if salt else dedupe


class ErasureRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An erasure request: facts older than ``before_ms`` about these hashed identities are no longer sent.

    It is kept longer than its message, so that late data of an erased user is recognised.
    """

    names: tuple[bytes, ...]
    before_ms: int


class Tombstone(msgspec.Struct, frozen=True, kw_only=True):
    """The newest erasure request about some names on a connection: the time before which their data is not sent.

    ``is_under_way``: the connection has yet to finish an erasure of one of the names, and newer data waits for it.
    """

    before_ms: int
    is_under_way: bool


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A batch to store. ``user`` is the hash of the lane's user, ``scope`` the only connection it is for (None: all).

    The batch is found by ``refs``, which are hashed ids. A batch whose ``dedupe`` is stored already is skipped; see
    ``conflicting``. ``wish`` is the erasure request of an erasure: items that wait in the lane before it are withheld.
    ``again`` is the origin of a redelivered batch (see ``replays``).
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
    """Sealed settings of an account. ``connection`` is the account's own: ``NAME/ACCOUNT``.

    ``print`` identifies the settings; ``told_ms`` is mParticle's time of them. ``trouble`` is their problem, "" if
    there is none.
    """

    connection: str
    print: bytes
    sealed: bytes
    told_ms: int
    received_ms: int
    trouble: str = ""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A stored batch that waits in a lane. ``progress`` is recorded by call id.

    ``crashes`` counts the processes that it killed, the last one in the step ``crashed_in`` (see Blackbox). ``again``
    is the origin of a redelivered batch.
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
    """A claimed lane with its oldest items, in order. Items up to ``erased_seq`` are of an erased user.

    ``attempts`` and ``failing_since_ms`` are those of the call that the lane waits at (0: none). ``wishes``: erasure
    requests exist on this connection, so every item must be checked for late data.
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
    """Attributes or identities that the filter removed from a fact: the setting that decided, and the first names.

    ``more`` counts those without a recorded name.
    """

    cause: str
    names: tuple[str, ...]
    more: int = 0


class PartnerAnswer(msgspec.Struct, frozen=True, array_like=True):
    """The HTTP status with which a destination answered a call of an erasure."""

    method: str
    status: int | None

    def __str__(self) -> str:
        """Return the answer as people read it."""
        return f"{self.method} was answered {self.status}"


class Outcome(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """The outcome of one fact on one connection: ``delivered``, ``skipped`` or ``dead``, with its reason.

    ``left_out`` lists parts that were not sent, each with its reason; ``detail`` explains a dead letter. ``cause`` is
    the setting that decided a skip; ``kept_back`` lists the parts that the filter removed. ``answers`` are those to the
    calls of an erasure. The outcome of a batch's many unreadable events stands for several ``facts``.
    """

    fact: str
    state: str
    reason: str = ""
    left_out: tuple[tuple[str, str], ...] = ()
    detail: str = ""
    cause: str = ""
    kept_back: tuple[KeptBack, ...] = ()
    answers: tuple[PartnerAnswer, ...] = ()
    facts: int = 1

    def list_answers(self) -> list[str]:
        """Return the answers to an erasure's calls as texts; the detail if there are none."""
        return [str(answer) for answer in self.answers] or ([self.detail] if self.detail else [])


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """A finished item, with an outcome for every fact that it was found to hold.

    ``is_wish``: it was an erasure, so the memories of the user on this connection are forgotten. ``unkept``: its
    document is removed once no connection has an item of it.
    """

    seq: int
    facts: int
    outcomes: tuple[Outcome, ...]
    is_wish: bool = False
    unkept: bool = False


class Memo(msgspec.Struct, frozen=True, kw_only=True):
    """A value to remember for the lane's user, or ``shared`` by the whole connection. None forgets it."""

    key: str
    value: Any
    shared: bool = False


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """The result of work on a claimed lane, stored as a whole, or not at all under an old fence.

    ``progress`` maps an item's seq to the progress of its calls. ``release`` gives the lane back: it may be claimed
    again from ``due_ms`` on, or is removed if it is empty. Otherwise the lease continues.
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
    reason: WaitReason = NO_REASON


class ErasedBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch of an erased user. ``withheld``: it waited and was not sent; ``removed``: its document was removed."""

    message: str
    part: int
    withheld: bool
    removed: bool


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """The receipt of an erasure on one connection: the number of removed ``documents`` and forgotten ``memories``.

    ``touched`` are the user's batches that the journal still knows.
    """

    documents: int
    memories: int
    touched: tuple[ErasedBatch, ...]


class DeliveryStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a stored batch on one connection.

    A finished batch has ``at_ms`` and ``outcomes``. Another waits until ``due_ms``, after ``attempts``, for ``reason``.
    ``rest`` is the closed gate of the whole connection, ``trouble`` the problem of an account's settings. ``receipt``
    is that of an erasure that has begun or is finished.
    """

    connection: str
    at_ms: int | None = None
    outcomes: tuple[Outcome, ...] = ()
    progress: dict[str, Any] = {}
    due_ms: int | None = None
    attempts: int = 0
    reason: WaitReason = NO_REASON
    claimed: bool = False
    rest: Gate | None = None
    trouble: str = ""
    receipt: Receipt | None = None


class FoundBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A stored batch that was found by an id. ``body`` is empty if it was removed; ``replayed``: a replay stored it."""

    seq: int
    message: str
    part: int
    dialect: str
    received_ms: int
    body: bytes
    sightings: tuple[DeliveryStatus, ...]
    replayed: Replayed | None = None


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """A count of a connection's facts by state (``received``, ``delivered``, ``skipped``, ``dead``) and reason."""

    connection: str
    state: str
    reason: str
    facts: int


MAX_DATA_POINTS = 20_000


class DataPoint(msgspec.Struct, frozen=True):
    """A name that was seen ``times`` times in data for a connection, from one input.

    ``kind`` is its table in the data filter: ``events``, ``screens``, ``commerce``, ``event_types``,
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
