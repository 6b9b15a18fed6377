"""The gateway's parts, put together as its processes do, for inputs in this process."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from fuzz.targets import Finding
from hypercorn.config import Config

import gateway_sailthru
import gateway_sessionm
from gateway.clock import Clock
from gateway.deliver.sender import build_request
from gateway.dispatch.planner import Planner, make_planner
from gateway.govern.rewrite import load_rewriter
from gateway.ingest import app
from gateway.journal.engines import open_journal, prepare
from gateway.journal.types import Entry, Item
from gateway.plan import NO_MEMORY
from gateway.plugins.connections import Connection
from gateway.plugins.watchdog import Watchdog
from gateway.settings import ConnectionSettings, IngressSettings, JournalSettings, RulesSettings
from gateway.testing import connection

FIXTURES = Path(__file__).parent.parent / "fixtures"
DOCUMENTS = [json.loads(path.read_text()) for path in sorted(FIXTURES.glob("*.json"))]
AUTHORIZATION = b"Basic ZnV6ejpub3QtYS1zZWNyZXQ="
NOWHERE = "http://127.0.0.1:9"
KEY, SECRET = "fuzz-key", "fuzz-secret"
SESSIONM = {"host": NOWHERE, "api_key": KEY, "api_secret": SECRET}
SAILTHRU = {"base_url": NOWHERE, "api_key": KEY, "api_secret": SECRET}
PLUGINS: dict[str, tuple[Any, dict[str, Any]]] = {
    "sessionm": (gateway_sessionm, SESSIONM),
    "sessionm-all": (
        gateway_sessionm,
        {
            **SESSIONM,
            "audience_attributes": True,
            "opted_in_consent": "gdpr:marketing",
            "event_mappings": {"Reward Claimed": "reward_claimed", "Level Up": "level"},
            "on_unknown_user": "skip",
        },
    ),
    "sailthru": (gateway_sailthru, SAILTHRU),
    "sailthru-all": (
        gateway_sailthru,
        {
            **SAILTHRU,
            "email_consent": "gdpr:marketing",
            "pixel_consent": "gdpr:marketing",
            "customer_id_as_extid": True,
            "purchases": "both",
            "array_mode": "both",
            "bulk_from": 2,
            "removed_audience": "delete",
        },
    ),
}
EVERYTHING: dict[str, Any] = {"login_identities": [], "max_age_hours": 0, "filter": {"new_data_points": True}}
RENEW_AFTER = 2_000
"""A journal is made anew after so many inputs."""


class Recorded:
    """A journal that also keeps what was accepted last."""

    def __init__(self, journal: Any) -> None:
        self._journal = journal
        self.accepted: list[Entry] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    async def accept(self, entries: Any, connections: Any, sealed: Any = ()) -> int:
        """Store batches, and keep them."""
        new = await self._journal.accept(entries, connections, sealed)
        self.accepted.extend(entries)
        return new


class Ingest:
    """An ingest process without its sockets: a journal in SQLite, and the application."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._tried = 0

    async def application(self) -> Any:
        """Return the application, on a journal that is made anew from time to time."""
        if self._tried % RENEW_AFTER == 0:
            await self.close()
            url = JournalSettings(url=f"sqlite:///{self._directory}/gateway.db")
            await prepare(url)
            self.journal = Recorded(await open_journal(url))
            ingress = IngressSettings(authorization=(AUTHORIZATION.decode(),), read_timeout_s=5)
            connections = {name: connect(name) for name in PLUGINS}
            self._application = app.create(ingress, self.journal, connections, configured=frozenset(connections))
        self._tried += 1
        self.journal.accepted.clear()
        return self._application

    async def close(self) -> None:
        """Close the journal, and remove it."""
        if self._tried:
            await self.journal.close()
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir(parents=True)


def connect(name: str, **other: Any) -> Connection:
    """Return one of the connections, which is sent everything; with ``other`` settings too."""
    plugin, values = PLUGINS[name][0], {**PLUGINS[name][1], **other}
    configured = ConnectionSettings(plugin=name, settings=values, **EVERYTHING)
    return connection(plugin, values, name=name, configured=configured)


class Planning:
    """Planning of whatever was accepted, by both plugins with little and with much configured."""

    def __init__(self) -> None:
        self._guard = Watchdog(3.0)
        rules, clock = load_rewriter(RulesSettings()), Clock()
        self._planners: list[Planner] = [make_planner(connect(name), rules, self._guard, clock) for name in PLUGINS]

    def plan(self, entry: Entry) -> int:
        """Plan an accepted batch for each connection. Return the number of calls. Raises Finding."""
        item = Item(
            seq=1,
            message=entry.message,
            part=entry.part,
            dialect=entry.dialect,
            received_ms=entry.received_ms,
            facts=entry.facts,
            body=entry.body,
        )
        return sum(self._plan(planner, item, entry) for planner in self._planners)

    def _plan(self, planner: Planner, item: Item, entry: Entry) -> int:
        batch = planner.decode_item(item, user=entry.user)
        planned = planner.plan_item(item, batch, NO_MEMORY, user=entry.user)
        faulty = [one for one in planned.settled if one.reason in ("plugin_error", "rule_error")]
        if faulty:
            raise Finding(f"{planner.connection.name}: {faulty[0].detail}")
        names = Counter(one.fact for one in (*planned.settled, *planned.planned))
        repeated = [name for name, times in names.items() if times > 1]
        if repeated:
            raise Finding(f"{planner.connection.name}: several facts are named {repeated[0]}")
        facts = sum(one.facts for one in planned.settled) + len(planned.planned)
        if facts != entry.facts:
            raise Finding(f"{planner.connection.name}: {entry.facts} facts were accepted and {facts} planned")
        calls = [call for one in planned.planned for call in one.calls]
        for call in calls:
            build_request(planner.connection, call, self._guard)
        return len(calls)


def server_config() -> Config:
    """Return the configuration of the HTTP server."""
    config = Config()
    config.graceful_timeout = 2.0
    return config


class Loop:
    """An event loop of a target's own."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()

    def run(self, coroutine: Any) -> Any:
        """Run a coroutine to its end."""
        return self._runner.run(coroutine)

    def close(self) -> None:
        """Close the loop."""
        self._runner.close()
