"""Replies: the meaning of Sailthru's answers, whose errors may come with status 200."""

from __future__ import annotations

from typing import Any

from gateway.sdk import Call, Reply, Verdict, delivered, refused, rejected, retry
from gateway_sailthru.settings import SailthruSettings
from gateway_sailthru.values import hash_json

WINDOW_S = 60.0
NOT_REPEATABLE = frozenset({"event", "purchase"})
MAX_WAIT_S = 2 * WINDOW_S
MAX_SPREAD_S = 2.0
SUCCESS = range(200, 300)
REDIRECTS = range(300, 400)

OK = (True, 1, "true", "1")
INTERNAL_ERROR = 9
UNKNOWN_LIST = 15
TOO_MANY = 43
OTHER_ERROR = 99
SETUP_ERRORS = {3: "api_key", 4: "ip_address", 5: "signature", 21: "not_approved", 22: "not_entitled"}
SUPPRESSED_ERRORS = frozenset({32, 33, 34, 35, 37})
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
    """Return the verdict on a call that no other call follows; None leaves it to the gateway's status rules.

    An error may come with status 200, so the body is read first, except that of a redirect, which is not Sailthru's.
    An answer that is no JSON object is never a success.
    """
    if reply.status is None:
        return _judge_unconfirmed(call, settings) if reply.sent else None
    body = None if reply.status in REDIRECTS else reply.json()
    if reply.status == 429 or (isinstance(body, dict) and _read_code(body) == TOO_MANY):
        return retry(
            "too_many_requests", after_s=seconds_until_reset(reply) + choose_spread_s(call, reply), holds="scope"
        )
    if isinstance(body, dict) and _is_error(body):
        return _judge_error(call, reply.status, _read_code(body))
    if reply.status >= 500:
        return _judge_unconfirmed(call, settings)
    if reply.status < 300 and not isinstance(body, dict):
        return _judge_unconfirmed(call, settings) or retry("no_json")
    return None


def _judge_unconfirmed(call: Call, settings: SailthruSettings) -> Verdict | None:
    """Judge a call that Sailthru may or may not have taken; None retries it.

    A call that must not be taken twice is a dead letter if the settings say so.
    """
    if call.method == "POST" and call.path in NOT_REPEATABLE and not settings.at_least_once:
        return rejected("maybe_delivered")
    return None


def _judge_error(call: Call, status: int, code: int) -> Verdict:
    if status >= 500 or code == INTERNAL_ERROR:
        return retry(f"error_{code}")
    if code in SETUP_ERRORS or (status in (401, 403) and code not in REASONS):
        return refused(SETUP_ERRORS.get(code, f"error_{code}"))
    if code == UNKNOWN_LIST and call.method == "DELETE":
        return delivered("already_gone")
    if code in SUPPRESSED_ERRORS:
        return delivered(f"suppressed_{code}")
    return rejected(REASONS.get(code, f"error_{code}"))


def _is_error(body: dict[str, Any]) -> bool:
    """Return whether an answer is an error: by its code, by a message alone, or by an ``ok`` that is not true."""
    return "error" in body or "errormsg" in body or ("ok" in body and body["ok"] not in OK)


def _read_code(body: dict[str, Any]) -> int:
    """Return the error's number; 0 for the few that have a word instead."""
    code = body.get("error")
    if isinstance(code, str) and code.isascii() and code.isdigit():
        return int(code)
    return code if isinstance(code, int) else 0


def is_missing(reply: Reply) -> bool:
    """Return whether there is no such profile. GET and DELETE say so with the same message and different statuses."""
    body = reply.json()
    if not isinstance(body, dict) or _read_code(body) != OTHER_ERROR or reply.status not in (200, 400, 404):
        return False
    return str(body.get("errormsg")).startswith("User not found with ")


def is_success(reply: Reply) -> bool:
    """Return whether the answer confirms the call."""
    body = reply.json()
    return reply.status in SUCCESS and isinstance(body, dict) and not _is_error(body)


def read_keys(reply: Reply) -> dict[str, Any]:
    """Return the keys of the profile in a reply of success; none if it shows none."""
    keys = reply.json().get("keys") if is_success(reply) else None
    return keys if isinstance(keys, dict) else {}


def seconds_until_reset(reply: Reply) -> float:
    """Return the seconds until the used-up minute ends, by its header, or by the clock if the header makes no sense."""
    now = reply.at_ms / 1000
    try:
        wait = float(reply.headers["x-rate-limit-reset"]) - now
    except (KeyError, ValueError):
        wait = -1.0
    return wait if 0 < wait <= MAX_WAIT_S else WINDOW_S - now % WINDOW_S


def choose_spread_s(call: Call, reply: Reply) -> float:
    """Return the seconds to wait beyond the reset, so that not all calls come at once; two seconds at most."""
    return int(hash_json([call.id, reply.at_ms]), 16) / 2**64 * MAX_SPREAD_S
