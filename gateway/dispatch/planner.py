"""The planner: turns one item of a connection into its plan, also if the rules or the plugin fail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gateway.clock import Clock
from gateway.facts import iter_facts
from gateway.govern.decisions import GovernedBatch
from gateway.govern.governor import Governor
from gateway.govern.rewrite import RewriteFault, Rewriter
from gateway.journal.types import Item, Outcome
from gateway.log import logger
from gateway.mparticle.decoding import decode
from gateway.plan import FactPlan, ItemPlan, PluginFault, plan
from gateway.plugins.connections import Connection, HostedConnection
from gateway.plugins.watchdog import HookTimeout, Watchdog
from gateway.sdk import Batch, Memory, Quarantined

MAX_CRASHES = 3
LARGE_BYTES = 65_536
RULES = "rules.packages"


class ItemPlanner(Protocol):
    """Decodes and plans the items of a connection."""

    def decode_item(self, item: Item, *, user: int) -> Batch:
        """Return the batch of an item, which lies in the lane of ``user``."""

    def plan_item(self, item: Item, batch: Batch, memory: Memory, *, user: int) -> ItemPlan:
        """Return the plan of one item, which lies in the lane of ``user`` and was decoded to ``batch``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planner:
    """Plans with a connection's rules, filter and plugin. ``guard`` bounds how long planning one item may take."""

    connection: Connection
    governor: Governor
    rewriter: Rewriter
    guard: Watchdog
    clock: Clock

    def decode_item(self, item: Item, *, user: int) -> Batch:
        """Return the batch of an item; if decoding takes too long or kills the process, one of a dead letter.

        Only a large document is guarded: a small one cannot take long.
        """
        if len(item.body) <= LARGE_BYTES:
            return _decode(item)
        self.guard.note_subject(b"decode", user, item.seq)
        if item.crashes >= MAX_CRASHES and item.crashed_in == "decode":
            return _make_unreadable(item, self._describe_crash(item))
        try:
            try:
                with self.guard:
                    return _decode(item)
            except HookTimeout:  # once more: the machine may have stalled
                with self.guard:
                    return _decode(item)
        except (HookTimeout, MemoryError) as error:
            logger.error("decoding discarded", connection=self.connection.name, message=item.message)
            return _make_unreadable(item, f"decoding took too much time or memory: {type(error).__name__}")

    def plan_item(self, item: Item, batch: Batch, memory: Memory, *, user: int) -> ItemPlan:
        """Return the plan of one item.

        If its plan has to be discarded, every fact is a dead letter that gives the reason. If too many processes have
        died of the item, every fact without an outcome is a dead letter.
        """
        self.guard.note_subject(b"plan", user, item.seq)
        crashed = self._describe_crash(item) if item.crashes >= MAX_CRASHES else ""
        if crashed:
            logger.error("batch set aside", connection=self.connection.name, message=item.message, problem=crashed)
        if crashed and item.crashed_in == "plan":
            dead = (Outcome(fact=fact.id, state="dead", reason="crashed", detail=crashed) for fact in iter_facts(batch))
            return ItemPlan(item=item, settled=(*list_malformed(batch), *dead), batch=batch)
        try:
            rewritten = self.rewriter.rewrite(batch)
            try:
                governed, planned = self._plan(item, rewritten, memory)
            except HookTimeout:  # once more: the machine may have stood still
                governed, planned = self._plan(item, rewritten, memory)
        except Exception as error:  # noqa: BLE001  # rules and plugins may raise anything
            return ItemPlan(
                item=item, settled=(*list_malformed(batch), *self._discard(item, batch, error)), batch=batch
            )
        return ItemPlan(
            item=item,
            planned=planned,
            settled=(*list_malformed(batch), *_list_dropped(batch, rewritten), *_list_withheld(governed)),
            erases=batch.erasure is not None,
            batch=rewritten,
            crashed=crashed,
        )

    def _plan(self, item: Item, batch: Batch, memory: Memory) -> tuple[GovernedBatch, list[FactPlan]]:
        again = item.again
        asked = iter_facts(batch) if again is None else (fact for fact in iter_facts(batch) if fact.id in again.facts)
        replay = "" if again is None else again.replay
        with self.guard:
            governed = self.governor.govern(batch, asked, self.clock.ago_ms)
            return governed, plan(governed.batch, self.connection, governed.facts, memory, governed.kept_back, replay)

    def _discard(self, item: Item, batch: Batch, error: Exception) -> list[Outcome]:
        """Return a dead letter for every fact of a batch whose plan could not be made, and log the problem."""
        problem = self._describe_error(error)
        logger.error("plan discarded", connection=self.connection.name, message=item.message, problem=problem)
        reason, cause = ("rule_error", RULES) if isinstance(error, RewriteFault) else ("plugin_error", "")
        return [Outcome(fact=f.id, state="dead", reason=reason, detail=problem, cause=cause) for f in iter_facts(batch)]

    def _describe_error(self, error: Exception) -> str:
        """Describe an error of planning without any value of a user's."""
        if isinstance(error, (PluginFault, RewriteFault)):
            return str(error)
        if isinstance(error, HookTimeout):
            return f"{self.connection.plugin.name}: planning took too long, twice; {error}"
        return f"planning failed: {type(error).__name__}"

    def _describe_crash(self, item: Item) -> str:
        """Return the detail of an item that processes died of."""
        plugin, already = self.connection.plugin, "; calls of it had been made before" if item.progress else ""
        return f"{plugin.name} {plugin.version} {item.crashed_in}: the process died of it {item.crashes} times{already}"


def make_planner(connection: Connection, rules: Rewriter, guard: Watchdog, clock: Clock) -> Planner:
    """Build the planner of a connection; ``guard`` bounds its plugin."""
    return Planner(connection=connection, governor=Governor(connection), rewriter=rules, guard=guard, clock=clock)


class NoAccountPlanner:
    """Skips every fact of a message that names no account: nobody's credentials may send it."""

    def __init__(self, hosted: HostedConnection) -> None:
        self._cause = f"connections.{hosted.name}.credentials"

    def decode_item(self, item: Item, *, user: int) -> Batch:  # noqa: ARG002  # as ItemPlanner has it
        """Return the batch of an item."""
        return _decode(item)

    def plan_item(self, item: Item, batch: Batch, memory: Memory, *, user: int) -> ItemPlan:  # noqa: ARG002  # as ItemPlanner has it
        """Return a plan without calls, with the setting that decided."""
        skipped = (
            Outcome(fact=fact.id, state="skipped", reason="no_account", cause=self._cause) for fact in iter_facts(batch)
        )
        return ItemPlan(item=item, settled=(*list_malformed(batch), *skipped), erases=batch.erasure is not None)


def _decode(item: Item) -> Batch:
    return decode(item.dialect, item.body, message=item.message, part=item.part)


def _make_unreadable(item: Item, problem: str) -> Batch:
    """Return a batch of one dead letter in the place of a document that cannot be decoded."""
    odd = Quarantined(id=item.message, problem=problem, facts=item.facts)
    return Batch(id=item.message, part=item.part, dialect=item.dialect, quarantined=(odd,))


def list_malformed(batch: Batch) -> list[Outcome]:
    """Return a dead letter for every part of a batch that could not be read."""
    return [
        Outcome(fact=one.id, state="dead", reason="malformed", detail=one.problem, facts=one.facts)
        for one in batch.quarantined
    ]


def _list_dropped(before: Batch, after: Batch) -> list[Outcome]:
    """Return the outcomes of facts that a rule removed."""
    if after is before:
        return []
    left = {fact.id for fact in iter_facts(after)}
    removed = (fact.id for fact in iter_facts(before) if fact.id not in left)
    return [Outcome(fact=fact, state="skipped", reason="dropped", cause=RULES) for fact in removed]


def _list_withheld(governed: GovernedBatch) -> list[Outcome]:
    """Return the outcomes of facts that the connection may not be sent."""
    kept_back = governed.kept_back
    return [
        Outcome(fact=w.fact, state="skipped", reason=w.reason, cause=w.cause, kept_back=kept_back.get(w.fact, ()))
        for w in governed.withheld
    ]
