"""The bench: the plugin on one side of a real socket, the fake on the other."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

import gateway_sessionm
from gateway.sdk import Batch, Call, Memory, Verdict
from gateway.testing import connection, drive, plan_with, running
from gateway_sessionm.fake import FakeSessionM

settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")  # what a test asserts is never speed

NO_MEMORY = Memory()


class Bench:
    """A fake that is being served, and what it takes to deliver to it."""

    def __init__(self, vendor: FakeSessionM, url: str) -> None:
        self.vendor = vendor
        self.values = {"host": url, "api_key": "test-key", "api_secret": "test-secret"}

    def plan(self, batch: Batch, *, memory: Memory = NO_MEMORY, **settings: Any) -> list[Call]:
        """The calls planned for a batch, folded as they would be when they wait together."""
        items = plan_with(gateway_sessionm, batch, {**self.values, **settings}, memory=memory, ids=True)
        return gateway_sessionm.coalesce(tuple(item for item in items if isinstance(item, Call)))

    def drive(self, calls: list[Call], **settings: Any) -> list[Verdict]:
        """Make the calls and what follows from them."""
        return drive(connection(gateway_sessionm, {**self.values, **settings}), calls)

    def deliver(self, batch: Batch, *, memory: Memory = NO_MEMORY, **settings: Any) -> list[str]:
        """Plan and make; the verdicts' words, with the reason where there is one."""
        verdicts = self.drive(self.plan(batch, memory=memory, **settings), **settings)
        return [f"{verdict.word} {verdict.reason}".strip() for verdict in verdicts]

    def journal(self) -> list[str]:
        """Every request so far: method, path below the application, status."""
        prefix = "/priv/v1/apps/KEY/"
        return [f"{e['method']} {e['path'].removeprefix(prefix)} {e['status']}" for e in self.vendor.journal]

    def user(self, external_id: str) -> dict[str, Any]:
        """A stored user."""
        customer = self.vendor.users.find_by_external_id(external_id)
        assert customer is not None
        return customer.to_json(profile=True, identifiers=True)

    def identifiers(self, external_id: str) -> dict[str, str]:
        """A stored user's external ids with their types."""
        return {each["external_id"]: each["external_id_type"] for each in self.user(external_id)["identifiers"]}


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    """Start a fake with these options; the events used in the tests are defined."""
    with ExitStack() as stack:

        def start(vendor: FakeSessionM | None = None, **options: Any) -> Bench:
            defaults = {"events": ["Reward Claimed", "Home"], "undefined_attribute": "accept"}
            vendor = FakeSessionM(**{**defaults, **options}) if vendor is None else vendor
            return Bench(vendor, stack.enter_context(running(vendor)))

        yield start


class Caller:
    """A client of the fake over a real socket: what comes back as status and JSON, or as status and text."""

    def __init__(self, vendor: FakeSessionM, url: str) -> None:
        self.vendor = vendor
        self.url = url
        self.headers: dict[str, str] = {}

    def raw(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, dict[str, str], Any]:
        """One request with exactly these headers: status, headers, body."""
        host = self.url.removeprefix("http://")
        wire = HTTPConnection(host, timeout=10)
        try:
            wire.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = wire.getresponse()
            self.headers = {name.lower(): value for name, value in answer.getheaders()}
            text = answer.read()
        finally:
            wire.close()
        is_json = self.headers.get("content-type") == "application/json"
        return answer.status, self.headers, json.loads(text) if is_json else text

    def __call__(self, method: str, path: str, body: Any = None, *, key: str = "test-key", **headers: str) -> Any:
        """One request below the application, with the right credentials unless others are given."""
        fine = {"Authorization": basic("test-key", "test-secret")}
        if method in ("POST", "PUT"):
            fine["Content_Type"] = "application/json"
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        status, _, answer = self.raw(method, f"/priv/v1/apps/{key}/{path}", content, **{**fine, **headers})
        return status, answer

    def error(self, *args: Any, **kwargs: Any) -> tuple[int, str]:
        """One request that must fail: status and code."""
        status, answer = self(*args, **kwargs)
        assert set(answer) == {"status", "errors"}
        assert (answer["status"], set(answer["errors"])) == ("error", {"code", "message"})
        return status, answer["errors"]["code"]

    def steer(self, method: str, what: str, body: Any = None) -> Any:
        """One request below ``/__fake__/``."""
        content = None if body is None else json.dumps(body).encode()
        status, _, answer = self.raw(method, f"/__fake__/{what}", content)
        return status, answer


def basic(user: str, secret: str) -> str:
    """A header of Basic authentication."""
    return f"Basic {b64encode(f'{user}:{secret}'.encode()).decode()}"


@pytest.fixture
def fake() -> Iterator[Callable[..., Caller]]:
    """Start a fake with these options and call it."""
    with ExitStack() as stack:

        def start(**options: Any) -> Caller:
            vendor = FakeSessionM(**options)
            return Caller(vendor, stack.enter_context(running(vendor)))

        yield start
