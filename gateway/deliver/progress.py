"""Progress of one batch: the ends of its calls so far, by call id, so that a restart continues from there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.journal.types import Finished, Item, Outcome, PartnerAnswer
from gateway.log import logger
from gateway.plan import FactPlan, ItemPlan
from gateway.sdk import Call, Remember


class CallOutcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The end of one call: ``delivered``, ``skipped`` or ``dead``, with its reason; ``by`` is the call covering it.

    ``answers`` are those to a call of an erasure and to the calls that followed it.
    """

    state: str = msgspec.field(name="word")  # the name that journals have
    reason: str = ""
    detail: str = ""
    by: str = ""
    answers: tuple[PartnerAnswer, ...] = ()

    @property
    def ledger_detail(self) -> str:
        """The detail for the ledger."""
        detail = "; ".join(map(str, self.answers)) or self.detail
        return ", ".join(filter(None, (detail, self.by and f"in call {self.by}")))


class FollowUps(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Follow-up calls that replace an answered call, the next first; ``covers`` is that of the answered call.

    ``answers`` are the answers so far, of an erasure. ``by`` is the shared call of several lanes, if there was one;
    ``instead`` is the call that this lane makes by itself if the shared call is rejected.
    """

    next: tuple[Call, ...]
    covers: tuple[str, ...] = ()
    length: int = 1
    answers: tuple[PartnerAnswer | str, ...] = ()  # texts in the journals of older versions
    by: str = ""
    instead: Call | None = None

    @property
    def is_under_way(self) -> bool:
        """True if the destination is still working, so that its result is polled."""
        return self.next[0].after_s > 0


@dataclass(slots=True, kw_only=True)
class ItemProgress:
    """The progress of one item's plan, beginning with what the journal has recorded of it.

    ``is_finished``: its outcomes were made.
    """

    plan: ItemPlan
    ends: dict[str, CallOutcome] = field(default_factory=dict)
    chains: dict[str, FollowUps] = field(default_factory=dict)
    is_finished: bool = False

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
            # A chain whose first call is no longer planned (a filter or the plugin changed) is dropped, although that
            # call was made: its fact has another outcome now, and the calls it covers are made by themselves, which
            # at worst repeats them. Continuing would send unwanted data; keeping it would block the lane.
            elif call_id in planned:
                self.chains[call_id] = msgspec.convert(state, FollowUps)

    def _withdraw(self, reason: str) -> None:
        """Skip the calls that have not begun: the user was erased, or a replay was aborted."""
        self.chains = {head: chain for head, chain in self.chains.items() if chain.is_under_way}
        continued = {id for head, chain in self.chains.items() for id in (head, *chain.covers)}
        ended = CallOutcome(state="skipped", reason=reason)
        self.ends |= {call.id: ended for call in self.open_calls() if call.id not in continued}

    def _abandon(self, detail: str) -> None:
        """Make dead letters of the calls that are left."""
        self.ends |= {call.id: CallOutcome(state="dead", reason="crashed", detail=detail) for call in self.open_calls()}
        self.chains.clear()

    @property
    def item(self) -> Item:
        """The item that was planned."""
        return self.plan.item

    def open_calls(self) -> Iterator[Call]:
        """Yield the calls that have not ended, in order."""
        for fact in self.plan.planned:
            for call in fact.calls:
                if call.id not in self.ends:
                    yield call

    @property
    def is_done(self) -> bool:
        """True if every call has ended."""
        return next(self.open_calls(), None) is None

    def state(self) -> dict[str, Any]:
        """Return the progress as the journal stores it."""
        return {**msgspec.to_builtins(self.chains), **msgspec.to_builtins(self.ends)}

    def memories(self) -> Iterator[Remember]:
        """Yield the memories of facts that are no dead letters."""
        for fact in () if self.plan.withdrawn else self.plan.planned:
            if self._outcome(fact).state != "dead":
                yield from fact.memories

    def finish(self, connection: str) -> Finished:
        """Return the finished item with an outcome for each fact, and log it; call it once."""
        self.is_finished = True
        made = [self._outcome(fact) for fact in self.plan.planned]
        outcomes = (*self.plan.settled, *made)
        states = Counter(outcome.state for outcome in outcomes)
        logger.info("finished", connection=connection, message=self.item.message, part=self.item.part, **states)
        is_open = self.plan.erases and not self.plan.withdrawn
        is_wish = is_open and bool(made) and all(outcome.state != "dead" for outcome in made)
        return Finished(
            seq=self.item.seq,
            facts=self.item.facts,
            outcomes=outcomes,
            is_wish=is_wish,
            unkept=is_wish or bool(self.plan.withdrawn),
        )

    def unsent(self) -> Iterator[Outcome]:
        """Yield the outcomes of facts that need no call."""
        yield from self.plan.settled
        for fact in self.plan.planned:
            if all(call.id in self.ends for call in fact.calls):
                yield self._outcome(fact)

    def _outcome(self, fact: FactPlan) -> Outcome:
        """Return the outcome of a fact: dead if any of its calls is, else delivered if any is, else skipped."""
        ends = [self.ends[call.id] for call in fact.calls]
        worst = min(ends, key=lambda end: ("dead", "delivered", "skipped").index(end.state), default=None)
        left_out = tuple((skip.what, skip.reason) for skip in fact.skips if skip.what is not None)
        if worst is None:
            reason = next((skip.reason for skip in fact.skips if skip.what is None), "nothing_to_send")
            worst = CallOutcome(state="skipped", reason=reason, detail=fact.detail)
        details = (
            [end.ledger_detail for end in ends if end.ledger_detail] if self.plan.erases else [worst.ledger_detail]
        )
        return Outcome(
            fact=fact.fact,
            state=worst.state,
            reason=worst.reason,
            left_out=left_out,
            detail="; ".join(details),
            cause=fact.cause,
            kept_back=fact.kept_back,
            answers=tuple(answer for end in ends for answer in end.answers),
        )
