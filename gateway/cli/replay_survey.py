"""Survey of a replay: the facts it would redeliver, those it cannot, and the calls they would make now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.cli.preview import Shown, render_call
from gateway.cli.tables import print_table
from gateway.clock import Clock
from gateway.deliver.coalesce import fold
from gateway.deliver.executor import Wait
from gateway.deliver.progress import ItemProgress
from gateway.dispatch.planner import ItemPlanner, NoAccountPlanner, make_planner
from gateway.dispatch.prepare import prepare
from gateway.dispatch.replay import WINDOW, ReplayLookup, ReplayTargets, make_origin
from gateway.govern.rewrite import Rewriter
from gateway.journal.port import Journal
from gateway.journal.replays import PickedFacts, Selection
from gateway.journal.types import Item
from gateway.plugins.connections import Connection, HostedConnection
from gateway.plugins.watchdog import Watchdog
from gateway.settings import Configuration, ConfigurationError

MAX_FIRST_CALLS = 5
MAX_PATHS = 1_000
MAX_PLANNERS = 1_000
OTHER = "(other paths)"
CANNOT = {
    "not_configured": "the connection is no longer configured",
    "waiting": "another replay of it is running",
    "document_removed": "its document was removed",
    "no_settings": "the account's settings are no longer stored",
    "settings_unusable": "the account's settings cannot be used",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedConnection:
    """A connection as it is configured today, with its planner."""

    connection: Connection
    planner: ItemPlanner
    guard: Watchdog


@dataclass(slots=True, kw_only=True)
class Survey:
    """Counts of a survey: facts by connection, state and reason, obstacles by reason, and calls by path.

    ``newer`` counts the facts that would be sent after newer facts of the same user; ``first`` holds a few calls.
    """

    journal: Journal
    settings: Configuration
    connections: Mapping[str, Connection | HostedConnection]
    rules: Rewriter
    clock: Clock = field(default_factory=Clock)
    selected: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    cannot: Counter[tuple[str, str]] = field(default_factory=Counter)
    newer: Counter[str] = field(default_factory=Counter)
    unsent: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    calls: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    first: list[Shown] = field(default_factory=list)
    planned: dict[str, PlannedConnection | None] = field(default_factory=dict)

    async def run(self, selection: Selection, upto: int) -> None:
        """Survey all selected facts, a window at a time."""
        configured, hosted = frozenset(self.settings.connections), self.settings.hosted
        targets = ReplayTargets(journal=self.journal, configured=configured, hosted=hosted)
        after: int | None = 0
        while after is not None:
            picked, after = await self.journal.pick(selection, after_seq=after, upto=upto, limit=WINDOW, surveys=True)
            for one in picked:
                await self._count(one, await targets.find_obstacle(one))

    async def _count(self, one: PickedFacts, unable: str) -> None:
        for outcome in one.outcomes:
            self.selected[one.connection, outcome.state, outcome.reason] += 1
        planned = None if unable else await self._find(one.connection)
        if planned is None:
            self.cannot[one.connection, unable or "settings_unusable"] += len(one.outcomes)
            return
        self.newer[one.connection] += len(one.outcomes) if one.newer else 0
        await self._plan(one, planned)

    async def _plan(self, one: PickedFacts, planned: PlannedConnection) -> None:
        """Plan selected facts as the dispatcher would now, and count their calls."""
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
        prepared = await prepare(item, one.memory, planned.planner, lookup)
        if not isinstance(prepared, Wait):
            self._count_calls(prepared.progress, planned, lane=f"{one.user & 0xFFFF_FFFF_FFFF_FFFF:016x}")

    def _count_calls(self, progress: ItemProgress, planned: PlannedConnection, *, lane: str) -> None:
        connection = planned.connection
        calls = fold(connection, list(progress.open_calls()), planned.guard)
        for call in calls:
            key = (connection.name, call.method, connection.mask(call.path))
            known = key in self.calls or len(self.calls) < MAX_PATHS
            self.calls[key if known else (connection.name, call.method, OTHER)] += 1
            if len(self.first) < MAX_FIRST_CALLS:
                base = {"connection": connection.name, "plugin": connection.plugin.name}
                self.first.append({**base, **render_call(call, connection, lane=lane)})
        for outcome in progress.unsent():
            self.unsent[connection.name, outcome.state, outcome.reason] += 1

    async def _find(self, name: str) -> PlannedConnection | None:
        """Return a connection, an account's with its stored settings; None if these cannot be used."""
        if name not in self.planned:
            if len(self.planned) >= MAX_PLANNERS:
                self.planned.clear()
            self.planned[name] = await self._connect(name)
        return self.planned[name]

    async def _connect(self, name: str) -> PlannedConnection | None:
        one = self.connections[name.partition("/")[0]]
        guard = Watchdog(self.settings.delivery.hook_timeout_s)
        if isinstance(one, Connection):
            return self._plan_for(one, guard)
        from gateway.sealing import Sealer, Unopenable  # noqa: PLC0415  # slow to import, and used only here

        kept = await self.journal.sealed(name)
        if kept is None:
            return PlannedConnection(connection=one.without_account(), planner=NoAccountPlanner(one), guard=guard)
        try:
            given = msgspec.json.decode(Sealer(self.settings.accounts.keys()).open(kept.sealed, name))
            return self._plan_for(one.connect_account(name.partition("/")[2], given), guard)
        except (Unopenable, ConfigurationError):
            return None

    def _plan_for(self, connection: Connection, guard: Watchdog) -> PlannedConnection:
        planner = make_planner(connection, self.rules, guard, self.clock)
        return PlannedConnection(connection=connection, planner=planner, guard=guard)

    def report(self) -> dict[str, Any]:
        """Return all counts as rows, with the keys of the JSON output."""
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


def print_survey(report: Mapping[str, Any]) -> None:
    """Print the rows of a survey as tables."""
    _table(report["selected"], "selected")
    _table([{**row, "why": CANNOT[row["why"]]} for row in report["cannot"]], "cannot be redelivered")
    _table(report["calls"], "calls that would be made now")
    _table(report["unsent"], "facts that would not be sent now")


def _table(rows: list[dict[str, Any]], title: str) -> None:
    if rows:
        print_table(tuple(rows[0]), [tuple(row.values()) for row in rows], title=title)
