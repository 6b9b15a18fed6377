"""Event types: how each type of mParticle's events is described to Sailthru."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import msgspec

from gateway.sdk import (
    JSON,
    AppState,
    Attribution,
    CustomEvent,
    Event,
    Impression,
    Product,
    ProductAction,
    PromotionAction,
    PushMessage,
    ScreenView,
)

PREFIX = "mp_"
PRODUCT_ACTION_FIELDS = (
    "transaction_id",
    "affiliation",
    "total_amount",
    "tax_amount",
    "shipping_amount",
    "currency_code",
    "coupon_code",
    "checkout_step",
    "checkout_options",
    "list_name",
    "list_source",
)
Description: TypeAlias = tuple[str, dict[str, JSON]]
"""The name of an event at Sailthru, and its vars beside those of the event's attributes."""


def _describe_custom_event(event: CustomEvent) -> Description:
    return event.name.strip(), {}


def _describe_screen_view(event: ScreenView) -> Description:
    return "mp_screen_view", {"screen_name": event.name}


def _describe_product_action(event: ProductAction) -> Description:
    facts = {name: getattr(event, name) for name in PRODUCT_ACTION_FIELDS}
    return f"{PREFIX}{event.action}", facts | _describe_products(event.products)


def _describe_promotion_action(event: PromotionAction) -> Description:
    promotions = [_list_fields(promotion) for promotion in event.promotions]
    return f"mp_promotion_{event.action}", {"promotions": promotions}


def _describe_impression(event: Impression) -> Description:
    shown = [product for shelf in event.lists for product in shelf.products]
    names = ",".join(shelf.name for shelf in event.lists if shelf.name)
    return "mp_impression", {"list_name": names, **_describe_products(shown)}


def _describe_attribution(event: Attribution) -> Description:
    facts = {name: getattr(event, name) for name in ("partner", "publisher", "campaign")}
    return "mp_attribution", {"attribution": event.name, **facts}


def _describe_app_state(event: AppState) -> Description:
    return f"{PREFIX}{event.state}", {}


def _describe_push_message(event: PushMessage) -> Description:
    return f"mp_push_{event.action}", {}


def _describe_products(products: Sequence[Product]) -> dict[str, JSON]:
    """Return the products for templates, and their ids and names as text, which filters can read."""
    return {
        "products": [_list_fields(product) for product in products],
        "product_ids": ",".join(product.id for product in products if product.id),
        "product_names": ",".join(product.name for product in products if product.name),
    }


def _list_fields(item: msgspec.Struct) -> dict[str, Any]:
    fields = {name: value for name, value in msgspec.structs.asdict(item).items() if value is not None}
    return {**fields.pop("attributes", {}), **fields}


EVENT_TYPES: dict[type[Event], tuple[str, Callable[[Any], Description]]] = {
    CustomEvent: ("custom_event", _describe_custom_event),
    ProductAction: ("commerce_event", _describe_product_action),
    PromotionAction: ("commerce_event", _describe_promotion_action),
    Impression: ("commerce_event", _describe_impression),
    ScreenView: ("screen_view", _describe_screen_view),
    Attribution: ("attribution", _describe_attribution),
    AppState: ("application_state_transition", _describe_app_state),
    PushMessage: ("push_message", _describe_push_message),
}
"""The type of each event class, by its name in the settings, and the function that describes an event.

A name that the customer gave stays; mParticle's own events are named ``mp_`` and what happened.
"""
