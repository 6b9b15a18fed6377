"""Limits: how many calls a minute takes, for each method of each endpoint."""

from __future__ import annotations

from gateway_sailthru.fake.errors import Refusal
from gateway_sailthru.fake.options import Options

WINDOW_S = 60
RECORDED = {"GET": 36000, "POST user": 36000, "POST": 4800, "DELETE": 4800}
PUBLISHED = {"GET": 18000, "POST user": 18000, "POST send": 12000, "POST": 2400, "DELETE": 2400}


class Limits:
    """Counts of the present minute. Every call counts, answered well or badly, but for those turned away here."""

    def __init__(self) -> None:
        self._used: dict[str, tuple[int, int]] = {}

    def limit(self, method: str, endpoint: str, options: Options) -> int:
        """How many calls of this kind a minute takes."""
        given = options.limits if isinstance(options.limits, dict) else {}
        table = {**(PUBLISHED if options.limits == "published" else RECORDED), **given}
        return table.get(f"{method} {endpoint}", table.get(method, table["POST"]))

    def take(self, method: str, endpoint: str, now: float, options: Options) -> None:
        """Count one call. Raises Refusal where the minute is full."""
        scope, minute, used = self._window(method, endpoint, now)
        if used >= self.limit(method, endpoint, options):
            raise Refusal(429, 43, f"Too many {method} requests this minute to /{endpoint} API")
        self._used[scope] = (minute, used + 1)

    def headers(self, method: str, endpoint: str, now: float, options: Options) -> dict[str, str]:
        """What every reply says of the limit."""
        _, minute, used = self._window(method, endpoint, now)
        limit = self.limit(method, endpoint, options)
        return {
            "x-rate-limit-limit": str(limit),
            "x-rate-limit-remaining": str(max(0, limit - used)),
            "x-rate-limit-reset": str((minute + 1) * WINDOW_S),
        }

    def _window(self, method: str, endpoint: str, now: float) -> tuple[str, int, int]:
        scope, minute = f"{method} {endpoint}", int(now // WINDOW_S)
        began, used = self._used.get(scope, (minute, 0))
        return scope, minute, used if began == minute else 0
