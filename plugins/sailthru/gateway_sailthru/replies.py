"""Replies: what Sailthru's answer means for a call."""

from __future__ import annotations

from typing import Any

from gateway.sdk import Call, Reply, Verdict, delivered, refused, rejected, retry
from gateway_sailthru.settings import SailthruSettings
from gateway_sailthru.values import digest

WINDOW_S = 60.0
NOT_REPEATABLE = frozenset({"event", "purchase"})
UNSURE_S = 2 * WINDOW_S
SPREAD_S = 2.0
GOOD = range(200, 300)

INTERNAL_ERROR = 9
UNKNOWN_LIST = 15
TOO_MANY = 43
OTHER_ERROR = 99
SETUP = {3: "api_key", 4: "ip_address", 5: "signature", 21: "not_approved", 22: "not_entitled"}
SUPPRESSED = frozenset({32, 33, 34, 35, 37})
REASONS = {
    1: "method_not_permitted",
    2: "missing_parameter",
    6: "invalid_utf8",
    11: "invalid_email",
    12: "unknown_send",
    13: "unknown_blast",
    14: "unknown_template",
    15: "unknown_list",
    18: "invalid_time",
    36: "unverified_sender",
    41: "already_sent",
    42: "invalid_utf8",
    OTHER_ERROR: "error_99",
}


def judge(call: Call, reply: Reply, settings: SailthruSettings) -> Verdict | None:
    """The verdict on a call that nothing follows; None leaves it to the status.

    An error may come with status 200, so the body is looked at first; what is not JSON is never a success.
    """
    if reply.status is None:
        return _unsure(call, settings) if reply.sent else None
    body = reply.json()
    if reply.status == 429 or (isinstance(body, dict) and _code(body) == TOO_MANY):
        return retry("too_many_requests", after_s=until_reset(reply) + spread(call, reply), holds="scope")
    if isinstance(body, dict) and "error" in body:
        return _on_error(call, reply.status, _code(body))
    if reply.status >= 500:
        return _unsure(call, settings)
    if reply.status < 300 and not isinstance(body, dict):
        return _unsure(call, settings) or retry("no_json")
    return None


def _unsure(call: Call, settings: SailthruSettings) -> Verdict | None:
    """Sailthru may or may not have taken the call: only what it cannot take twice is a matter of choice."""
    if call.method == "POST" and call.path in NOT_REPEATABLE and not settings.at_least_once:
        return rejected("maybe_delivered")
    return None


def _on_error(call: Call, status: int, code: int) -> Verdict:
    if status >= 500 or code == INTERNAL_ERROR:
        return retry(f"error_{code}")
    if code in SETUP or (status in (401, 403) and code not in REASONS):
        return refused(SETUP.get(code, f"error_{code}"))
    if code == UNKNOWN_LIST and call.method == "DELETE":
        return delivered("already_gone")
    if code in SUPPRESSED:
        return delivered(f"suppressed_{code}")
    return rejected(REASONS.get(code, f"error_{code}"))


def _code(body: dict[str, Any]) -> int:
    """The error's number; 0 for the few that have a word instead."""
    code = body.get("error")
    if isinstance(code, str) and code.isascii() and code.isdigit():
        return int(code)
    return code if isinstance(code, int) else 0


def is_missing(reply: Reply) -> bool:
    """Whether there is no such profile. GET says so with another status than DELETE; the message is the same."""
    body = reply.json()
    if not isinstance(body, dict) or _code(body) != OTHER_ERROR or reply.status not in (200, 400, 404):
        return False
    return str(body.get("errormsg")).startswith("User not found with ")


def is_good(reply: Reply) -> bool:
    """Whether the call was answered as it should be."""
    body = reply.json()
    return reply.status in GOOD and isinstance(body, dict) and "error" not in body


def keys_of(reply: Reply) -> dict[str, Any]:
    """The keys of the profile that a good reply tells of, empty where it tells none."""
    keys = reply.json().get("keys") if is_good(reply) else None
    return keys if isinstance(keys, dict) else {}


def until_reset(reply: Reply) -> float:
    """Seconds until the minute that is used up ends: as its header says, or by the clock where that makes no sense."""
    now = reply.at_ms / 1000
    try:
        wait = float(reply.headers["x-rate-limit-reset"]) - now
    except (KeyError, ValueError):
        wait = -1.0
    return wait if 0 < wait <= UNSURE_S else WINDOW_S - now % WINDOW_S


def spread(call: Call, reply: Reply) -> float:
    """Seconds to wait beyond the reset, so that not everybody comes at once: another part of two for every refusal."""
    return int(digest([call.id, reply.at_ms]), 16) / 2**64 * SPREAD_S
