"""A fake SessionM for tests and trials. Run it with ``python -m gateway_sessionm.fake --port 8081``."""

from gateway_sessionm.fake.server import FakeSessionM

__all__ = ["FakeSessionM"]
