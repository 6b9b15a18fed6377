"""Test kit for plugins: builders of facts, planning without a gateway, and a base for fake vendors."""

from gateway.testing.builders import batch, custom_event, identity, membership, screen_view, session, user
from gateway.testing.driving import drive
from gateway.testing.planning import connection, plan_with
from gateway.testing.vendor import Answer, FakeVendor, Request, main, running

__all__ = [
    "Answer",
    "FakeVendor",
    "Request",
    "batch",
    "connection",
    "custom_event",
    "drive",
    "identity",
    "main",
    "membership",
    "plan_with",
    "running",
    "screen_view",
    "session",
    "user",
]
