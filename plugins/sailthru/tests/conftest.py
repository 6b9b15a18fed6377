"""The bench: the plugin on one side of a real socket, the fake on the other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from hashlib import md5
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from hypothesis import HealthCheck, settings

import gateway_sailthru
from gateway.sdk import Batch, Call, Memory, Verdict
from gateway.testing import connection, drive, plan_with, running
from gateway_sailthru.fake import FakeSailthru
from gateway_sailthru.settings import SailthruSettings

settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")  # what a test asserts is never speed

NO_MEMORY = Memory()
KEY, SECRET = "test-key", "test-secret"


def signature(secret: str, *values: str) -> str:
    """The reference: written from the description of the signature, not from the plugin's."""
    text = secret
    for value in sorted(values, key=lambda value: value.encode()):
        text += value
    return md5(text.encode()).hexdigest()


class Bench:
    """A fake that is being served, and what it takes to deliver to it."""

    def __init__(self, vendor: FakeSailthru, url: str) -> None:
        self.vendor = vendor
        self.url = url
        self.values = {"base_url": url, "api_key": KEY, "api_secret": SECRET}

    def connection(self, **settings: Any):
        """The connection to the fake, with these settings."""
        return connection(gateway_sailthru, {**self.values, **settings})

    def plan(self, batch: Batch, *, memory: Memory = NO_MEMORY, **settings: Any) -> list[Call]:
        """The calls planned for a batch, folded as they would be when they wait together."""
        items = plan_with(gateway_sailthru, batch, {**self.values, **settings}, memory=memory, ids=True)
        calls = tuple(item for item in items if isinstance(item, Call))
        return gateway_sailthru.coalesce(calls, SailthruSettings.model_validate({**self.values, **settings}))

    def drive(self, calls: list[Call], **settings: Any) -> list[Verdict]:
        """Make the calls and what follows from them; for what is made later the fake's clock moves on."""
        return drive(self.connection(**settings), calls, wait=self.vendor.clock.advance)

    def deliver(self, batch: Batch, *, memory: Memory = NO_MEMORY, **settings: Any) -> list[str]:
        """Plan and make; the verdicts' words, with the reason where there is one."""
        verdicts = self.drive(self.plan(batch, memory=memory, **settings), **settings)
        return [f"{verdict.word} {verdict.reason}".strip() for verdict in verdicts]

    def journal(self) -> list[str]:
        """Every request so far: method, path, status."""
        return [f"{e['method']} {e['path']} {e['status']}" for e in self.vendor.journal]

    def ask(self, method: str, endpoint: str, data: Any = None, **changed: str | None) -> tuple[int, Any]:
        """A request of our own making: status and answer. Fields can be ``changed``, or left out with None."""
        return self.send(method, endpoint, self.fields({} if data is None else data, **changed))[:2]

    def fields(self, data: Any, **changed: str | None) -> dict[str, str]:
        """Signed fields as any client would send them; a changed one is what is signed."""
        text = data if isinstance(data, str) else json.dumps(data)
        fields = {"api_key": KEY, "format": "json", "json": text, **changed}
        given = {name: value for name, value in fields.items() if value is not None}
        if "sig" not in fields:
            given["sig"] = signature(SECRET, *given.values())
        return given

    def send(self, method: str, path: str, fields: dict[str, str]) -> tuple[int, Any, dict[str, str]]:
        """Fields on their way: status, answer, headers in lower case."""
        query, body, headers = f"?{urlencode(fields)}", b"", {}
        if method == "POST":
            query, body = "", urlencode(fields).encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.raw(method, f"/{path}{query}", body, headers)

    def raw(self, method: str, target: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any, dict[str, str]]:
        """A request as it is told: status, answer, headers in lower case."""
        address = urlsplit(self.url)
        wire = HTTPConnection(address.hostname, address.port, timeout=10)
        try:
            wire.request(method, target, body, headers)
            answer = wire.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, json.loads(answer.read() or b"null"), told
        finally:
            wire.close()

    def steer(self, what: str, data: dict[str, Any]) -> None:
        """Post to the fake's back door, as those do who have it in a process of its own."""
        status, answer, _ = self.raw("POST", f"/__fake__/{what}", json.dumps(data).encode(), {})
        assert status == 200, answer

    def fault(self, *, method: str | None = None, path: str | None = None, times: int = 1, **action: Any) -> None:
        """Queue a fault."""
        match = {"method": method, "path_regex": path}
        self.steer("faults", {"match": match, "action": action, "times": times})

    def user(self, email: str) -> dict[str, Any]:
        """A stored user: address (and what other keys they have but sid and cookie), vars, lists, opt-out."""
        person = self.vendor.users.find("email", email)
        assert person is not None, f"no {email} among {list(self.vendor.users.profiles.values())}"
        keys = {key: value for key, value in person.keys.items() if key not in ("sid", "cookie")}
        return {"keys": keys, "vars": person.vars, "lists": sorted(person.lists), "optout": person.optout_email}

    def emails(self) -> list[str]:
        """The addresses of all stored users."""
        return [person.keys["email"] for person in self.vendor.users.profiles.values()]

    def sid(self, email: str) -> str:
        """The key of a stored user that never changes."""
        person = self.vendor.users.find("email", email)
        assert person is not None
        return person.sid


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    """Start a fake with these options."""
    with ExitStack() as stack:

        def start(vendor: FakeSailthru | None = None, **options: Any) -> Bench:
            vendor = FakeSailthru(KEY, SECRET) if vendor is None else vendor
            vendor.configure(options)
            return Bench(vendor, stack.enter_context(running(vendor)))

        yield start
