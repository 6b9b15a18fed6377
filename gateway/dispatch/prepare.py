"""Preparation: decode an item, look up what the journal knows about it, and plan it under the connection's rules.

The dispatcher prepares what it sends, and the dry run of ``replay`` and ``preview`` prepare what they show. All of them
do it here, so that nothing can be shown that would not be sent. They differ in what they look up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from msgspec.structs import replace

from gateway.deliver.executor import Wait
from gateway.deliver.progress import ItemProgress
from gateway.dispatch.corrected_times import correct_times
from gateway.dispatch.planner import ItemPlanner
from gateway.journal.types import Item, Outcome
from gateway.plan import FactPlan, ItemPlan
from gateway.sdk import Batch, Memory, Skip


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """An item that can be delivered: its batch as decoded, its plan, and how far that has come."""

    batch: Batch
    plan: ItemPlan
    progress: ItemProgress


class Lookup(Protocol):
    """Answers what the journal knows about the items of one lane. Every method raises JournalUnavailable."""

    @property
    def user(self) -> int:
        """The hash of the lane's user."""

    async def drop_erased(self, item: Item, batch: Batch) -> tuple[Batch, Sequence[Outcome] | None]:
        """Return the batch without its erased events, and their outcomes; None instead if all of it is erased."""

    async def find_withdrawal(self, item: Item, batch: Batch, *, is_erased: bool) -> str:
        """Return why none of the item's calls may begin any more, or nothing."""

    async def find_wait(self, item: Item, batch: Batch) -> Wait | None:
        """Return how long the item waits for work in other lanes, or None if it need not."""

    def read_shared_memory(self) -> Awaitable[Mapping[str, Any]]:
        """Return the shared memories of the connection."""


@dataclass(frozen=True, slots=True)
class NoLookup:
    """Knows nothing: for a message that is not in the journal."""

    user: int = 0

    async def drop_erased(self, item: Item, batch: Batch) -> tuple[Batch, Sequence[Outcome] | None]:  # noqa: ARG002  # the protocol has it
        """Return the whole batch."""
        return batch, ()

    async def find_withdrawal(self, item: Item, batch: Batch, *, is_erased: bool) -> str:  # noqa: ARG002  # the protocol has it
        """Return nothing."""
        return ""

    async def find_wait(self, item: Item, batch: Batch) -> Wait | None:  # noqa: ARG002  # the protocol has it
        """Return None."""
        return None

    async def read_shared_memory(self) -> Mapping[str, Any]:
        """Return nothing."""
        return {}


async def prepare(item: Item, remembered: Mapping[str, Any], planner: ItemPlanner, lookup: Lookup) -> Prepared | Wait:
    """Prepare one item; ``remembered`` are the plugin's memories of the lane's user.

    Return Wait if older work in other lanes comes first. Raises JournalUnavailable.
    """
    decoded, notes = correct_times(planner.decode_item(item, user=lookup.user), item.body, item.received_ms)
    batch, erased = await lookup.drop_erased(item, decoded)
    withdrawn = await lookup.find_withdrawal(item, batch, is_erased=erased is None)
    if not withdrawn:
        wait = await lookup.find_wait(item, batch)
        if wait is not None:
            return wait
    shared = await lookup.read_shared_memory()  # after what the item had to wait for
    plan = planner.plan_item(item, batch, Memory(user=dict(remembered), shared=shared), user=lookup.user)
    if notes:
        plan = replace(plan, planned=[_add_note(fact, notes) for fact in plan.planned])
    if erased or withdrawn or item.again is not None:
        settled = (*plan.settled, *(erased or ()))
        plan = replace(plan, settled=_keep_replayed(item, plan, settled), withdrawn=withdrawn)
    return Prepared(batch=decoded, plan=plan, progress=ItemProgress(plan=plan))


def _add_note(fact: FactPlan, notes: Mapping[str, Skip]) -> FactPlan:
    return replace(fact, skips=(*fact.skips, notes[fact.fact])) if fact.fact in notes else fact


def _keep_replayed(item: Item, plan: ItemPlan, settled: Sequence[Outcome]) -> Sequence[Outcome]:
    """Return the outcomes of the facts for which an item was stored again, with an outcome for each missing one."""
    if item.again is None:
        return settled
    asked = item.again.facts
    known = {fact.fact for fact in plan.planned} | {outcome.fact for outcome in settled}
    gone = (Outcome(fact=fact, state="skipped", reason="not_in_document") for fact in asked if fact not in known)
    return (*(outcome for outcome in settled if outcome.fact in asked), *gone)
