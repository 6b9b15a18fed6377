"""Kinds of events, named like the tables of the data filter, and the attributes of an event with its products."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from msgspec.structs import replace

from gateway.sdk import (
    Attribution,
    CustomEvent,
    Event,
    Impression,
    Product,
    ProductAction,
    PromotionAction,
    ScreenView,
)

ATTRIBUTES = MappingProxyType(
    {
        "events": "event_attributes",
        "screens": "screen_attributes",
        "commerce": "commerce_attributes",
        "event_types": "event_attributes",
    }
)
"""The table that switches attributes, by kind of event."""

TYPES = MappingProxyType({"events": "custom_event", "screens": "screen_view", "commerce": "commerce_event"})
"""The type of all events of a kind, by kind."""

AttributesChange = Callable[[Mapping[str, Any]], dict[str, Any]]


def find_kind(event: Event) -> tuple[str, str]:
    """Return the table that switches an event, and its name there: its type, if events of the type have no names."""
    if isinstance(event, (CustomEvent, Attribution)):
        return "events", event.name or ""
    if isinstance(event, ScreenView):
        return "screens", event.name
    if isinstance(event, ProductAction):
        return "commerce", event.action
    if isinstance(event, PromotionAction):
        return "commerce", f"promotion_{event.action}"
    return ("commerce", "impression") if isinstance(event, Impression) else ("event_types", event.type)


def list_attributes(event: Event) -> Iterable[tuple[str, Any]]:
    """Yield the names and values of the event's attributes and of its products'."""
    yield from event.attributes.items()
    for product in _products(event):
        yield from product.attributes.items()


def _products(event: Event) -> Iterator[Product]:
    if isinstance(event, ProductAction):
        yield from event.products
    elif isinstance(event, Impression):
        for shown in event.lists:
            yield from shown.products


def change_attributes(event: Event, change: AttributesChange) -> Event:
    """Return the event with its attributes changed, and those of all its products."""

    def change_each(products: tuple[Product, ...]) -> tuple[Product, ...]:
        return tuple(replace(product, attributes=change(product.attributes)) for product in products)

    event = replace(event, attributes=change(event.attributes))
    if isinstance(event, ProductAction):
        return replace(event, products=change_each(event.products))
    if isinstance(event, Impression):
        return replace(
            event, lists=tuple(replace(shown, products=change_each(shown.products)) for shown in event.lists)
        )
    return event
