"""Replies of partners: sent by a fake, damaged, and judged by the plugins."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import httpx
import msgspec
from fuzz.gateways import DOCUMENTS, KEY, PLUGINS, SECRET, Loop, connect
from fuzz.mutations import SCALARS, damage, mutate, write
from fuzz.targets import Finding

from gateway.deliver.executor import CallExecutor, CallResult, Wait
from gateway.deliver.gates import Gates
from gateway.deliver.judge import judge, number_follow_ups
from gateway.deliver.progress import CallOutcome
from gateway.deliver.sender import Sender, build_request
from gateway.facts import iter_facts
from gateway.ingest.entries import read_entries
from gateway.mparticle.decoding import decode
from gateway.plan import FactPlan, plan
from gateway.plugins.connections import Connection
from gateway.plugins.watchdog import Watchdog
from gateway.sdk import Call, Reply, Verdict
from gateway.settings import DeliverySettings
from gateway.testing import FakeVendor, running
from gateway.testing.driving import send
from gateway_sailthru.fake import FakeSailthru
from gateway_sessionm.fake import FakeSessionM

MAX_FOLLOW_UPS = 8
STATUSES = (
    200,
    200,
    200,
    201,
    204,
    301,
    400,
    401,
    403,
    404,
    408,
    409,
    410,
    422,
    425,
    429,
    451,
    500,
    502,
    503,
    504,
    599,
)
HEADERS = (
    "retry-after",
    "date",
    "x-rate-limit-limit",
    "x-rate-limit-remaining",
    "x-rate-limit-reset",
    "content-type",
    "location",
    "content-length",
)
VALUES = (
    "",
    "0",
    "-1",
    "nan",
    "inf",
    "1e400",
    "60",
    "9" * 30,
    "Thu, 01 Jan 1970 00:00:00 GMT",
    "text/html",
    "x" * 500,
    "Fri, 31 Dec 9999 23:59:59 -9999",
    "https://elsewhere.example/\x85",
    "1,2",
    "+5",
    "0x10",
)
BODIES: tuple[Any, ...] = (
    {"status": "error", "errors": {"code": "user_not_found"}},
    {"status": "error", "errors": [{"code": 5}, "internal_server_error"]},
    {"status": "ok", "user": {"id": "1", "external_ids": [{"id": "a"}], "user_profile": []}},
    {"error": 99, "errormsg": "User not found with email: a@example.com"},
    {"error": "43", "errormsg": 5},
    {"ok": False},
    {"job_id": "1", "status": "completed"},
    {"keys": [], "vars": {}, "lists": {"a": 1}},
    None,
    [],
    "ok",
)
FAILURES = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ReadTimeout,
    httpx.ReadError,
    httpx.RemoteProtocolError,
    httpx.DecodingError,
    httpx.UnsupportedProtocol,
)
FAKES: dict[str, tuple[str, Callable[[], FakeVendor]]] = {
    "sessionm": ("host", lambda: FakeSessionM(apps={KEY: SECRET}, events=["reward_claimed"])),
    "sailthru": ("base_url", lambda: FakeSailthru(KEY, SECRET)),
}
NO_GUARD = Watchdog(3.0)


def list_exchanges() -> list[tuple[Connection, Call, Reply]]:
    """Return what both fakes answer to the calls planned for the fixtures, with the calls that follow."""
    return [exchange for name in PLUGINS for exchange in _drive(name)]


def _drive(name: str) -> Iterator[tuple[Connection, Call, Reply]]:
    setting, make = FAKES[name.partition("-")[0]]
    configured = connect(name)
    with running(make()) as url:
        served = connect(name, **{setting: url})
        for _ in range(2):  # the second time the users are known
            calls = list(_planned(served))
            for _ in range(MAX_FOLLOW_UPS):
                exchanges = [(call, send(served, call)) for call in calls]
                yield from ((configured, call, reply) for call, reply in exchanges)
                calls = [follow_up for call, reply in exchanges for follow_up in _follow_ups(served, call, reply)]


def _planned(connection: Connection) -> Iterator[Call]:
    for document in DOCUMENTS:
        post, entries = read_entries(json.dumps(document).encode(), None, b"salt")
        for entry in entries:
            batch = decode(post.dialect, entry.body, message=entry.message, part=entry.part)
            for fact in plan(batch, connection, iter_facts(batch)):
                yield from fact.calls


def _follow_ups(connection: Connection, call: Call, reply: Reply) -> tuple[Call, ...]:
    judged = judge(connection, call, reply, NO_GUARD)
    return number_follow_ups(judged, call, 1) if isinstance(judged, FactPlan) else ()


class Replies:
    """The judging of replies, in process, with new gates for each."""

    name = "replies"
    weight = 400

    def __init__(self, directory: Path) -> None:
        self._loop = Loop()
        self._exchanges = list_exchanges()

    def try_input(self, random: Random) -> str:
        """Judge a few replies to one call. Raises Finding."""
        connection, call, reply = random.choice(self._exchanges)
        return self._loop.run(_judge(random, connection, call, reply))

    def close(self) -> None:
        """Close the loop."""
        self._loop.close()


async def _judge(random: Random, connection: Connection, call: Call, good: Reply) -> str:
    ticks = itertools.count(1_000.0, 3_700.0)
    headers = connection.plugin.destination.rate_headers
    limits = headers(connection.settings) if headers else None
    gates = Gates(rates={}, headers=limits, clock=lambda: next(ticks))
    made: list[int | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        made.append(None)
        response = _damage_reply(random, good, request)
        made[-1] = response.status_code
        return response

    sender = Sender(connection, httpx.MockTransport(answer), now_ms=lambda: 1_700_000_000_000, guard=NO_GUARD)
    executor = CallExecutor(
        connection=connection,
        sender=sender,
        gates=gates,
        delivery=DeliverySettings(),
        stopping=lambda: False,
        guard=NO_GUARD,
    )
    result = await executor.make(call, attempt=1)
    if isinstance(result, Wait):
        raise Finding(f"{connection.name}: a gate is closed before the first call: {result.reason}")
    return _check(connection, call, result, made[-1])


def _check(connection: Connection, call: Call, result: CallResult, status: int | None) -> str:
    if isinstance(result.judged, CallOutcome):
        raise Finding(f"{connection.name}: {result.judged.detail}")
    if result.wait is not None and not (math.isfinite(result.wait.seconds) and 0 <= result.wait.seconds <= 3_600):
        raise Finding(f"{connection.name}: a gate waits for {result.wait.seconds} seconds")
    if isinstance(result.judged, Verdict):
        word = result.judged.word
        if word == "delivered" and (status is None or status >= 500):
            raise Finding(f"{connection.name}: {call.method} {call.path} is delivered by the status {status}")
        return word
    for follow_up in number_follow_ups(result.judged, call, 1):
        build_request(connection, follow_up, NO_GUARD)
    msgspec.json.encode((result.judged.memories, result.judged.skips))
    return "planned"


def _damage_reply(random: Random, good: Reply, request: httpx.Request) -> httpx.Response:
    """Return a damaged reply. Raises an error of httpx in one of ten cases."""
    if random.random() < 0.1:
        raise random.choice(FAILURES)("planted", request=request)
    status = good.status if random.random() < 0.5 and good.status else random.choice(STATUSES)
    headers = dict(good.headers)
    headers.pop("content-length", None)
    for _ in range(random.choice((0, 1, 3))):
        value = random.choice(VALUES) if random.random() < 0.7 else str(random.choice(SCALARS))[:200]
        headers[random.choice(HEADERS[:-1])] = "".join(char for char in value if char.isprintable() and char < "\xff")
    return httpx.Response(status, headers=headers, content=_damage_body(random, good), request=request)


def _damage_body(random: Random, good: Reply) -> bytes:
    kind = random.random()
    document = good.json() if kind < 0.6 else random.choice(BODIES)
    body = write(random, mutate(random, document) if kind > 0.1 else document)
    if random.random() < 0.15:
        return damage(random, body)
    return random.choice((b"", b"<html>", b"\xff", b"ok")) if random.random() < 0.05 else body
