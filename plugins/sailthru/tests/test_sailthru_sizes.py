"""Nothing larger than a megabyte is sent."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gateway_sailthru
from gateway.sdk import AudienceAttribute, Batch, Call, Product, ProductAction, Remember, Skip
from gateway.testing import batch, custom_event, membership, plan_with, session, user
from gateway_sailthru import calls
from gateway_sailthru.settings import SailthruSettings
from gateway_sailthru.signing import sign_call
from gateway_sailthru.sizes import MAX_GROWTH

VALUES = {"api_key": "0" * 32, "api_secret": "test-secret"}
SETTINGS = SailthruSettings.model_validate(VALUES)
JO = "jo@example.com"
WHO = user(email=JO)
MEGABYTE = 1_000_000
UNCHANGED, TOO_LARGE = Skip(reason="unchanged"), Skip(reason="too_large")
TEXT = {"a": "x" * MEGABYTE}
PURCHASE = ProductAction(
    id="e-1",
    type="commerce_event",
    action="purchase",
    products=(Product(id="p", name="Latte", price=1, attributes={"url": "https://a.example.com/" + "x" * 600_000}),),
)


def plan(said: Batch, **settings) -> list:
    """Return the plan, calls as their paths."""
    items = plan_with(gateway_sailthru, said, {**VALUES, **settings})
    return [item.path if isinstance(item, Call) else item for item in items if item != UNCHANGED]


@pytest.mark.parametrize(
    "said",
    [
        batch(user=user(email=JO, attributes=TEXT)),
        batch(user=user(email=JO, attributes={f"a{n}": "漢" * 4096 for n in range(40)})),
        batch(custom_event(attributes=TEXT), user=WHO),
        batch(session(attributes=TEXT), user=WHO),
        batch(user=WHO, memberships=(membership(attributes=(AudienceAttribute(name="a", value=TEXT["a"]),)),)),
    ],
)
def test_what_would_be_too_large_is_skipped_and_not_remembered(said):
    assert plan(said) == [TOO_LARGE]


def test_a_purchase_that_is_too_large_is_a_part_of_what_is_told_with_its_event():
    said = batch(PURCHASE, user=WHO)
    assert plan(said, purchases="purchase") == [TOO_LARGE]
    assert plan(said) == ["event"]
    assert plan(said, purchases="both") == ["event", Skip(reason="too_large", what="purchase")]


@pytest.mark.parametrize(("length", "is_sent"), [(998_000, True), (MEGABYTE, False)])
def test_the_limit_is_a_megabyte(length, is_sent):
    said = batch(user=user(email=JO, attributes={"a": "x" * length}))
    items = plan_with(gateway_sailthru, said, VALUES)
    sizes = [len(urlencode(sign_call(item, SETTINGS).form)) <= MEGABYTE for item in items if isinstance(item, Call)]
    assert (sizes, any(isinstance(item, Remember) for item in items)) == ([True] * is_sent, is_sent)


def test_updates_are_joined_as_long_as_one_call_can_carry_them():
    halves = [calls.upsert(JO, vars={f"v{n}": "x" * (MEGABYTE // 2 - 10_000)}) for n in range(3)]
    waiting = [*halves, calls.upsert(JO, vars={"small": "1"})]
    offered = tuple(msgspec.structs.replace(call, id=str(n), lane="l") for n, call in enumerate(waiting))
    made = gateway_sailthru.coalesce(offered, SETTINGS)
    assert [(call.covers, list(call.json["vars"])) for call in made] == [
        (("0", "1"), ["v0", "v1"]),
        (("2", "3"), ["v2", "small"]),
    ]


@given(st.recursive(st.text() | st.none() | st.floats(allow_nan=False) | st.integers(-(2**63), 2**63), st.lists))
def test_no_value_grows_by_more_than_is_reckoned_with(value):
    payload = {"": value}
    assert len(urlencode({"": json.dumps(payload)})) <= MAX_GROWTH * len(msgspec.json.encode(payload)) + 1
