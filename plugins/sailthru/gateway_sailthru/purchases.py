"""Purchases: a purchase in the form of Sailthru's purchase API."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from email.utils import format_datetime
from urllib.parse import quote

from gateway.sdk import JSON, Call, Product, ProductAction, Skip
from gateway_sailthru import calls
from gateway_sailthru.settings import URL_FIELDS, SailthruSettings
from gateway_sailthru.values import make_vars

PURCHASE_VARS = ("affiliation", "currency_code", "coupon_code")
ITEM_VARS = {"variant": "variant", "coupon": "coupon_code"}
YEAR_10000_MS = 253_402_300_800_000


def build_purchase(event: ProductAction, email: str, settings: SailthruSettings) -> tuple[Call | Skip, list[Skip]]:
    """Return the call for a purchase, and a Skip for each var left out.

    Sailthru takes only complete purchases: if a piece is missing, a Skip with the reason takes the place of the call.
    """
    items, skips = [], []
    for product in event.products:
        line, left_out = build_item(product, settings)
        if isinstance(line, Skip):
            return line, []
        items.append(line)
        skips.extend(left_out)
    if not items:
        return Skip(reason="no_items"), []
    facts: dict[str, JSON] = {name: getattr(event, name) for name in PURCHASE_VARS if getattr(event, name)}
    attributes, left_out = make_vars(event.attributes, settings, taken=facts)
    optional: dict[str, JSON] = {
        "date": _format_date(event.time_ms),
        "adjustments": _list_adjustments(event),
        "purchase_keys": {"extid": event.transaction_id} if event.transaction_id else None,
        "vars": attributes | facts,
    }
    given = {name: value for name, value in optional.items() if value}
    sold = calls.request("POST", "purchase", {"email": email, "items": items, "incomplete": 0, **given})
    return sold, [*left_out, *skips]


def build_item(product: Product, settings: SailthruSettings) -> tuple[dict[str, JSON] | Skip, list[Skip]]:
    """Return one line of a purchase, with prices in whole cents for one unit, and a Skip for each var left out.

    A fraction of a unit becomes one unit at the price of the fraction. A Skip in place of the line says what it lacks.
    """
    title, id, url = product.name or product.id, product.id or product.name, _find_url(product, settings)
    quantity = Decimal(str(1 if product.quantity is None else product.quantity))
    price = _find_unit_price(product, quantity)
    if not title or not id or price is None or quantity <= 0:
        return Skip(reason="incomplete_item"), []
    if url is None:
        return Skip(reason="no_item_url"), []
    if quantity != quantity.to_integral_value():
        quantity, price = Decimal(1), price * quantity
    line: dict[str, JSON] = {"qty": int(quantity), "title": title, "price": _to_cents(price), "id": id, "url": url}
    tags = [word for word in (product.brand, product.category) if word]
    facts: dict[str, JSON] = {var: getattr(product, name) for var, name in ITEM_VARS.items() if getattr(product, name)}
    attributes, skips = make_vars(product.attributes, settings, taken=facts)
    optional = {"tags": tags, "vars": attributes | facts}
    return line | {name: value for name, value in optional.items() if value}, skips


def _find_unit_price(product: Product, quantity: Decimal) -> Decimal | None:
    if product.price is not None:
        return Decimal(str(product.price))
    if product.total_amount is not None and quantity:
        return Decimal(str(product.total_amount)) / quantity
    return None


def _to_cents(amount: Decimal) -> int:
    return int((amount * 100).to_integral_value(ROUND_HALF_UP))


def _find_url(product: Product, settings: SailthruSettings) -> str | None:
    own = product.attributes.get("url")
    if isinstance(own, str) and own.startswith(("https://", "http://")):
        return own
    fields = {name: quote(getattr(product, name) or "", safe="") for name in URL_FIELDS}
    return settings.item_url.format_map(fields) or None


def _list_adjustments(event: ProductAction) -> list[dict[str, JSON]]:
    amounts = (("Tax", event.tax_amount), ("Shipping", event.shipping_amount))
    return [{"title": title, "price": _to_cents(Decimal(str(amount)))} for title, amount in amounts if amount]


def _format_date(time_ms: int | None) -> str | None:
    if time_ms is None or not 0 <= time_ms < YEAR_10000_MS:
        return None
    return format_datetime(datetime.fromtimestamp(time_ms // 1000, UTC))
