"""Commerce events: what their names are, and the attributes of their products."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from gateway.sdk import Event, Impression, Product, ProductAction, PromotionAction

Change = Callable[[Mapping[str, Any]], dict[str, Any]]


def action_of(event: Event) -> str | None:
    """What was done, in a word (``purchase``, ``promotion_click``, ``impression``); None where it is no commerce."""
    if isinstance(event, ProductAction):
        return event.action
    if isinstance(event, PromotionAction):
        return f"promotion_{event.action}"
    return "impression" if isinstance(event, Impression) else None


def products(event: Event) -> Iterator[Product]:
    """The products that it was done with."""
    if isinstance(event, ProductAction):
        yield from event.products
    elif isinstance(event, Impression):
        for shown in event.lists:
            yield from shown.products


def with_attributes(event: Event, change: Change) -> Event:
    """The event with the attributes of all its products changed."""

    def changed(told: tuple[Product, ...]) -> tuple[Product, ...]:
        return tuple(replace(product, attributes=change(product.attributes)) for product in told)

    if isinstance(event, ProductAction):
        return replace(event, products=changed(event.products))
    if isinstance(event, Impression):
        return replace(event, lists=tuple(replace(shown, products=changed(shown.products)) for shown in event.lists))
    return event
