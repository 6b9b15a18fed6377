"""Replays: finished facts are stored again to be redelivered, no faster than a rate allows.

A resumed replay selects its facts again. Nothing is stored twice: a replay has each batch once per connection.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import Any

from gateway.deliver.executor import Wait
from gateway.dispatch.erased import drop_erased, find_tombstone
from gateway.journal.port import Journal
from gateway.journal.replays import DIALECT, PickedFacts, Replay, ReplayOrigin, wrap
from gateway.journal.types import Entry, Item, Outcome, hash128, hash_ref
from gateway.mparticle.posts import Malformed, read
from gateway.sdk import Batch

WINDOW = 500
"""The batches of the journal that one step reads."""
GROUP_S = 0.25
"""One commit stores what the rate allows in this time, and at least one batch."""
BACKPRESSURE_WAIT_S = 1.0


@dataclass(slots=True, kw_only=True)
class Pace:
    """Limits the rate, in facts a second; ``clock`` gives seconds."""

    rate: float
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    free_at: float = float("-inf")

    async def take(self, facts: int) -> None:
        """Wait until this number of facts may be stored."""
        await self.sleep(max(0.0, self.free_at - self.clock()))
        self.free_at = max(self.free_at, self.clock()) + facts / self.rate


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayTargets:
    """The connections that facts can be redelivered to: those ``configured``, some of them ``hosted``."""

    journal: Journal
    configured: frozenset[str]
    hosted: frozenset[str]

    async def find_obstacle(self, one: PickedFacts) -> str:
        """Return why facts cannot be redelivered, or nothing."""
        name, _, account = one.connection.partition("/")
        if name not in self.configured or (account and name not in self.hosted):
            return "not_configured"
        if one.waiting:
            return "waiting"
        if not one.body:
            return "document_removed"
        return "no_settings" if account and await self.journal.sealed(one.connection) is None else ""


@dataclass(frozen=True, slots=True)
class ReplayLookup:
    """Answers what the journal knows about facts that a replay would send, for a dry run: waits for nothing."""

    journal: Journal
    picked: PickedFacts

    @property
    def user(self) -> int:
        """The hash of the lane's user."""
        return self.picked.user

    async def drop_erased(self, item: Item, batch: Batch) -> tuple[Batch, Sequence[Outcome] | None]:
        """Return the batch without its erased events, and their outcomes; None instead if all of it is erased."""
        return drop_erased(batch, item, await find_tombstone(self.journal, self.picked.connection, batch))

    async def find_withdrawal(self, item: Item, batch: Batch, *, is_erased: bool) -> str:  # noqa: ARG002  # the protocol has it
        """Return ``erased`` if all of the item is."""
        return "erased" if is_erased else ""

    async def find_wait(self, item: Item, batch: Batch) -> Wait | None:  # noqa: ARG002  # the protocol has it
        """Return None: a dry run waits for nothing."""
        return None

    async def read_shared_memory(self) -> Mapping[str, Any]:
        """Return the shared memories of the connection."""
        return await self.journal.shared_memory(self.picked.connection)


@dataclass(slots=True, kw_only=True)
class ReplayRunner:
    """Stores the facts of a replay again.

    ``report`` is called after each step with the facts stored, the facts that cannot be, and the reason of a wait.
    ``find_pressure`` returns why the journal should take no more for now, or nothing.
    """

    journal: Journal
    replay: Replay
    targets: ReplayTargets
    pace: Pace
    now_ms: Callable[[], int]
    find_pressure: Callable[[], Awaitable[str]]
    report: Callable[[int, int, str], None]
    stored: int = field(default=0, init=False)
    unable: int = field(default=0, init=False)

    async def run(self) -> bool:
        """Store all that is selected; return False if the replay was aborted. Raises JournalUnavailable."""
        of, after = self.replay, self.replay.cursor
        while True:
            picked, reached = await self.journal.pick(of.selection, after_seq=after, upto=of.upto, limit=WINDOW)
            for group in _group(picked, most=max(1, int(of.rate * GROUP_S))):
                if not await self._store(group):
                    return False
            after = of.upto if reached is None else reached
            goes_on = await self.journal.advance_replay(of.id, cursor=after, done=reached is None)
            if reached is None or not goes_on:
                return goes_on

    async def _store(self, group: list[PickedFacts]) -> bool:
        entries = []
        for one in group:
            if await self.targets.find_obstacle(one):
                self.unable += len(one.outcomes)
            else:
                entries.append(make_entry(one, self.replay.id, self.journal.salt, self.now_ms()))
        if entries:
            await self._store_paced(entries)
        self.report(self.stored, self.unable, "")
        return await self.journal.advance_replay(self.replay.id, cursor=group[-1].seq, done=False)

    async def _store_paced(self, entries: list[Entry]) -> None:
        """Store entries once the rate allows it and the journal has room."""
        while pressure := await self.find_pressure():
            self.report(self.stored, self.unable, pressure)
            await self.pace.sleep(BACKPRESSURE_WAIT_S)
        facts = sum(one.facts for one in entries)
        await self.pace.take(facts)
        await self.journal.accept(entries, sorted({one.scope for one in entries if one.scope}))
        self.stored += facts


def _group(picked: Iterable[PickedFacts], *, most: int) -> Iterator[list[PickedFacts]]:
    """Yield what to store in one commit; the facts of one batch stay together."""
    group: list[PickedFacts] = []
    for _, of_one in groupby(picked, key=attrgetter("seq")):
        group.extend(of_one)
        if sum(len(one.outcomes) for one in group) >= most:
            yield group
            group = []
    if group:
        yield group


def make_origin(one: PickedFacts, replay: str) -> ReplayOrigin:
    """Return the note of where facts come from that are stored again."""
    facts = tuple(outcome.fact for outcome in one.outcomes)
    return ReplayOrigin(replay=replay, of=one.seq, accepted_ms=one.received_ms, dialect=one.dialect, facts=facts)


def make_entry(one: PickedFacts, replay: str, salt: bytes, now_ms: int) -> Entry:
    """Return facts as they are stored again: in their user's lane, for one connection, found by the same ids."""
    again = make_origin(one, replay)
    return Entry(
        dedupe=hash128(f"replay\0{replay}\0{one.seq}\0{one.connection}"),
        user=one.user,
        message=one.message,
        part=one.part,
        dialect=DIALECT,
        received_ms=now_ms,
        facts=sum(outcome.facts for outcome in one.outcomes),
        refs=tuple(hash_ref(id, salt) for id in _find_ids(one)),
        body=wrap(again, one.body),
        scope=one.connection,
        again=again,
    )


def _find_ids(one: PickedFacts) -> list[str]:
    """Return the ids by which a batch is found, read from its document; its message id alone if that fails."""
    try:
        parts = read(one.body).parts
    except Malformed:
        parts = ()
    return list(dict.fromkeys([one.message, *(id for part in parts for id in part.refs)]))
