"""Barriers: the older work in other lanes that an item of a claimed lane waits for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.deliver.executor import Wait
from gateway.dispatch.erased import drop_erased, find_tombstone
from gateway.journal.port import Journal
from gateway.journal.replays import ABORTED
from gateway.journal.types import Item, Lane, Outcome, hash_lane, hash_ref
from gateway.journal.wait_reasons import WaitReason
from gateway.mparticle.parts import identity_keys
from gateway.sdk import Batch

OTHER_LANES = WaitReason("other_lanes")
"""The reason of a lane that waits for older work in other lanes."""
MIN_WAIT_MS = 200
MAX_WAIT_MS = 10_000


@dataclass(slots=True)
class LaneLookup:
    """Answers what the journal knows about the items of a claimed lane.

    ``is_held``: an erasure of the user of the last batch that was looked up is under way in another lane.
    """

    journal: Journal
    lane: Lane
    now_ms: Callable[[], int]
    is_held: bool = field(default=False, init=False)

    @property
    def user(self) -> int:
        """The hash of the lane's user."""
        return self.lane.user

    async def drop_erased(self, item: Item, batch: Batch) -> tuple[Batch, Sequence[Outcome] | None]:
        """Return the batch without its erased events, and their outcomes; None instead if all of it is erased."""
        tombstone = await find_tombstone(self.journal, self.lane.connection, batch) if self.lane.wishes else None
        self.is_held = tombstone is not None and tombstone.is_under_way
        return drop_erased(batch, item, tombstone)

    async def find_withdrawal(self, item: Item, batch: Batch, *, is_erased: bool) -> str:
        """Return why none of the item's calls may begin any more, or nothing."""
        why = "" if item.again is None else await self.journal.withdrawn(self.lane.user, item.again)
        if batch.erasure is not None:
            return why if why == ABORTED else ""
        return why or ("erased" if is_erased or item.seq <= self.lane.erased_seq else "")

    async def find_wait(self, item: Item, batch: Batch) -> Wait | None:
        """Return how long the item waits for work in other lanes: longer, the longer it has waited."""
        waits_for_none = batch.erasure is None and batch.audience is None and not batch.memberships
        if not self.is_held and (waits_for_none or await self._is_first(item, batch)):
            return None
        age_ms = self.now_ms() - item.received_ms
        return Wait(seconds=min(MAX_WAIT_MS, max(MIN_WAIT_MS, age_ms // 4)) / 1000, reason=OTHER_LANES)

    def read_shared_memory(self) -> Awaitable[Mapping[str, Any]]:
        """Return the shared memories of the connection."""
        return self.journal.shared_memory(self.lane.connection)

    async def _is_first(self, item: Item, batch: Batch) -> bool:
        """Return whether no work in another lane comes before the item."""
        if batch.erasure is not None:
            return await self._is_erased_everywhere(item, batch)
        if batch.audience is not None and batch.audience.action == "remove":
            name = hash_ref(f"audience:{batch.audience.id}", self.journal.salt)
            return await self.journal.is_dealt_with(self.lane.connection, name, item.seq)
        return not batch.memberships or await self._audiences_are_ready(item, batch)

    async def _is_erased_everywhere(self, item: Item, batch: Batch) -> bool:
        """Erase the user's older work in every lane, and return whether none of it is in flight."""
        if item.seq != self.lane.items[0].seq:
            return False
        keys, everywhere = identity_keys(batch.user), not batch.user.mpid
        return await self.journal.erase(self.lane.connection, keys, everywhere=everywhere, seq=item.seq)

    async def _audiences_are_ready(self, item: Item, batch: Batch) -> bool:
        """Return whether older messages about the audiences of these memberships have an outcome."""
        for audience_id in {membership.audience_id for membership in batch.memberships}:
            user = hash_lane(f"audience:{audience_id}", self.journal.salt)
            if not await self.journal.lane_is_empty(self.lane.connection, user, item.seq):
                return False
        return True
