"""Verdicts: what a reply means where the plugin does not say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache

from gateway.sdk import Reply, Verdict, delivered, refused, rejected, retry

RETRIED = frozenset({408, 425, 429})
REFUSED = frozenset({401, 403})
CLOCKS_APART_MS = 10_000
MAX_WAIT_S = 3600.0
"""Nothing waits for longer at a time, whatever a destination or a plugin says: the saying may be an error."""


def default(reply: Reply) -> Verdict:
    """The verdict on a reply by its status alone.

    2xx delivered; 408, 425, 429, 5xx and no answer at all are retried, as ``Retry-After`` says; 401 and
    403 are refused; everything else, redirects included, is rejected. Only 429, and 503 with ``Retry-After``,
    speak for more than their call: they hold its scope.
    """
    status = reply.status
    if status is None:
        return retry(reply.failure or "no_answer", holds="lane" if reply.sent else "connection")
    if 200 <= status < 300:
        return delivered()
    if status in RETRIED or status >= 500:
        wait = retry_after_s(reply.headers, told_ms(reply))
        is_too_many = status == 429 or (status == 503 and wait is not None)
        return retry(f"status_{status}", after_s=wait, holds="scope" if is_too_many else "lane")
    if status in REFUSED:
        return refused(f"status_{status}")
    return rejected(f"status_{status}")


def asked_wait_s(verdict: Verdict) -> float | None:
    """Seconds that a verdict asks to wait, an hour at the most; None where it does not say, or nothing sensible."""
    if verdict.after_s is None or not math.isfinite(verdict.after_s):
        return None
    return min(max(0.0, verdict.after_s), MAX_WAIT_S)


def told_ms(reply: Reply) -> int:
    """When a reply was made, by its maker's own clock (``Date``) where ours differs: it tells times by that."""
    made = _date_ms(reply.headers["date"]) if "date" in reply.headers else None
    return reply.at_ms if made is None or abs(made - reply.at_ms) < CLOCKS_APART_MS else made


@lru_cache(16)
def _date_ms(said: str) -> int | None:
    """A date as headers have it, in milliseconds since 1970; None where it is none."""
    try:
        when = parsedate_to_datetime(said)
        return int(1000 * (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        return None


def retry_after_s(headers: Mapping[str, str], now_ms: int) -> float | None:
    """Seconds that ``Retry-After`` asks to wait, said as a number or as a date; None where it says nothing sensible."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        return max(0.0, float(value)) if math.isfinite(float(value)) else None
    except ValueError:
        pass
    when_ms = _date_ms(value)
    return None if when_ms is None else max(0.0, (when_ms - now_ms) / 1000)
