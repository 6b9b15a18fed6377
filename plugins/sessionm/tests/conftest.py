"""The bench: the plugin on one side of a real socket, the fake on the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

import gateway_sessionm
from gateway.sdk import Batch, Call, Memory, Verdict
from gateway.testing import connection, drive, plan_with, running
from gateway_sessionm.fake import FakeSessionM

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
        person = self.vendor.people.by_external_id(external_id)
        assert person is not None
        return person.shown(profile=True, identifiers=True)

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
