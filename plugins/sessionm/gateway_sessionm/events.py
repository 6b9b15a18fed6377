"""The body of a SessionM event."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from gateway.sdk import JSON, Attribution, Batch, CustomEvent, Event, ScreenView, Skip
from gateway_sessionm.values import as_text

MAX_ATTRIBUTES = 10
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Happening = CustomEvent | ScreenView | Attribution


def sendable(event: Event, batch: Batch) -> Happening | Skip:
    """The event, if it is of a kind that SessionM is sent and has a name; else why it is not sent.

    In Events batches an attribution is a custom event of that type; Firehose's is mParticle's own.
    """
    if not isinstance(event, Happening) or (isinstance(event, Attribution) and batch.dialect != "events"):
        return Skip(reason="unsupported_event_type")
    if (event.name or "").strip():
        return event
    return Skip(reason="missing_screen_name" if isinstance(event, ScreenView) else "missing_event_name")


def event_of(event: Happening, batch: Batch, mappings: Mapping[str, str]) -> tuple[dict[str, Any], list[Skip]]:
    """What stands below ``events``, and each part of the event left out with the reason."""
    context, skips = _context(event.attributes)
    body: dict[str, Any] = {"transaction_id": transaction_id(event, batch), "qty": "1"}
    if event.time_ms is not None:
        date = _date(event.time_ms)
        if date is None:
            skips.append(Skip(reason="bad_time", what="date"))
        else:
            body["date"] = date
    if context:
        body["context"] = context
    name = event.name or ""
    return {mappings.get(name, name): body}, skips


def transaction_id(event: Happening, batch: Batch) -> str:
    """What identifies the event at SessionM, equal on every attempt. Firehose may post a blank id."""
    for given in (event.source_id, event.id):
        if given and given.strip():
            return given
    index = next((index for index, other in enumerate(batch.events) if other is event), -1)
    text = "|".join(map(str, (batch.id, batch.user.mpid, index, event.name, event.time_ms)))
    return sha256(text.encode()).hexdigest()[:32]


def _context(attributes: Mapping[str, JSON]) -> tuple[dict[str, str], list[Skip]]:
    """The first ten attributes that have a value, in the order posted."""
    valued = [name for name, value in attributes.items() if value is not None]
    skips = [Skip(reason="null_value", what=name) for name, value in attributes.items() if value is None]
    skips.extend(Skip(reason="over_limit", what=name) for name in valued[MAX_ATTRIBUTES:])
    return {name: as_text(attributes[name]) for name in valued[:MAX_ATTRIBUTES]}, skips


def _date(time_ms: int) -> str | None:
    """ISO 8601 in UTC with milliseconds, or None outside the years 1 to 9999."""
    try:
        moment = EPOCH + timedelta(milliseconds=time_ms)
    except OverflowError:
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
