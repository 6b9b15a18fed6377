"""The survey of a replay: which facts it would send, which not, and which calls they would make now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.cli.preview import Shown, shown_call
from gateway.cli.tables import table
from gateway.clock import Clock
from gateway.deliver.coalesce import fold
from gateway.deliver.executor import Wait
from gateway.deliver.progress import ItemProgress
from gateway.dispatch.planner import ItemPlanner, NoAccountPlanner, make_planner
from gateway.dispatch.prepare import prepare
from gateway.dispatch.replay import WINDOW, ReplayLookup, Targets, make_origin
from gateway.govern.rewrite import Rewriter
from gateway.journal.port import Journal
from gateway.journal.replays import Picked, Selection
from gateway.journal.types import Item
from gateway.plugins.connections import Connection, HostedConnection
from gateway.plugins.watchdog import Watchdog
from gateway.settings import ConfigurationError, Settings

FIRST = 5
MAX_PATHS = 1_000
MAX_PLANNERS = 1_000
OTHER = "(other paths)"
CANNOT = {
    "not_configured": "the connection is no longer configured",
    "waiting": "a replay of it is under way",
    "document_removed": "its document has been removed",
    "no_settings": "the account's settings are not known any more",
    "settings_unusable": "the account's settings cannot be used",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """A connection as it is today, and who plans for it."""

    connection: Connection
    planner: ItemPlanner
    guard: Watchdog


@dataclass(slots=True, kw_only=True)
class Survey:
    """Everything counted: facts by connection with their word and reason, why not, and as what; calls by path.

    ``newer`` counts the facts that would be sent after something newer of the same user's; ``first`` shows a few calls.
    """

    journal: Journal
    settings: Settings
    connections: Mapping[str, Connection | HostedConnection]
    rules: Rewriter
    clock: Clock = field(default_factory=Clock)
    selected: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    cannot: Counter[tuple[str, str]] = field(default_factory=Counter)
    newer: Counter[str] = field(default_factory=Counter)
    unsent: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    calls: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    first: list[Shown] = field(default_factory=list)
    joined: dict[str, Joined | None] = field(default_factory=dict)

    async def run(self, selection: Selection, upto: int) -> None:
        """Look at all that is selected, a little at a time."""
        configured, hosted = frozenset(self.settings.connections), self.settings.hosted
        targets = Targets(journal=self.journal, configured=configured, hosted=hosted)
        after: int | None = 0
        while after is not None:
            picked, after = await self.journal.pick(selection, after_seq=after, upto=upto, limit=WINDOW, surveys=True)
            for one in picked:
                await self._count(one, await targets.find_obstacle(one))

    async def _count(self, one: Picked, unable: str) -> None:
        for outcome in one.outcomes:
            self.selected[one.connection, outcome.state, outcome.reason] += 1
        joined = None if unable else await self._join(one.connection)
        if joined is None:
            self.cannot[one.connection, unable or "settings_unusable"] += len(one.outcomes)
            return
        self.newer[one.connection] += len(one.outcomes) if one.newer else 0
        await self._plan(one, joined)

    async def _plan(self, one: Picked, joined: Joined) -> None:
        """Return the calls that a dispatcher would make of facts now."""
        item = Item(
            seq=one.seq,
            message=one.message,
            part=one.part,
            dialect=one.dialect,
            received_ms=one.received_ms,
            facts=len(one.outcomes),
            body=one.body,
            again=make_origin(one, "preview"),
        )
        lookup = ReplayLookup(self.journal, one)
        prepared = await prepare(item, one.memory, joined.planner, lookup)
        if not isinstance(prepared, Wait):
            self._say(prepared.progress, joined, lane=f"{one.user & 0xFFFF_FFFF_FFFF_FFFF:016x}")

    def _say(self, progress: ItemProgress, joined: Joined, *, lane: str) -> None:
        connection = joined.connection
        calls = fold(connection, list(progress.open_calls()), joined.guard)
        for call in calls:
            key = (connection.name, call.method, connection.mask(call.path))
            known = key in self.calls or len(self.calls) < MAX_PATHS
            self.calls[key if known else (connection.name, call.method, OTHER)] += 1
            if len(self.first) < FIRST:
                base = {"connection": connection.name, "plugin": connection.plugin.name}
                self.first.append({**base, **shown_call(call, connection, lane=lane)})
        for outcome in progress.unsent():
            self.unsent[connection.name, outcome.state, outcome.reason] += 1

    async def _join(self, name: str) -> Joined | None:
        """A connection, or that of an account with the settings that are kept; None where these cannot be used."""
        if name not in self.joined:
            if len(self.joined) >= MAX_PLANNERS:
                self.joined.clear()
            self.joined[name] = await self._made(name)
        return self.joined[name]

    async def _made(self, name: str) -> Joined | None:
        one = self.connections[name.partition("/")[0]]
        guard = Watchdog(self.settings.delivery.hook_timeout_s)
        if isinstance(one, Connection):
            return self._planned_for(one, guard)
        from gateway.sealing import Sealer, Unopenable  # noqa: PLC0415  # heavy, and of use only here

        kept = await self.journal.sealed(name)
        if kept is None:
            return Joined(connection=one.without_account(), planner=NoAccountPlanner(one), guard=guard)
        try:
            given = msgspec.json.decode(Sealer(self.settings.accounts.keys()).open(kept.sealed, name))
            return self._planned_for(one.connect_account(name.partition("/")[2], given), guard)
        except (Unopenable, ConfigurationError):
            return None

    def _planned_for(self, connection: Connection, guard: Watchdog) -> Joined:
        planner = make_planner(connection, self.rules, guard, self.clock)
        return Joined(connection=connection, planner=planner, guard=guard)

    def told(self) -> dict[str, Any]:
        """All of it, as it is told to machines: each count with what it is of."""
        return {
            "selected": _rows(self.selected, "connection", "word", "reason"),
            "cannot": _rows(self.cannot, "connection", "why"),
            "after_newer": [{"connection": name, "facts": n} for name, n in sorted(self.newer.items()) if n],
            "calls": _rows(self.calls, "connection", "method", "path", of="calls"),
            "unsent": _rows(self.unsent, "connection", "word", "reason"),
            "first_calls": self.first,
        }


def _rows(counts: Counter[Any], *names: str, of: str = "facts") -> list[dict[str, Any]]:
    return [{**dict(zip(names, key, strict=True)), of: counts[key]} for key in sorted(counts)]


def show(told: Mapping[str, Any]) -> None:
    """The same, as tables for people."""
    _table(told["selected"], "selected")
    _table([{**row, "why": CANNOT[row["why"]]} for row in told["cannot"]], "cannot be sent again")
    _table(told["calls"], "calls that would be made now")
    _table(told["unsent"], "facts that would not be sent now")


def _table(rows: list[dict[str, Any]], title: str) -> None:
    if rows:
        table(tuple(rows[0]), [tuple(row.values()) for row in rows], title=title)
