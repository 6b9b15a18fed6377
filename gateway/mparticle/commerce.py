"""Commerce: products, promotions and impressions, whose fields are spelled almost alike in both dialects."""

from __future__ import annotations

from gateway.mparticle import names
from gateway.mparticle.event_common import Common
from gateway.mparticle.fields import Fields, each, integer, mapping, number, required, text, time, word
from gateway.sdk import Impression, ImpressionList, Product, ProductAction, Promotion, PromotionAction

TYPE = "commerce_event"


def read_product_action(common: Common, fields: Fields, details: Fields, currency_code: str | None) -> ProductAction:
    """Something done with products; ``fields`` name what and which."""
    return ProductAction(
        **common,
        type=TYPE,
        action=names.action(required(word(fields, "action"), "action")),
        transaction_id=text(fields, "transaction_id"),
        affiliation=text(fields, "affiliation"),
        total_amount=number(fields, "total_amount"),
        tax_amount=number(fields, "tax_amount"),
        shipping_amount=number(fields, "shipping_amount"),
        currency_code=currency_code,
        coupon_code=text(fields, "coupon_code"),
        checkout_step=integer(fields, "checkout_step"),
        checkout_options=text(fields, "checkout_options"),
        list_name=text(fields, "product_action_list"),
        list_source=text(fields, "product_list_source"),
        products=each(fields, "products", _read_product),
        details=details,
    )


def read_promotion_action(common: Common, fields: Fields, details: Fields) -> PromotionAction:
    """Promotions seen or clicked."""
    return PromotionAction(
        **common,
        type=TYPE,
        action=required(word(fields, "action"), "action"),
        promotions=each(fields, "promotions", _read_promotion),
        details=details,
    )


def read_impression(common: Common, fields: Fields, name: str) -> Impression:
    """Read lists of products shown; ``name`` is the member that holds them."""
    return Impression(**common, type=TYPE, lists=each(fields, name, _read_list), details=fields)


def _read_product(fields: Fields) -> Product:
    total = "total_amount" if "total_amount" in fields else "total_product_amount"
    attributes = "attributes" if "attributes" in fields else "custom_attributes"
    return Product(
        id=text(fields, "id"),
        name=text(fields, "name"),
        brand=text(fields, "brand"),
        category=text(fields, "category"),
        variant=text(fields, "variant"),
        position=integer(fields, "position"),
        price=number(fields, "price"),
        quantity=number(fields, "quantity"),
        total_amount=number(fields, total),
        coupon_code=text(fields, "coupon_code"),
        added_to_cart_ms=time(fields, "added_to_cart_time_ms"),
        attributes=mapping(fields, attributes),
    )


def _read_promotion(fields: Fields) -> Promotion:
    return Promotion(
        id=text(fields, "id"),
        name=text(fields, "name"),
        creative=text(fields, "creative"),
        position=text(fields, "position"),
    )


def _read_list(fields: Fields) -> ImpressionList:
    name = "impression_list_name" if "impression_list_name" in fields else "product_impression_list"
    return ImpressionList(name=text(fields, name), products=each(fields, "products", _read_product))
