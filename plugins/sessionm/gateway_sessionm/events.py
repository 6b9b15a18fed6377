"""Events: custom events and screen views, as SessionM takes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from gateway.sdk import JSON, Attribution, Batch, Call, CustomEvent, Event, ScreenView, Skip, User
from gateway_sessionm.calls import post_event
from gateway_sessionm.settings import SessionMSettings
from gateway_sessionm.steps import CallMemo, DeliveryStep
from gateway_sessionm.user_keys import collect_keys, find_mpid
from gateway_sessionm.values import to_text

MAX_ATTRIBUTES = 10
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

NamedEvent = CustomEvent | ScreenView | Attribution


def plan_event(event: Event, user: User, batch: Batch, settings: SessionMSettings) -> Iterator[Call | Skip]:
    """Post a custom event or a screen view."""
    named, mpid = require_name(event, batch), find_mpid(user)
    if isinstance(named, Skip):
        yield named
        return
    if isinstance(mpid, Skip):
        yield mpid
        return
    events, skips = build_event(named, batch, settings.event_mappings)
    yield from skips
    keys = collect_keys(user, settings.identity_types)
    yield post_event(
        CallMemo(step=DeliveryStep.SEND, mpid=mpid, identifiers=keys.identifiers, email=keys.email, events=events)
    )


def require_name(event: Event, batch: Batch) -> NamedEvent | Skip:
    """Return the event if it is of a type that SessionM is sent and has a name, else a Skip with the reason.

    In Events batches an attribution is a custom event of that type; Firehose's is an event of mParticle's own.
    """
    if not isinstance(event, NamedEvent) or (isinstance(event, Attribution) and batch.dialect != "events"):
        return Skip(reason="unsupported_event_type")
    if (event.name or "").strip():
        return event
    return Skip(reason="missing_screen_name" if isinstance(event, ScreenView) else "missing_event_name")


def build_event(event: NamedEvent, batch: Batch, mappings: Mapping[str, str]) -> tuple[dict[str, Any], list[Skip]]:
    """Return the object below ``events``, and a Skip for each part of the event left out."""
    context, skips = _build_context(event.attributes)
    body: dict[str, Any] = {"transaction_id": make_transaction_id(event, batch), "qty": "1"}
    if event.time_ms is not None:
        date = _format_date(event.time_ms)
        if date is None:
            skips.append(Skip(reason="bad_time", what="date"))
        else:
            body["date"] = date
    if context:
        body["context"] = context
    name = event.name or ""
    return {mappings.get(name, name): body}, skips


def make_transaction_id(event: NamedEvent, batch: Batch) -> str:
    """Return the id of the event at SessionM, equal on every attempt. Firehose may post a blank id."""
    for given in (event.source_id, event.id):
        if given and given.strip():
            return given
    index = next((index for index, other in enumerate(batch.events) if other is event), -1)
    text = "|".join(map(str, (batch.id, batch.user.mpid, index, event.name, event.time_ms)))
    return sha256(text.encode()).hexdigest()[:32]


def _build_context(attributes: Mapping[str, JSON]) -> tuple[dict[str, str], list[Skip]]:
    """Return the first ten attributes that have a value, in the order posted, and a Skip for each of the others."""
    valued = [name for name, value in attributes.items() if value is not None]
    skips = [Skip(reason="null_value", what=name) for name, value in attributes.items() if value is None]
    skips.extend(Skip(reason="over_limit", what=name) for name in valued[MAX_ATTRIBUTES:])
    return {name: to_text(attributes[name]) for name in valued[:MAX_ATTRIBUTES]}, skips


def _format_date(time_ms: int) -> str | None:
    """Return the time as ISO 8601 in UTC with milliseconds, or None outside the years 1 to 9999."""
    try:
        moment = EPOCH + timedelta(milliseconds=time_ms)
    except OverflowError:
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
