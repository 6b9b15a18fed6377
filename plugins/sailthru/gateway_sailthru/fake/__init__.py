"""A fake Sailthru: its API on loopback, with state, limits and faults."""

from gateway_sailthru.fake.server import FakeSailthru

__all__ = ["FakeSailthru"]
