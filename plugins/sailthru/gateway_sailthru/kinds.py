"""Kinds: the sorts of mParticle's events, and how each is described to Sailthru."""

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
PRODUCT_FACTS = (
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
Described: TypeAlias = tuple[str, dict[str, JSON]]


def _custom(happened: CustomEvent) -> Described:
    return happened.name.strip(), {}


def _screen(happened: ScreenView) -> Described:
    return "mp_screen_view", {"screen_name": happened.name}


def _product_action(happened: ProductAction) -> Described:
    facts = {name: getattr(happened, name) for name in PRODUCT_FACTS}
    return f"{PREFIX}{happened.action}", facts | _products(happened.products)


def _promotion(happened: PromotionAction) -> Described:
    promotions = [_fields(promotion) for promotion in happened.promotions]
    return f"mp_promotion_{happened.action}", {"promotions": promotions}


def _impression(happened: Impression) -> Described:
    shown = [product for shelf in happened.lists for product in shelf.products]
    names = ",".join(shelf.name for shelf in happened.lists if shelf.name)
    return "mp_impression", {"list_name": names, **_products(shown)}


def _attribution(happened: Attribution) -> Described:
    facts = {name: getattr(happened, name) for name in ("partner", "publisher", "campaign")}
    return "mp_attribution", {"attribution": happened.name, **facts}


def _app_state(happened: AppState) -> Described:
    return f"{PREFIX}{happened.state}", {}


def _push(happened: PushMessage) -> Described:
    return f"mp_push_{happened.action}", {}


def _products(products: Sequence[Product]) -> dict[str, JSON]:
    """The products for templates, and their ids and names as text, which filters can read."""
    return {
        "products": [_fields(product) for product in products],
        "product_ids": ",".join(product.id for product in products if product.id),
        "product_names": ",".join(product.name for product in products if product.name),
    }


def _fields(item: msgspec.Struct) -> dict[str, Any]:
    fields = {name: value for name, value in msgspec.structs.asdict(item).items() if value is not None}
    return {**fields.pop("attributes", {}), **fields}


KINDS: dict[type[Event], tuple[str, Callable[[Any], Described]]] = {
    CustomEvent: ("custom_event", _custom),
    ProductAction: ("commerce_event", _product_action),
    PromotionAction: ("commerce_event", _promotion),
    Impression: ("commerce_event", _impression),
    ScreenView: ("screen_view", _screen),
    Attribution: ("attribution", _attribution),
    AppState: ("application_state_transition", _app_state),
    PushMessage: ("push_message", _push),
}
"""Kind of event, as the settings call it, and what gives its name and the facts that go with its attributes.

A name that the customer gave stays; mParticle's own events are named ``mp_`` and what happened.
"""
