"""Port of the journal: the durable operations, in terms that any engine can keep.

A batch is stored once. For each connection that receives it, an item waits in the lane of its user. A lane is claimed
whole, by one owner at a time, until its lease ends (in SQLite: until its owner ends). Every claim has a fence of its
own; a settlement under another fence changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from gateway.journal.backlog import Backlog
from gateway.journal.replays import Replays
from gateway.journal.shared_limits import GateSharing
from gateway.journal.types import Count, DataPoint, Entry, FoundBatch, Lane, SealedSettings, Settlement, Tombstone
from gateway.journal.wait_reasons import WaitReason


class Journal(Replays, GateSharing, Protocol):
    """An engine of the journal. All methods raise JournalUnavailable."""

    @property
    def salt(self) -> bytes:
        """The salt of hashed ids: created with the journal, and never changed.

        A hashed id may be written elsewhere and found again, without revealing the id.
        """

    async def accept(
        self, entries: Sequence[Entry], connections: Sequence[str], sealed: Sequence[SealedSettings] = ()
    ) -> int:
        """Store batches durably, with an item for each of these connections; return how many batches were new.

        ``sealed`` settings are stored too, unless newer ones of their connection are known. If they differ from the
        known ones, the connection's refused lanes become due at once. Equal ones, an hour newer or more, only extend
        the time that they are kept.
        """

    async def conflicting(self, entries: Sequence[Entry]) -> list[Entry]:
        """Return the batches whose ``dedupe`` is stored with another document.

        A stored batch whose document was removed conflicts with none.
        """

    async def claim(self, connection: str, *, now_ms: int, lanes: int, items: int) -> list[Lane]:
        """Claim at most ``lanes`` due lanes, longest due first, each with at most ``items`` items."""

    async def settle(self, settlement: Settlement) -> bool:
        """Record a settlement durably; return False if the claim is lost."""

    async def wake(self, connection: str, reason: WaitReason, *, now_ms: int) -> None:
        """Make the lanes due that were given back for this reason; it is a hint, as they become due anyway."""

    async def reschedule_after_clock_jump(self, *, after_ms: int, now_ms: int, limit: int) -> int:
        """Make at most ``limit`` lanes due that wait until after ``after_ms``; return how many.

        It serves after a clock was wrong. It also ends claims that would last longer than any claim does.
        """

    async def crashed(self, connection: str, user: int, seq: int, doing: str) -> None:
        """Count a crash of the process on an item, during the step ``doing``."""

    async def shared_memory(self, connection: str) -> dict[str, Any]:
        """Return the memories that a plugin has for its whole connection."""

    async def lane_is_empty(self, connection: str, user: int, before_seq: int) -> bool:
        """Return whether a lane has no item older than ``before_seq``."""

    async def is_dealt_with(self, connection: str, ref: bytes, before_seq: int) -> bool:
        """Return whether no item older than ``before_seq`` waits of batches with this hashed id."""

    async def erase(self, connection: str, names: Sequence[str], *, everywhere: bool, seq: int) -> bool:
        """Withhold a user's items that are older than the erasure (the batch ``seq``), and remove their documents.

        The items are those in the lanes of these names and, with ``everywhere``, in any lane that has one of the names.
        Return whether none of them waits any more. Then the documents that this connection had are removed, unless
        another connection still has an item of them, and a receipt is stored.
        """

    async def tombstone(self, connection: str, names: Sequence[bytes]) -> Tombstone | None:
        """Return the tombstone of these hashed names on a connection, or None if nobody asked to erase any of them."""

    async def take_over(self) -> bool:
        """Become a dispatcher of this journal; return False while another lives and the engine allows only one.

        Refused lanes become due at once, as the settings may have changed.
        """

    async def wait(self, connections: Sequence[str], *, now_ms: int, timeout_s: float) -> None:
        """Return once a lane of these connections may be due, or after the timeout."""

    async def find(self, wanted: Sequence[bytes], *, limit: int = 100) -> list[FoundBatch]:
        """Return the newest batches that have one of these hashed ids (message, event, ``mpid:…``), oldest first."""

    async def erasures(self, *, limit: int) -> list[FoundBatch]:
        """Return the newest erasures that the journal still knows, oldest first."""

    async def sealed(self, connection: str) -> SealedSettings | None:
        """Return the stored settings of an account's connection; None if there are none."""

    async def all_sealed(self) -> list[SealedSettings]:
        """Return the stored settings of every account."""

    async def note_trouble(self, connection: str, print: bytes, trouble: str) -> None:
        """Record the problem of an account's settings, if they still have this print."""

    async def reseal(self, print: bytes, sealed: SealedSettings) -> None:
        """Replace the settings of this print by the same ones, sealed anew."""

    async def due(self, connection: str, now_ms: int) -> list[tuple[str, bytes | None]]:
        """Return the connection and its accounts' connections that have a due lane, with their settings' print."""

    async def counts(self) -> list[Count]:
        """Return the counts of facts since the journal was created; exact, also after a crash."""

    async def note(self, points: Sequence[DataPoint]) -> None:
        """Add data points, each of a different name, to the catalog.

        The catalog is bounded: beyond MAX_DATA_POINTS, those seen longest ago are forgotten.
        """

    async def data_points(self) -> list[DataPoint]:
        """Return the catalog of data points, sorted by kind, name, attribute, connection and input."""

    async def forget_data_points(self, name: str) -> int:
        """Remove every data point with this name, or of an attribute with it; return how many there were."""

    async def backlog(self) -> list[Backlog]:
        """Return the backlog and closed gates by connection. It reads every lane and item, without blocking writers."""

    async def prune(self, *, before_ms: int, dead_before_ms: int, after_seq: int, limit: int) -> int | None:
        """Forget old finished batches among the next ``limit``; dead letters only if older than ``dead_before_ms``.

        Return the ``after_seq`` of the next call, or None once a younger batch was met.
        """

    async def room(self) -> int | None:
        """Return the bytes that can still be stored, or None if the engine cannot know."""

    async def ping(self) -> None:
        """Write to the journal, to prove that it can be written now."""

    async def close(self) -> None:
        """Finish the open operations and close the database."""
