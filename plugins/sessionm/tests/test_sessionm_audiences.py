from __future__ import annotations

import pytest

import gateway_sessionm
from gateway.sdk import Audience, AudienceAttribute, Call, Skip
from gateway.testing import batch, membership, plan_with, user

VALUES = {"host": "https://api-acme.stg-sessionm.com", "api_key": "test-key", "api_secret": "test-secret"}
MPID = "7346244611012968789"
OFF, ON = {}, {"audience_attributes": True}


def plan(*memberships, settings=ON, who=None):
    return plan_with(gateway_sessionm, batch(user=who or user(), memberships=memberships), {**VALUES, **settings})


def written(items):
    """The profiles that are written, and the reasons with the parts that are left out."""
    return [
        item.json["user"] if isinstance(item, Call) else (item.reason, item.what)
        for item in items
        if item != Skip(reason="nothing_to_send")
    ]


def test_a_membership_is_an_attribute_named_by_the_id_of_its_audience():
    assert written(plan(membership("Gold", "add"), membership("Silver", "delete", audience_id="5"))) == [
        {"user_profile": {"audience_1234": "true"}},
        {"user_profile": {"audience_5": "false"}},
    ]


def test_attributes_shared_with_an_audience_are_attributes_of_the_profile():
    shared = (
        AudienceAttribute(name="tier", value=3),
        AudienceAttribute(name="$City", value="Rome"),
        AudienceAttribute(name="old", removed=True),
        AudienceAttribute(name="audience_1234", value="never"),
    )
    assert written(plan(membership("Gold", "add", attributes=shared))) == [
        {"city": "Rome", "user_profile": {"audience_1234": "true", "tier": "3"}},
        ("attribute_removed", "old"),
    ]


@pytest.mark.parametrize(
    ("said", "settings", "who", "reason"),
    [
        (membership("Gold", "add"), OFF, None, "audiences_off"),
        (membership("Gold", "archive"), ON, None, "unknown_action"),
        (membership("Gold", "add"), ON, user(None, customer_id="c"), "no_mpid"),
    ],
)
def test_a_membership_that_cannot_be_sent_is_skipped(said, settings, who, reason):
    assert Skip(reason=reason) in plan(said, settings=settings, who=who)
    assert [item for item in plan(said, settings=settings, who=who) if isinstance(item, Call)] == []


def test_an_update_of_attributes_alone_says_nothing_of_the_membership():
    shared = (AudienceAttribute(name="tier", value=3),)
    assert written(plan(membership("Gold", "attribute_update", attributes=shared))) == [{"user_profile": {"tier": "3"}}]


def test_audiences_themselves_are_skipped():
    said = batch(user=user(), audience=Audience(id="1234", name="Gold", action="add"))
    assert Skip(reason="no_audiences") in plan_with(gateway_sessionm, said, {**VALUES, **ON})


def test_a_membership_reaches_the_profile_of_a_user_who_was_unknown(bench):
    sessionm = bench()
    who = user(customer_id="c-1")
    for action in ("add", "delete", "add"):
        sessionm.deliver(batch(user=who, memberships=(membership("Gold", action),)), **ON)
    assert sessionm.user(MPID)["user_profile"]["audience_1234"] == "true"
    assert sessionm.identifiers(MPID)["c-1"] == "customer_id"
