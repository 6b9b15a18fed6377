"""The journal's port: what is durable, in words that any engine can keep.

A *batch* is stored once. For each connection that shall have it there is a piece of *work* in the *lane* of
its user. A lane is claimed whole, by one owner at a time, for as long as its lease lasts (in a file: as its owner
lives); every claim has a fence of its own, and what is settled under another one changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from gateway.journal.backlog import Backlog
from gateway.journal.replays import Replays
from gateway.journal.shared_limits import GateSharing
from gateway.journal.types import Count, DataPoint, Entry, FoundBatch, Lane, SealedSettings, Settlement


class Journal(Replays, GateSharing, Protocol):
    """An engine that keeps the journal. All methods raise JournalUnavailable."""

    @property
    def salt(self) -> bytes:
        """The salt of ids before they are hashed: made with the journal, and the same for as long as it lives.

        So a hashed id may be written down elsewhere, and found again, without telling whose it is.
        """

    async def accept(
        self, entries: Sequence[Entry], connections: Sequence[str], sealed: Sequence[SealedSettings] = ()
    ) -> int:
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

    async def wake(self, connection: str, reason: str, *, now_ms: int) -> None:
        """Make the lanes due that were given back for this reason. A hint: they are due by themselves one day."""

    async def reschedule_after_clock_jump(self, *, after_ms: int, now_ms: int, limit: int) -> int:
        """Make lanes due, so many at the most, that were put off until after then; returns how many.

        For when a clock was wrong. Nor do claims stay that end later than any claim does.
        """

    async def crashed(self, connection: str, user: int, seq: int, doing: str) -> None:
        """Count that a process died of a piece of work, while ``doing`` was done."""

    async def shared_memory(self, connection: str) -> dict[str, Any]:
        """Return what a plugin remembers for its whole connection."""

    async def lane_is_empty(self, connection: str, user: int, before_seq: int) -> bool:
        """Return whether no work older than ``before_seq`` is left in a lane."""

    async def is_dealt_with(self, connection: str, ref: bytes, before_seq: int) -> bool:
        """Return whether no work older than ``before_seq`` is left of batches in which this hashed id was found."""

    async def erase(self, connection: str, names: Sequence[str], *, everywhere: bool, seq: int) -> bool:
        """Let nothing be sent of a user that is older than their wish, the batch ``seq``; keep nothing of it either.

        It is what lies in the lanes of these names and, if ``everywhere``, in any lane in which one of them was found.
        Returns whether none of it waits any more. Then the documents of it that this connection had are removed,
        where no other connection has work with them, and a receipt is kept.
        """

    async def erased_before(self, connection: str, names: Sequence[bytes]) -> int:
        """Return the time of the newest erasure request of these hashed names on a connection; 0 if there is none."""

    async def take_over(self) -> bool:
        """Become a dispatcher of this journal; False while another lives and the engine allows one at a time.

        Refused work is due at once, since the settings may have changed.
        """

    async def wait(self, connections: Sequence[str], *, now_ms: int, timeout_s: float) -> None:
        """Return once a lane of these connections may be due, at the latest after the timeout."""

    async def find(self, wanted: Sequence[bytes], *, limit: int = 100) -> list[FoundBatch]:
        """Batches that one of these hashed ids (message, event, ``mpid:…``) was found in: the newest, oldest first."""

    async def sealed(self, connection: str) -> SealedSettings | None:
        """The settings kept for an account's connection."""

    async def all_sealed(self) -> list[SealedSettings]:
        """The settings of every account."""

    async def note_trouble(self, connection: str, print: bytes, trouble: str) -> None:
        """Note what is wrong with the settings of an account, as long as they are those of this print."""

    async def reseal(self, print: bytes, sealed: SealedSettings) -> None:
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
        """Return what waits or is closed, by connection. It reads every lane and every item, beside all else."""

    async def prune(self, *, before_ms: int, dead_before_ms: int, after_seq: int, limit: int) -> int | None:
        """Forget finished batches older than this, among the next ``limit``; ``dead_before_ms`` is for dead letters.

        Returns where to go on, or None once a younger one was met.
        """

    async def room(self) -> int | None:
        """Return the number of bytes that can still be stored, or None if the engine cannot know."""

    async def ping(self) -> None:
        """Return if the journal can be written now."""

    async def close(self) -> None:
        """Finish what is in hand and let go of the database."""
