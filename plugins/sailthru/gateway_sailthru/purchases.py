"""Purchases: a purchase as Sailthru's purchase API wants it."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from email.utils import format_datetime
from urllib.parse import quote

from gateway.sdk import JSON, Call, Product, ProductAction, Skip
from gateway_sailthru import calls
from gateway_sailthru.settings import URL_FIELDS, SailthruSettings
from gateway_sailthru.values import variables

FIXED = ("affiliation", "currency_code", "coupon_code")
OF_ITEM = {"variant": "variant", "coupon": "coupon_code"}
LAST_MS = 253_402_300_800_000  # the year 10000


def purchase(happened: ProductAction, email: str, settings: SailthruSettings) -> tuple[Call | Skip, list[Skip]]:
    """A complete purchase, or why it cannot be one, for Sailthru takes none with a piece missing; and what it lacks."""
    items, skips = [], []
    for product in happened.products:
        line, left_out = item(product, settings)
        if isinstance(line, Skip):
            return line, []
        items.append(line)
        skips.extend(left_out)
    if not items:
        return Skip(reason="no_items"), []
    facts: dict[str, JSON] = {name: getattr(happened, name) for name in FIXED if getattr(happened, name)}
    attributes, left_out = variables(happened.attributes, settings, taken=facts)
    optional: dict[str, JSON] = {
        "date": _date(happened.time_ms),
        "adjustments": _adjustments(happened),
        "purchase_keys": {"extid": happened.transaction_id} if happened.transaction_id else None,
        "vars": attributes | facts,
    }
    given = {name: value for name, value in optional.items() if value}
    sold = calls.request("POST", "purchase", {"email": email, "items": items, "incomplete": 0, **given})
    return sold, [*left_out, *skips]


def item(product: Product, settings: SailthruSettings) -> tuple[dict[str, JSON] | Skip, list[Skip]]:
    """One line of a purchase, prices in whole cents for one unit; a part of a unit is sold as one line of its own.

    Next to it, what is left out of it.
    """
    title, id, url = product.name or product.id, product.id or product.name, _url(product, settings)
    quantity = Decimal(str(1 if product.quantity is None else product.quantity))
    price = _unit_price(product, quantity)
    if not title or not id or price is None or quantity <= 0:
        return Skip(reason="incomplete_item"), []
    if url is None:
        return Skip(reason="no_item_url"), []
    if quantity != quantity.to_integral_value():
        quantity, price = Decimal(1), price * quantity
    line: dict[str, JSON] = {"qty": int(quantity), "title": title, "price": _cents(price), "id": id, "url": url}
    tags = [word for word in (product.brand, product.category) if word]
    facts: dict[str, JSON] = {var: getattr(product, name) for var, name in OF_ITEM.items() if getattr(product, name)}
    attributes, skips = variables(product.attributes, settings, taken=facts)
    optional = {"tags": tags, "vars": attributes | facts}
    return line | {name: value for name, value in optional.items() if value}, skips


def _unit_price(product: Product, quantity: Decimal) -> Decimal | None:
    if product.price is not None:
        return Decimal(str(product.price))
    if product.total_amount is not None and quantity:
        return Decimal(str(product.total_amount)) / quantity
    return None


def _cents(amount: Decimal) -> int:
    return int((amount * 100).to_integral_value(ROUND_HALF_UP))


def _url(product: Product, settings: SailthruSettings) -> str | None:
    own = product.attributes.get("url")
    if isinstance(own, str) and own.startswith(("https://", "http://")):
        return own
    fields = {name: quote(getattr(product, name) or "", safe="") for name in URL_FIELDS}
    return settings.item_url.format_map(fields) or None


def _adjustments(happened: ProductAction) -> list[dict[str, JSON]]:
    amounts = (("Tax", happened.tax_amount), ("Shipping", happened.shipping_amount))
    return [{"title": title, "price": _cents(Decimal(str(amount)))} for title, amount in amounts if amount]


def _date(time_ms: int | None) -> str | None:
    if time_ms is None or not 0 <= time_ms < LAST_MS:
        return None
    return format_datetime(datetime.fromtimestamp(time_ms // 1000, UTC))
