"""Events: a user's actions, with one class for each kind that both of mParticle's dialects have.

``type`` is the event's type as Events batches spell it, in both dialects; filters use the same spelling. Field values
that mParticle enumerates (``action``, ``custom_type``, ``state``) are open strings in lower case.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Location(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The place of an event, in degrees and metres. ``details`` holds what else was posted (city, region, …)."""

    latitude: float | None = None
    longitude: float | None = None
    accuracy: float | None = None
    details: dict[str, Any] = {}


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The members that all kinds of events have.

    ``id`` identifies the event: a UUID from Firehose; from Events batches a 64-bit decimal, or else the
    ``message_id`` beside it. An event posted without one gets ``<batch id>:<position>``, equal on every
    delivery; in a batch without any id, one that has a time gets ``<hash of the batch>:<position>``, equal
    also where mParticle posts the batch again. ``source_id`` is the id that the input gave it.
    ``attributes`` keep the order in which they were posted. ``details`` are the fields that this kind does not
    name, as posted.
    """

    id: str
    type: str
    source_id: str | None = None
    time_ms: int | None = None
    session_id: str | None = None
    session_uuid: str | None = None
    location: Location | None = None
    attributes: dict[str, Any] = {}
    custom_flags: dict[str, Any] = {}
    details: dict[str, Any] = {}


class CustomEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """An event that the customer named; ``name`` is empty where the input left it out.

    ``custom_type`` is navigation, search, transaction, other and the like.
    """

    name: str
    custom_type: str | None = None


class ScreenView(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A screen or page was seen. ``name`` is empty where the input left it out."""

    name: str


class Session(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A session began (``started``) or ended after ``length_ms``."""

    started: bool
    length_ms: int | None = None


class Product(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A product in a commerce event. Money and quantities are the JSON numbers posted."""

    id: str | None = None
    name: str | None = None
    brand: str | None = None
    category: str | None = None
    variant: str | None = None
    position: int | None = None
    price: float | None = None
    quantity: float | None = None
    total_amount: float | None = None
    coupon_code: str | None = None
    added_to_cart_ms: int | None = None
    attributes: dict[str, Any] = {}


class ProductAction(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Something was done with products: purchase, refund, add_to_cart, remove_from_wishlist and the like."""

    action: str
    transaction_id: str | None = None
    affiliation: str | None = None
    total_amount: float | None = None
    tax_amount: float | None = None
    shipping_amount: float | None = None
    currency_code: str | None = None
    coupon_code: str | None = None
    checkout_step: int | None = None
    checkout_options: str | None = None
    list_name: str | None = None
    list_source: str | None = None
    products: tuple[Product, ...] = ()


class Promotion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One promotion shown or clicked."""

    id: str | None = None
    name: str | None = None
    creative: str | None = None
    position: str | None = None


class PromotionAction(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Promotions were seen (``view``) or clicked (``click``)."""

    action: str
    promotions: tuple[Promotion, ...] = ()


class ImpressionList(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The products of one list that were shown."""

    name: str | None = None
    products: tuple[Product, ...] = ()


class Impression(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Lists of products were shown."""

    lists: tuple[ImpressionList, ...] = ()


class Attribution(Event, frozen=True, kw_only=True, omit_defaults=True):
    """An install or re-engagement was attributed to a campaign.

    A type of its own in Firehose; in Events batches a custom event whose custom type is ``attribution``, with any
    ``name`` of the customer's. A destination may treat it like a custom event.
    """

    name: str | None = None
    partner: str | None = None
    publisher: str | None = None
    campaign: str | None = None


class ErrorReport(Event, frozen=True, kw_only=True, omit_defaults=True):
    """An error in the app, or a crash."""

    message: str | None = None
    is_crash: bool = False
    stack_trace: str | None = None
    breadcrumbs: tuple[Any, ...] = ()


class OptOut(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The user stopped (``opted_out``) or resumed having data collected by the app."""

    opted_out: bool


class PushRegistration(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A device registered a push token, or gave it up."""

    registered: bool
    token: str


class PushMessage(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A push message was ``sent``, ``received``, ``opened`` (or another ``action``). ``payload`` is JSON text."""

    action: str
    payload: str | None = None
    message: str | None = None
    token: str | None = None
    network: str | None = None


class AppState(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The application changed state: install, upgrade, initialize, exit, background, foreground."""

    state: str
    launch_referral: str | None = None
    referral_application: str | None = None
    launch_parameters: str | None = None
    source_package: str | None = None


class OtherEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A type that mParticle documents and that carries nothing a destination reads.

    Breadcrumb, network_performance, profile, uninstall, first_run and the like; all in ``details``.
    """


class UnknownEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A type that this gateway does not know yet, kept whole in ``details``."""
