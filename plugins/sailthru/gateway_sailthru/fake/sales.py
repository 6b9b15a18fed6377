"""Sales: purchases and carts."""

from __future__ import annotations

from typing import Any

from gateway_sailthru.fake.errors import Refusal
from gateway_sailthru.fake.options import Options
from gateway_sailthru.fake.people import People, check_email, normal

REQUIRED = ("qty", "title", "price", "id", "url")


def post(people: People, purchases: list[Any], data: dict[str, Any], now: float, options: Options) -> dict[str, Any]:
    """Answer POST /purchase. Raises Refusal."""
    email = str(data.get("email") or "")
    check_email(email)
    items = data.get("items") or []
    if not items:
        raise Refusal(400, 99, "No items in purchase")
    lacking = next((name for item in items for name in REQUIRED if item.get(name) in (None, "")), None)
    if lacking is not None:
        raise Refusal(400, 99, f"Item without {lacking}")
    if any(not isinstance(item[name], int) for item in items for name in ("qty", "price")):
        raise Refusal(400, 99, "Quantities and prices are whole numbers")
    made = {
        "_id": f"{len(purchases) + 1:024x}",
        "unique_id": f"{len(purchases) + 1:x}",
        "items": items,
        "qty": sum(item["qty"] for item in items),
        "price": sum(item["qty"] * item["price"] for item in items),
        "time": data.get("date") or int(now),
        "channel": data.get("channel", "online"),
    }
    person = people.find("email", normal("email", email)) or people.create("email", normal("email", email), now)
    if data.get("incomplete"):
        person.cart = made
        return {"purchase": made}
    extid = (data.get("purchase_keys") or {}).get("extid")
    known = next((sold for sold in purchases if extid and sold["extid"] == extid), None)
    if options.purchases_deduplicated and known is not None:
        return {"purchase": known["purchase"]}
    person.cart = None
    person.purchases = [*person.purchases, made]
    purchases.append({"email": normal("email", email), "extid": extid, "purchase": made, "json": data})
    return {"purchase": made}
