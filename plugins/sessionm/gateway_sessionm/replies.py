"""Replies: the meaning of SessionM's answers, whose errors often come with status 200."""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from gateway.sdk import Reply, Verdict, refused, rejected, retry

RETRIED = frozenset({"internal_server_error"})
REFUSED = frozenset({"https_only", "invalid_auth_token", "invalid_api_key", "access_denied"})
UNKNOWN_USER = frozenset({"user_not_found", "requires_registered_user"})

Word = Literal["ok", "unknown_user", "declined", "retry", "refused", "unclear", "by_status"]


class Meaning(msgspec.Struct, frozen=True, kw_only=True):
    """The meaning of a reply: ``word`` in general, ``code`` as SessionM named it, ``user`` as the reply shows them.

    ``by_status`` leaves the verdict to the gateway: no answer came, or one that asks to come back later.
    ``unclear`` is a status of success with a body that does not confirm it.
    """

    word: Word
    code: str = ""
    user: dict[str, Any] = {}


def read_reply(reply: Reply) -> Meaning:
    """Return the meaning of a reply."""
    status = reply.status
    if status is None or status >= 500 or status in (408, 425, 429):
        return Meaning(word="by_status")
    body = reply.json()
    code = find_error_code(body)
    if reply.is_foreign or status in (401, 403):
        return Meaning(word="refused", code=code or f"status_{status}")
    if 200 <= status < 300:
        return _read_success(body, code)
    if code is not None:
        return _read_error(code)
    if status == 404 and not isinstance(body, dict):
        return Meaning(word="refused", code="status_404")  # nothing of SessionM answers at this address
    return Meaning(word="declined", code=f"status_{status}")


def judge(meaning: Meaning) -> Verdict | None:
    """Return the verdict on a call that a reply of this meaning ends; None leaves it to the gateway's status rules.

    An unclear reply does not say whether the call took effect, so the call is retried until the gateway gives up.
    """
    if meaning.word == "by_status":
        return None
    if meaning.word == "retry":
        return retry(meaning.code)
    if meaning.word == "refused":
        return refused(meaning.code)
    if meaning.word == "unclear":
        return retry("unclear_reply")
    return rejected(meaning.code)


def find_error_code(body: Any) -> str | None:
    """Return the error code that a body names, in lower case; None if it names none.

    ``errors`` is documented as an object with a ``code``; a string or a list is understood too. Text that does not
    look like a code is not repeated, because it might quote a user's value.
    """
    if not isinstance(body, dict):
        return None
    errors = body.get("errors") or body.get("error")
    if not errors and str(body.get("status")).lower() != "error":
        return None
    code = _find_code(errors)
    return code if code is not None and re.fullmatch(r"[a-z][a-z0-9_]{0,63}", code) else "unnamed_error"


def _find_code(errors: Any) -> str | None:
    if isinstance(errors, list):
        return next((code for code in map(_find_code, errors) if code is not None), None)
    if isinstance(errors, dict):
        errors = errors.get("code")
    return errors.strip().lower() if isinstance(errors, str) else None


def _read_success(body: Any, code: str | None) -> Meaning:
    if code is not None:
        return _read_error(code)
    if not isinstance(body, dict) or str(body.get("status")).lower() != "ok":
        return Meaning(word="unclear")
    user = body.get("user")
    return Meaning(word="ok", user=user if isinstance(user, dict) else {})


def _read_error(code: str) -> Meaning:
    if code in RETRIED:
        return Meaning(word="retry", code=code)
    if code in REFUSED:
        return Meaning(word="refused", code=code)
    return Meaning(word="unknown_user" if code in UNKNOWN_USER else "declined", code=code)
