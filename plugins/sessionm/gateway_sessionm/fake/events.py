"""Events: the checks of what is posted for a customer, and the form in which it is stored."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

import msgspec

from gateway_sessionm.fake.errors import ApiError
from gateway_sessionm.fake.options import Options

KEYS = {"transaction_id", "qty", "date", "context"}


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event as the fake stores it."""

    user_id: str
    name: str
    transaction_id: str | None = None
    qty: int = 1
    date: str
    context: dict[str, Any] = {}


def read_events(body: Any, user_id: str, now: str, options: Options) -> list[StoredEvent]:
    """Return the events in a body. Raises ApiError unless every one of them is well formed."""
    events = body.get("events")
    if not isinstance(events, dict) or not events:
        raise ApiError("missing_data", "events must be an object that is not empty")
    return [_read_event(name, given, user_id, now, options) for name, given in events.items()]


def find_obstacle(
    event: StoredEvent, stored: Iterable[StoredEvent], defined: Collection[str], options: Options
) -> str | None:
    """Return why an accepted event is not stored, or None. Raises ApiError if the event is not accepted."""
    if event.name not in defined:
        if options.undefined_event == "reject":
            raise ApiError("not_found", f"event {event.name} is not defined")
        return "ignored_events"
    same = (event.user_id, event.name, event.transaction_id)
    is_known = same in [(other.user_id, other.name, other.transaction_id) for other in stored]
    if event.transaction_id is None or not is_known or options.duplicate_transaction == "store":
        return None
    return "duplicate"


def _read_event(name: str, given: Any, user_id: str, now: str, options: Options) -> StoredEvent:
    if isinstance(given, int) and not isinstance(given, bool) and given > 0:
        return StoredEvent(user_id=user_id, name=name, qty=given, date=now)
    if not isinstance(given, dict) or not set(given) <= KEYS:
        raise ApiError("argument_error", f"{name} must be a count or an object of {', '.join(sorted(KEYS))}")
    transaction_id = given.get("transaction_id")
    if not isinstance(transaction_id, str | None):
        raise ApiError("argument_error", "transaction_id must be a text")
    return StoredEvent(
        user_id=user_id,
        name=name,
        transaction_id=transaction_id,
        qty=_read_quantity(given.get("qty", 1)),
        date=_read_date(given.get("date", now)),
        context=_read_context(given.get("context", {}), options),
    )


def _read_quantity(given: Any) -> int:
    if isinstance(given, str) and re.fullmatch(r"[1-9][0-9]*", given):
        return int(given)
    if isinstance(given, int) and not isinstance(given, bool) and given > 0:
        return given
    raise ApiError("argument_error", "qty must be a whole number from 1")


def _read_date(given: Any) -> str:
    try:
        has_zone = datetime.fromisoformat(given).tzinfo is not None
    except (TypeError, ValueError):
        has_zone = False
    if not has_zone:
        raise ApiError("argument_error", "date must be ISO 8601 with a zone")
    return str(given)


def _read_context(given: Any, options: Options) -> dict[str, Any]:
    if not isinstance(given, dict) or any(isinstance(value, dict | list) for value in given.values()):
        raise ApiError("argument_error", "context must be flat")
    if len(given) > options.max_context:
        raise ApiError("validation", f"context has more than {options.max_context} keys")
    return given
