"""Default verdicts: the meaning of a reply if the plugin does not decide."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache

from gateway.sdk import Reply, Verdict, delivered, refused, rejected, retry

RETRIED = frozenset({408, 425, 429})
REFUSED = frozenset({401, 403})
CLOCKS_APART_MS = 10_000
MAX_WAIT_S = 3600.0
"""The longest single wait. A destination or plugin that asks for more may be in error."""


def default_verdict(reply: Reply, title: str = "the destination") -> Verdict:
    """Return the verdict on a reply by its status alone.

    2xx is delivered. 408, 425, 429, 5xx and a missing answer are retried, after ``Retry-After`` if there is one.
    401, 403 and a foreign answer are refused. Every other status is rejected. 429, and 503 with ``Retry-After``, hold
    the whole scope of the call. ``title`` names the destination.
    """
    status = reply.status
    if status is None:
        is_ours = reply.sent or reply.failure == "no_descriptors"  # says nothing about the destination
        return retry(reply.failure or "no_answer", holds="lane" if is_ours else "connection")
    if 200 <= status < 300:
        return delivered()
    if status in RETRIED or status >= 500:
        wait = retry_after_s(reply.headers, reply_time_ms(reply))
        is_too_many = status == 429 or (status == 503 and wait is not None)
        return retry(f"status_{status}", after_s=wait, holds="scope" if is_too_many else "lane")
    if status in REFUSED:
        return refused(f"status_{status}")
    if reply.is_foreign:
        return refused(describe_foreign(reply, title))
    return rejected(f"status_{status}")


def describe_foreign(reply: Reply, title: str) -> str:
    """Return a sentence on a foreign answer: its status, and the server that a redirect leads to, without its path."""
    server = re.match(r"https?://[\w.\-\[\]:]{1,253}", reply.headers.get("location", ""))
    return f"an answer that is not {title}'s: HTTP {reply.status}" + (f" to {server[0]}" if server else "")


def asked_wait_s(verdict: Verdict) -> float | None:
    """Return the seconds that a verdict asks to wait, at most an hour; None if it has no finite number."""
    if verdict.after_s is None or not math.isfinite(verdict.after_s):
        return None
    return min(max(0.0, verdict.after_s), MAX_WAIT_S)


def reply_time_ms(reply: Reply) -> int:
    """Return the time of a reply in milliseconds, by the destination's clock (``Date``) if ours differs from it.

    The destination's other times, such as the end of a limit, are by that clock too.
    """
    made = _date_ms(reply.headers["date"]) if "date" in reply.headers else None
    return reply.at_ms if made is None or abs(made - reply.at_ms) < CLOCKS_APART_MS else made


@lru_cache(16)
def _date_ms(said: str) -> int | None:
    """Return the date in a header in milliseconds since 1970; None if it is not valid."""
    try:
        when = parsedate_to_datetime(said)
        return int(1000 * (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        return None


def retry_after_s(headers: Mapping[str, str], now_ms: int) -> float | None:
    """Return the seconds that ``Retry-After`` asks to wait, from a number or a date; None if it is not valid."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        return max(0.0, float(value)) if math.isfinite(float(value)) else None
    except ValueError:
        pass
    when_ms = _date_ms(value)
    return None if when_ms is None else max(0.0, (when_ms - now_ms) / 1000)
