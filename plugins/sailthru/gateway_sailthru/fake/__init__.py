"""A fake Sailthru for tests and trials. Run it with ``python -m gateway_sailthru.fake --port 8025``."""

from gateway_sailthru.fake.server import FakeSailthru

__all__ = ["FakeSailthru"]
