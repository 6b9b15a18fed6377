"""Limits: the rate at which an application may call."""

from __future__ import annotations

from math import ceil

from gateway_sessionm.fake.options import TokenBucket


class Buckets:
    """The token buckets in use, one for each API key."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, key: str, rate: TokenBucket, now: float) -> int:
        """Take a token and return 0; without a token, return the whole seconds until there is one."""
        left, since = self._left.get(key, (float(rate.burst), now))
        left = min(float(rate.burst), left + max(0.0, now - since) * rate.per_second)
        self._left[key] = (left - 1 if left >= 1 else left, now)
        return 0 if left >= 1 else max(1, ceil((1 - left) / rate.per_second))
