"""Entries of a message's list of events: each is an event or states changes. Both dialects share these fields."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from msgspec.structs import replace

from gateway.mparticle.fields import Fields, number, scalar
from gateway.mparticle.json import encode
from gateway.sdk import AttributeChange, Event, IdentityChange, Location, OtherEvent

EventFact: TypeAlias = Event | AttributeChange | IdentityChange
EventFacts: TypeAlias = tuple[EventFact, ...]
"""One event, or the changes that one entry tells of."""

Common: TypeAlias = dict[str, Any]
"""The fields that all kinds of events share, as arguments of an Event."""

Reader: TypeAlias = Callable[[Common, Fields], Event]

CHANGES = frozenset({"user_attribute_change", "user_identity_change"})
"""The types that tell of changes and are no events."""


def add_event(changes: Iterable[AttributeChange | IdentityChange], event: OtherEvent) -> EventFacts:
    """Return the changes with the event that states them."""
    return tuple(replace(change, event=event) for change in changes)


def read_location(fields: Fields) -> Location:
    """Read the place of an event."""
    return Location(
        latitude=number(fields, "latitude"),
        longitude=number(fields, "longitude"),
        accuracy=number(fields, "accuracy"),
        details=fields,
    )


def read_payload(fields: Fields, name: str) -> str | None:
    """JSON text; from a sender who forgot to make it text, the same."""
    value = fields.pop(name, None)
    if value is None:
        return None
    return encode(value).decode() if isinstance(value, (dict, list)) else scalar(value, name)
