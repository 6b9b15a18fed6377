"""Checking the events posted for a customer."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import msgspec

from gateway_sessionm.fake.errors import Refusal
from gateway_sessionm.fake.options import Options

KEYS = {"transaction_id", "qty", "date", "context"}


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """An event as stored."""

    user_id: str
    name: str
    transaction_id: str | None = None
    qty: int = 1
    date: str
    context: dict[str, Any] = {}


def happenings(body: Any, user_id: str, now: str, options: Options) -> list[Happening]:
    """The events that a body holds, every one well formed. Raises Refusal."""
    events = body.get("events")
    if not isinstance(events, dict) or not events:
        raise Refusal("missing_data", "events must be an object that is not empty")
    return [_happening(name, given, user_id, now, options) for name, given in events.items()]


def _happening(name: str, given: Any, user_id: str, now: str, options: Options) -> Happening:
    if isinstance(given, int) and not isinstance(given, bool) and given > 0:
        return Happening(user_id=user_id, name=name, qty=given, date=now)
    if not isinstance(given, dict) or not set(given) <= KEYS:
        raise Refusal("argument_error", f"{name} must be a count or an object of {', '.join(sorted(KEYS))}")
    transaction_id = given.get("transaction_id")
    if not isinstance(transaction_id, str | None):
        raise Refusal("argument_error", "transaction_id must be a text")
    return Happening(
        user_id=user_id,
        name=name,
        transaction_id=transaction_id,
        qty=_qty(given.get("qty", 1)),
        date=_date(given.get("date", now)),
        context=_context(given.get("context", {}), options),
    )


def _qty(given: Any) -> int:
    if isinstance(given, str) and re.fullmatch(r"[1-9][0-9]*", given):
        return int(given)
    if isinstance(given, int) and not isinstance(given, bool) and given > 0:
        return given
    raise Refusal("argument_error", "qty must be a whole number from 1")


def _date(given: Any) -> str:
    try:
        has_zone = datetime.fromisoformat(given).tzinfo is not None
    except (TypeError, ValueError):
        has_zone = False
    if not has_zone:
        raise Refusal("argument_error", "date must be ISO 8601 with a zone")
    return str(given)


def _context(given: Any, options: Options) -> dict[str, Any]:
    if not isinstance(given, dict) or any(isinstance(value, dict | list) for value in given.values()):
        raise Refusal("argument_error", "context must be flat")
    if len(given) > options.max_context:
        raise Refusal("validation", f"context has more than {options.max_context} keys")
    return given
