"""Progress: what has become of the calls of one batch so far, kept by call id so that a restart goes on from there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.journal.types import Finished, Item, Outcome
from gateway.log import logger
from gateway.plan import FactPlan, ItemPlan
from gateway.sdk import Call, Remember


class CallOutcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The end of one call: ``delivered``, ``skipped`` or ``dead``, and why; ``by`` is a call that stood for it."""

    state: str = msgspec.field(name="word")  # the name that journals have
    reason: str = ""
    detail: str = ""
    by: str = ""

    @property
    def told(self) -> str:
        """The detail as the ledger keeps it."""
        return ", ".join(filter(None, (self.detail, self.by and f"in call {self.by}")))


class FollowUps(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Calls that take the place of one that was answered, the next first; ``covers`` as of the one answered.

    ``answers`` is what was answered so far, where that has to be on record. ``by`` is the call made for several
    lanes, if one was; ``instead`` is what this lane makes by itself should that come to nothing.
    """

    next: tuple[Call, ...]
    covers: tuple[str, ...] = ()
    length: int = 1
    answers: tuple[str, ...] = ()
    by: str = ""
    instead: Call | None = None

    @property
    def is_under_way(self) -> bool:
        """True if the destination still works on it, so that its result has to be waited for."""
        return self.next[0].after_s > 0


@dataclass(slots=True, kw_only=True)
class ItemProgress:
    """The progress of one item's plan, beginning with what the journal has recorded of it.

    ``told``: the item has been finished.
    """

    plan: ItemPlan
    ends: dict[str, CallOutcome] = field(default_factory=dict)
    chains: dict[str, FollowUps] = field(default_factory=dict)
    told: bool = False

    def __post_init__(self) -> None:
        if self.item.progress:
            self._resume()
        if self.plan.crashed:
            self._abandon(self.plan.crashed)
        if self.plan.withdrawn:
            self._withdraw(self.plan.withdrawn)

    def _resume(self) -> None:
        planned = {call.id for fact in self.plan.planned for call in fact.calls}
        for call_id, state in self.item.progress.items():
            if "next" not in state:
                self.ends[call_id] = msgspec.convert(state, CallOutcome)
            # A chain whose head is planned no longer (a filter or the plugin changed since) is let go, although its
            # first call was made: its fact has another word by now, and what it covers besides is made by itself,
            # which at worst repeats it. Going on would send what shall not be sent; keeping it would block the lane.
            elif call_id in planned:
                self.chains[call_id] = msgspec.convert(state, FollowUps)

    def _withdraw(self, reason: str) -> None:
        """Begin nothing that is left: the user asked to be forgotten, or a replay was aborted."""
        self.chains = {head: chain for head, chain in self.chains.items() if chain.is_under_way}
        going_on = {id for head, chain in self.chains.items() for id in (head, *chain.covers)}
        ended = CallOutcome(state="skipped", reason=reason)
        self.ends |= {call.id: ended for call in self.open_calls() if call.id not in going_on}

    def _abandon(self, detail: str) -> None:
        """Make none of the calls that are left: they are dead letters."""
        self.ends |= {call.id: CallOutcome(state="dead", reason="crashed", detail=detail) for call in self.open_calls()}
        self.chains.clear()

    @property
    def item(self) -> Item:
        """The item that was planned."""
        return self.plan.item

    def open_calls(self) -> Iterator[Call]:
        """The calls that have not ended, in order."""
        for fact in self.plan.planned:
            for call in fact.calls:
                if call.id not in self.ends:
                    yield call

    @property
    def is_done(self) -> bool:
        """True if every call has ended."""
        return next(self.open_calls(), None) is None

    def state(self) -> dict[str, Any]:
        """The progress as the journal keeps it."""
        return {**msgspec.to_builtins(self.chains), **msgspec.to_builtins(self.ends)}

    def memories(self) -> Iterator[Remember]:
        """Yield what is to be remembered once all calls have ended, for facts that are no dead letters."""
        for fact in () if self.plan.withdrawn else self.plan.planned:
            if self._outcome(fact).state != "dead":
                yield from fact.memories

    def finish(self, connection: str) -> Finished:
        """The item with a word for each of its facts; said in the log too, and once only."""
        self.told = True
        made = [self._outcome(fact) for fact in self.plan.planned]
        outcomes = (*self.plan.settled, *made)
        words = Counter(outcome.state for outcome in outcomes)
        logger.info("finished", connection=connection, message=self.item.message, part=self.item.part, **words)
        is_open = self.plan.erases and not self.plan.withdrawn
        is_wish = is_open and bool(made) and all(outcome.state != "dead" for outcome in made)
        return Finished(
            seq=self.item.seq,
            facts=self.item.facts,
            outcomes=outcomes,
            erased=is_wish and any(outcome.state == "delivered" for outcome in made),
            is_wish=is_wish,
            unkept=is_wish or bool(self.plan.withdrawn),
        )

    def unsent(self) -> Iterator[Outcome]:
        """The words of facts for which no call is made, whatever becomes of the others."""
        yield from self.plan.settled
        for fact in self.plan.planned:
            if all(call.id in self.ends for call in fact.calls):
                yield self._outcome(fact)

    def _outcome(self, fact: FactPlan) -> Outcome:
        """One fact's word: dead if any of its calls is, else delivered if any is, else skipped."""
        ends = [self.ends[call.id] for call in fact.calls]
        worst = min(ends, key=lambda end: ("dead", "delivered", "skipped").index(end.state), default=None)
        left_out = tuple((skip.what, skip.reason) for skip in fact.skips if skip.what is not None)
        if worst is None:
            reason = next((skip.reason for skip in fact.skips if skip.what is None), "nothing_to_send")
            worst = CallOutcome(state="skipped", reason=reason)
        told = [end.told for end in ends if end.told] if self.plan.erases else [worst.told]
        return Outcome(
            fact=fact.fact,
            state=worst.state,
            reason=worst.reason,
            left_out=left_out,
            detail="; ".join(told),
            cause=fact.cause,
            kept_back=fact.kept_back,
        )
