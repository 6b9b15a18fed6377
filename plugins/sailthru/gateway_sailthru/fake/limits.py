"""Limits: the calls a minute that are allowed, for each method of each endpoint."""

from __future__ import annotations

from gateway_sailthru.fake.errors import ApiError
from gateway_sailthru.fake.options import Options

WINDOW_S = 60
RECORDED = {"GET": 36000, "POST user": 36000, "POST": 4800, "DELETE": 4800}
PUBLISHED = {"GET": 18000, "POST user": 18000, "POST send": 12000, "POST": 2400, "DELETE": 2400}


class Limits:
    """The counts of the present minute. Every call counts, whatever its answer, but for those turned away here."""

    def __init__(self) -> None:
        self._used: dict[str, tuple[int, int]] = {}

    def find_limit(self, method: str, endpoint: str, options: Options) -> int:
        """Return how many calls a minute are allowed."""
        given = options.limits if isinstance(options.limits, dict) else {}
        table = {**(PUBLISHED if options.limits == "published" else RECORDED), **given}
        return table.get(f"{method} {endpoint}", table.get(method, table["POST"]))

    def take(self, method: str, endpoint: str, now: float, options: Options) -> None:
        """Count one call. Raises ApiError if the minute is used up."""
        scope, minute, used = self._find_window(method, endpoint, now)
        if used >= self.find_limit(method, endpoint, options):
            raise ApiError(429, 43, f"Too many {method} requests this minute to /{endpoint} API")
        self._used[scope] = (minute, used + 1)

    def make_headers(self, method: str, endpoint: str, now: float, options: Options) -> dict[str, str]:
        """Return the headers with which every reply shows the limit."""
        _, minute, used = self._find_window(method, endpoint, now)
        limit = self.find_limit(method, endpoint, options)
        return {
            "x-rate-limit-limit": str(limit),
            "x-rate-limit-remaining": str(max(0, limit - used)),
            "x-rate-limit-reset": str((minute + 1) * WINDOW_S),
        }

    def _find_window(self, method: str, endpoint: str, now: float) -> tuple[str, int, int]:
        scope, minute = f"{method} {endpoint}", int(now // WINDOW_S)
        began, used = self._used.get(scope, (minute, 0))
        return scope, minute, used if began == minute else 0
