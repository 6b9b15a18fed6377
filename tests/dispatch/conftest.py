"""A dispatcher in this process: its journal in memory, a fake plugin and partner, and a clock that a test sets."""

import asyncio
import json
import time
from functools import partial

import httpx
import pytest
from msgspec.structs import replace

from gateway.clock import Clock
from gateway.dispatch.assembly import SharedParts, make_dispatcher
from gateway.dispatch.catalog import Catalog
from gateway.govern.rewrite import load_rewriter
from gateway.ingest.entries import read_entries
from gateway.journal.memory.journal import MemoryJournal
from gateway.journal.memory.store import Store
from gateway.journal.types import hash_ref
from gateway.plugins import blackbox
from gateway.sdk import Call, Destination, Remember, Settings, Skip, hookimpl
from gateway.settings import ConnectionSettings, DeliverySettings, RulesSettings
from gateway.testing import connection

EVERYTHING = {"login_identities": [], "max_age_hours": 0, "filter": {"new_data_points": True}}


@pytest.fixture
async def journal(anyio_backend):
    opened = MemoryJournal(Store())
    assert await opened.take_over()
    return opened


class Time:
    """Time that passes when a test says so."""

    def __init__(self):
        self.began_ms = time.time_ns() // 1_000_000
        self.passed_s = 1_000.0

    def wall(self):
        return self.began_ms + int(1000 * self.passed_s)

    def steady(self):
        return self.passed_s


class Post:
    """A plugin that makes a call of each event, membership, audience and erasure; some events do more."""

    @hookimpl
    def destination(self):
        return Destination(title="Post", settings=Settings, base_url=lambda _: "https://post.example")

    @hookimpl
    def on_event(self, event, memory):
        if event.name == "raises":
            raise ValueError("hush")
        if event.name == "skips":
            return Skip(reason="not_wanted")
        if event.name == "remembers":
            return Remember(key="seen", value=len(memory.user))
        return Call(method="POST", path=f"events/{event.name}", json={"remembered": dict(memory.user)})

    @hookimpl
    def on_membership(self, membership):
        return Call(method="POST", path=f"members/{membership.audience_id}")

    @hookimpl
    def on_audience(self, audience):
        return Call(method="PUT", path=f"audiences/{audience.id}")

    @hookimpl
    def on_erasure(self, erasure):
        return Call(method="DELETE", path="users")


@pytest.fixture
def post():
    """The connection of the plugin, which is sent everything."""
    return connection(Post(), {}, name="post", configured=ConnectionSettings(plugin="post", **EVERYTHING))


class Bench:
    """Posts messages into the journal and works on them; ``answers`` are the partner's statuses, then 200 for ever."""

    def __init__(self, journal, *answers, **delivery):
        self.journal = journal
        self.answers = list(answers)
        self.seen = []
        self.time = Time()
        self.clock = Clock(self.time.wall, self.time.steady)
        self.box = blackbox.Blackbox(blackbox.allocate_memory())
        self.delivery = DeliverySettings(**{"retry_first_s": 1, "retry_most_s": 60, **delivery})
        self.restart()

    def restart(self):
        """Replace the dispatcher by a new one, as a restart of the process does."""
        shared = SharedParts(
            journal=self.journal,
            delivery=self.delivery,
            rules=load_rewriter(RulesSettings()),
            catalog=Catalog(),
            box=self.box,
            clock=self.clock,
        )
        configured = ConnectionSettings(plugin="post", **EVERYTHING)
        post = connection(Post(), {}, name="post", configured=configured)
        self.dispatcher = make_dispatcher(post, shared, transport=httpx.MockTransport(self.partner))

    def partner(self, request):
        self.seen.append(f"{request.method} {request.extensions['target'].decode().removeprefix('/')}")
        self.body = request.content
        return httpx.Response(self.answers.pop(0) if self.answers else 200)

    async def post(self, message, only=None):
        """Store a message in the journal."""
        _, entries = read_entries(json.dumps(message).encode(), only, self.journal.salt)
        now_ms = self.clock.now_ms()
        self.time.passed_s += 0.001
        await self.journal.accept([replace(entry, received_ms=now_ms) for entry in entries], ["post"])

    async def work(self, *, after_s=0.0):
        """Let time pass, then work on all that is due."""
        self.time.passed_s += after_s
        await self.dispatcher.deliveries.share_once(partial(self.journal.exchange, "post"))
        while await self.dispatcher.start_work():
            await asyncio.wait(self.dispatcher.working)

    async def status(self, id):
        """Return what the journal knows of the newest message with this id."""
        found = await self.journal.find([hash_ref(id, self.journal.salt)])
        return found[-1].sightings[0]

    async def outcomes(self, id):
        """Return the outcome of each fact of a message: id, state, reason and detail."""
        return [(one.fact, one.state, one.reason, one.detail) for one in (await self.status(id)).outcomes]


@pytest.fixture
def bench(journal):
    """Make a bench: ``bench(503, 200)``."""
    return partial(Bench, journal)
