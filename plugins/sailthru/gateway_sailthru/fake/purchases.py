"""Purchases: completed purchases and carts."""

from __future__ import annotations

from typing import Any

from gateway_sailthru.fake.errors import ApiError
from gateway_sailthru.fake.options import Options
from gateway_sailthru.fake.users import Users, check_email, normalise

REQUIRED = ("qty", "title", "price", "id", "url")


def post_purchase(
    users: Users, purchases: list[Any], data: dict[str, Any], now: float, options: Options
) -> dict[str, Any]:
    """Answer POST /purchase. Raises ApiError."""
    email = str(data.get("email") or "")
    check_email(email)
    items = data.get("items") or []
    if not items:
        raise ApiError(400, 99, "No items in purchase")
    missing = next((name for item in items for name in REQUIRED if item.get(name) in (None, "")), None)
    if missing is not None:
        raise ApiError(400, 99, f"Item without {missing}")
    if any(not isinstance(item[name], int) for item in items for name in ("qty", "price")):
        raise ApiError(400, 99, "Quantities and prices are whole numbers")
    purchase = {
        "_id": f"{len(purchases) + 1:024x}",
        "unique_id": f"{len(purchases) + 1:x}",
        "items": items,
        "qty": sum(item["qty"] for item in items),
        "price": sum(item["qty"] * item["price"] for item in items),
        "time": data.get("date") or int(now),
        "channel": data.get("channel", "online"),
    }
    profile = users.find("email", normalise("email", email)) or users.create("email", normalise("email", email), now)
    if data.get("incomplete"):
        profile.cart = purchase
        return {"purchase": purchase}
    extid = (data.get("purchase_keys") or {}).get("extid")
    known = next((other for other in purchases if extid and other["extid"] == extid), None)
    if options.purchases_deduplicated and known is not None:
        return {"purchase": known["purchase"]}
    profile.cart = None
    profile.purchases = [*profile.purchases, purchase]
    purchases.append({"email": normalise("email", email), "extid": extid, "purchase": purchase, "json": data})
    return {"purchase": purchase}
