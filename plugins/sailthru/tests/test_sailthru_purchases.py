from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gateway_sailthru
from gateway.sdk import Call, Product, ProductAction, Skip
from gateway.testing import batch, plan_with, user

VALUES = {"api_key": "test-key", "api_secret": "test-secret"}
JO = "jo@example.com"
SHOP = "https://shop.example.com/{id}"


def product(**fields) -> Product:
    return Product(**{"id": "p-1", "name": "Latte", "price": 4.5, "quantity": 2, **fields})


def bought(*products: Product, action: str = "purchase", **fields) -> ProductAction:
    base = {"id": "e-1", "type": "commerce_event", "time_ms": 1_714_565_696_789, "action": action}
    return ProductAction(**{**base, "products": products, **fields})


def plan(happened: ProductAction, **settings) -> list:
    values = {**VALUES, "purchases": "purchase", "item_url": SHOP, **settings}
    return plan_with(gateway_sailthru, batch(happened, user=user(email=JO)), values)[1:]


def item(**fields) -> dict:
    (call,) = plan(bought(product(**fields)))
    return call.json["items"][0]


LINE = {"qty": 2, "title": "Latte", "price": 450, "id": "p-1", "url": "https://shop.example.com/p-1"}
DATE = "Wed, 01 May 2024 12:14:56 +0000"


def test_a_purchase_is_an_event_by_default():
    calls = plan_with(gateway_sailthru, batch(bought(product()), user=user(email=JO)), VALUES)[1:]
    assert [(call.path, call.json["event"]) for call in calls] == [("event", "mp_purchase")]


def test_a_purchase_can_go_to_the_purchase_api_with_all_that_it_needs():
    happened = bought(
        product(brand="K", category="Coffee", variant="L", attributes={"milk": "oat"}),
        transaction_id="t-1",
        tax_amount=0.9,
        shipping_amount=1,
        currency_code="EUR",
        attributes={"gift": True},
    )
    expected = {
        "email": JO,
        "items": [{**LINE, "tags": ["K", "Coffee"], "vars": {"milk": "oat", "variant": "L"}}],
        "incomplete": 0,
        "date": DATE,
        "adjustments": [{"title": "Tax", "price": 90}, {"title": "Shipping", "price": 100}],
        "purchase_keys": {"extid": "t-1"},
        "vars": {"gift": True, "currency_code": "EUR"},
    }
    assert plan(happened) == [Call(method="POST", path="purchase", json=expected, scope="POST purchase")]


@pytest.mark.parametrize(
    ("fields", "sent", "left_out"),
    [
        ({"attributes": {"variant": "red", "coupon": "C1"}}, {"variant": "red", "coupon": "C1"}, []),
        ({"variant": "L", "attributes": {"coupon": "C1"}}, {"coupon": "C1", "variant": "L"}, []),
        ({"variant": "L", "attributes": {"variant": "red", "a": "1"}}, {"a": "1", "variant": "L"}, ["variant"]),
        ({"coupon_code": "C2", "attributes": {"$coupon": "C1"}}, {"coupon": "C2"}, ["$coupon"]),
        ({"attributes": {"$Size": "M", "Size": "L"}}, {"Size": "M"}, ["Size"]),
    ],
)
def test_attributes_of_an_item_are_sent_or_named_as_left_out(fields, sent, left_out):
    call, *skips = plan(bought(product(**fields), product(**fields)))
    assert [line["vars"] for line in call.json["items"]] == [sent, sent]
    assert skips == [Skip(reason="name_collision", what=name) for name in left_out]


@pytest.mark.parametrize("ways", ["purchase", "both"])
def test_attributes_of_a_purchase_are_sent_or_named_as_left_out_once(ways):
    happened = bought(product(), coupon_code="C2", attributes={"coupon_code": "C1", "gift": True})
    call, *rest = plan(happened, purchases=ways)
    assert call.json["vars"] == {"gift": True, "coupon_code": "C2"}
    skips = [part for part in rest if isinstance(part, Skip)]
    assert skips == [Skip(reason="name_collision", what="coupon_code")]


def test_what_a_purchase_does_not_tell_is_left_out():
    (call,) = plan(bought(product(), time_ms=None))
    assert call.json == {"email": JO, "items": [LINE], "incomplete": 0}


def test_a_purchase_can_be_both():
    assert [call.path for call in plan(bought(product()), purchases="both")] == ["purchase", "event"]


@pytest.mark.parametrize("action", ["add_to_cart", "refund", "checkout", "purchased"])
def test_nothing_but_a_purchase_goes_to_the_purchase_api(action):
    assert [call.path for call in plan(bought(product(), action=action), purchases="both")] == ["event"]


@pytest.mark.parametrize(
    ("products", "reason"),
    [
        ([], "no_items"),
        ([product(id=None, name=None)], "incomplete_item"),
        ([product(price=None)], "incomplete_item"),
        ([product(quantity=0)], "incomplete_item"),
        ([product(quantity=-1)], "incomplete_item"),
        ([product(price=None, total_amount=9, quantity=0)], "incomplete_item"),
        ([product(), product(price=None)], "incomplete_item"),
    ],
)
def test_a_purchase_with_a_piece_missing_is_skipped_whole(products, reason):
    assert plan(bought(*products)) == [Skip(reason=reason)]
    parts = plan(bought(*products), purchases="both")
    assert [getattr(part, "path", part) for part in parts] == ["event", Skip(reason=reason, what="purchase")]


@pytest.mark.parametrize(
    ("attributes", "template", "url"),
    [
        ({}, "", None),
        ({"url": "https://a.example.com/x"}, "", "https://a.example.com/x"),
        ({"url": "https://a.example.com/x"}, SHOP, "https://a.example.com/x"),
        ({"url": "javascript:alert(1)"}, "", None),
        ({"url": 7}, SHOP, "https://shop.example.com/p-1"),
        ({}, "https://shop.example.com/{name}/{variant}", "https://shop.example.com/Latte/"),
    ],
)
def test_an_item_has_its_own_url_or_one_made_of_the_template(attributes, template, url):
    planned = plan(bought(product(attributes=attributes)), item_url=template)
    assert [getattr(call, "json", {}).get("items", [{}])[0].get("url") for call in planned] == [url]
    assert (planned == [Skip(reason="no_item_url")]) is (url is None)


def test_what_is_put_in_a_url_cannot_change_where_it_points():
    assert item(id="../a b?c#d/é")["url"] == "https://shop.example.com/..%2Fa%20b%3Fc%23d%2F%C3%A9"


@pytest.mark.parametrize(
    ("fields", "qty", "price"),
    [
        ({"price": 4.5, "quantity": 2}, 2, 450),
        ({"price": 0.1, "quantity": 3}, 3, 10),
        ({"price": 1.005, "quantity": 1}, 1, 101),
        ({"price": 0, "quantity": 1}, 1, 0),
        ({"price": 19.99, "quantity": None}, 1, 1999),
        ({"price": 10, "quantity": 0.5}, 1, 500),
        ({"price": None, "total_amount": 9, "quantity": 2}, 2, 450),
        ({"price": None, "total_amount": 10, "quantity": 3}, 3, 333),
        ({"price": 1e30, "quantity": 1}, 1, 10**32),
    ],
)
def test_prices_are_whole_cents_of_one_unit(fields, qty, price):
    line = item(**fields)
    assert (line["qty"], line["price"]) == (qty, price)


@given(st.integers(0, 10**12), st.integers(1, 99))
def test_no_cent_is_lost_to_floating_point(cents, quantity):
    line = item(price=cents / 100, quantity=quantity)
    assert (line["qty"], line["price"]) == (quantity, cents)


@pytest.mark.parametrize(("id", "name", "expected"), [(None, "Latte", ("Latte", "Latte")), ("p-1", None, ("p-1",) * 2)])
def test_name_and_id_stand_in_for_each_other(id, name, expected):
    line = item(id=id, name=name)
    assert (line["id"], line["title"]) == expected


@pytest.mark.parametrize("time_ms", [-1, 253_402_300_800_000, 10**18])
def test_a_time_beyond_all_calendars_is_left_out(time_ms):
    (call,) = plan(bought(product(), time_ms=time_ms))
    assert "date" not in call.json


def test_the_fake_takes_the_purchase_and_adds_it_up(bench):
    here = bench()
    happened = bought(product(), product(id="p-2", price=1, quantity=1), transaction_id="t-1")
    said = batch(happened, user=user(email=JO))
    assert here.deliver(said, purchases="purchase", item_url=SHOP) == ["delivered"]
    (sold,) = here.vendor.purchases
    assert (sold["email"], sold["extid"], sold["purchase"]["qty"], sold["purchase"]["price"]) == (JO, "t-1", 3, 1000)
