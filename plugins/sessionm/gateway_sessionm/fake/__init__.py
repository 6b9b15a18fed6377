"""A fake SessionM for tests and trials: ``python -m gateway_sessionm.fake --port 8081``."""

from gateway_sessionm.fake.server import FakeSessionM

__all__ = ["FakeSessionM"]
