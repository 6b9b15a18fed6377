"""The promises of Sailthru's own page on its mParticle integration.

s01, s02 and so on count its promises in the order in which it makes them.
"""

from __future__ import annotations

import pytest

import gateway_sailthru
from gateway.sdk import (
    AttributeChange,
    Audience,
    Call,
    IdentityChange,
    Memory,
    Remember,
    User,
)
from gateway.testing import batch, custom_event, identity, membership, plan_with, session, user
from gateway_sailthru.fake import FakeSailthru

JO = "jo@example.com"


def changes(**attributes) -> tuple[AttributeChange, ...]:
    return tuple(AttributeChange(name=name, value=value) for name, value in attributes.items())


def test_s01_events_and_audiences_arrive(bench):
    here = bench()
    said = batch(custom_event("Reward Claimed"), user=user(email=JO), memberships=(membership("Gold"),))
    assert here.deliver(said) == ["delivered", "delivered"]
    assert ([event["event"] for event in here.vendor.events], here.user(JO)["lists"]) == (["Reward Claimed"], ["Gold"])


def test_s02_every_call_carries_the_connections_own_key_and_signature(bench):
    here = bench()
    assert here.deliver(batch(custom_event(), user=user(email=JO))) == ["delivered"]
    assert here.deliver(batch(custom_event(), user=user(email=JO)), api_key="other") == ["refused api_key"]
    assert here.deliver(batch(custom_event(), user=user(email=JO)), api_secret="other") == ["refused signature"]


def test_s03_each_connection_has_a_key_of_its_own(bench):
    one, other = bench(), bench(FakeSailthru("other-key", "other-secret"))
    said, keys = batch(custom_event(), user=user(email=JO)), {"api_key": "other-key", "api_secret": "other-secret"}
    assert one.deliver(said) == other.deliver(said, **keys) == ["delivered"]
    assert other.deliver(said) == ["refused api_key"]


def test_s04_a_user_attribute_change_is_an_update_of_the_user(bench):
    here = bench()
    here.deliver(batch(user=user(email=JO), attribute_changes=changes(plan="gold")))
    assert here.journal() == ["POST /user 200"]
    assert here.user(JO)["vars"] == {"plan": "gold"}


def test_s05_a_user_identity_change_is_an_update_of_the_user(bench):
    here = bench()
    gained = IdentityChange(type="email", new=identity("email", JO))
    here.deliver(batch(user=user(email=JO), identity_changes=(gained,)))
    assert (here.journal(), here.emails()) == (["POST /user 200"], [JO])


def test_s06_sessions_are_displayed_as_mp_session_start_and_mp_session_end(bench):
    here = bench()
    here.deliver(batch(session(), session(started=False), user=user(email=JO)))
    assert [event["event"] for event in here.vendor.events] == ["mp_session_start", "mp_session_end"]


def test_s07_app_events_are_forwarded(bench):
    here = bench()
    here.deliver(batch(custom_event("Stamp Collected"), user=user(email=JO)))
    assert here.journal() == ["POST /event 200"]


def test_s08_a_new_audience_is_a_list(bench):
    here = bench()
    here.deliver(batch(user=User(), audience=Audience(id="1", name="Gold Members", action="add")))
    assert [one.name for one in here.vendor.lists.all] == ["Gold Members"]


def test_s09_a_membership_request_adds_or_removes_the_user(bench):
    here = bench()
    here.deliver(batch(user=user(email=JO), memberships=(membership("Gold", "add"),)))
    assert here.user(JO)["lists"] == ["Gold"]
    here.deliver(batch(user=user(email=JO), memberships=(membership("Gold", "delete"),)))
    assert here.user(JO)["lists"] == []


def test_s10_changed_attributes_update_vars_and_leave_the_others(bench):
    here = bench()
    here.vendor.seed({"users": [{"id": JO, "vars": {"plan": "silver", "kept": 1}}]})
    here.deliver(batch(user=user(email=JO), attribute_changes=changes(plan="gold")))
    assert here.user(JO)["vars"] == {"plan": "gold", "kept": 1}


def test_s11_a_changed_email_is_passed_on(bench):
    here = bench()
    here.vendor.seed({"users": [{"id": "old@example.com"}]})
    moved = IdentityChange(type="email", old=identity("email", "old@example.com"), new=identity("email", JO))
    here.deliver(batch(user=user(email=JO), identity_changes=(moved,)))
    assert here.emails() == [JO]


def test_s12_a_new_type_of_id_is_passed_on_where_sailthru_has_a_key_for_it(bench):
    here = bench()
    gained = IdentityChange(type="customer_id", new=identity("customer_id", "c-1"))
    said = batch(user=user(email=JO, customer_id="c-1"), identity_changes=(gained,))
    here.deliver(said, customer_id_as_extid=True)
    assert here.user(JO)["keys"] == {"email": JO, "extid": "c-1"}


def test_s13_a_changed_email_keeps_the_history(bench):
    here = bench()
    old = {"id": "old@example.com", "vars": {"a": 1}, "lists": {"Gold": 1}, "optout_email": "basic"}
    here.vendor.seed({"users": [old]})
    sid = here.sid("old@example.com")
    moved = IdentityChange(type="email", old=identity("email", "old@example.com"), new=identity("email", JO))
    here.deliver(batch(user=user(email=JO), identity_changes=(moved,)))
    assert (here.sid(JO), here.user(JO)) == (
        sid,
        {"keys": {"email": JO}, "vars": {"a": 1}, "lists": ["Gold"], "optout": "basic"},
    )


def test_s14_what_is_added_to_a_profile_applies_to_the_account_with_its_address(bench):
    here = bench()
    here.vendor.seed({"users": [{"id": JO}, {"id": "other@example.com"}]})
    here.deliver(batch(user=user(email="Jo@Example.com"), attribute_changes=changes(a=1)))
    assert (here.user(JO)["vars"], here.user("other@example.com")["vars"]) == ({"a": 1}, {})


def test_s15_the_pages_own_example(bench):
    here = bench()
    added = {
        "$FirstName": "Brian",
        "$LastName": "O’Brian",
        "$Gender": "M",
        "$State": "FL",
        "$Country": "US",
        "$City": "Boca Raton",
        "$Zip": "33431",
    }
    here.deliver(batch(user=user(email=JO, attributes=added), attribute_changes=changes(**added)))
    assert here.user(JO)["vars"] == {
        "FirstName": "Brian",
        "LastName": "O’Brian",
        "Gender": "M",
        "State": "FL",
        "Country": "US",
        "City": "Boca Raton",
        "Zip": "33431",
    }


def test_s16_an_array_becomes_text_that_audience_builder_can_search(bench):
    here = bench()
    here.deliver(batch(user=user(email=JO, attributes={"likes": ["tea", "cake"]})))
    assert here.user(JO)["vars"] == {"likes": "tea,cake"}


def test_s17_a_custom_event_maps_directly_to_one_of_the_same_name(bench):
    here = bench()
    here.deliver(batch(custom_event("Wishlist Add"), user=user(email=JO)))
    assert [event["event"] for event in here.vendor.events] == ["Wishlist Add"]


def test_s18_event_attributes_are_event_vars(bench):
    here = bench()
    here.deliver(batch(custom_event(attributes={"reward": "Latte", "points": 120}), user=user(email=JO)))
    assert here.vendor.events[0]["vars"] == {"reward": "Latte", "points": 120, "mp_timestamp": 1714565696}


def test_s19_event_attributes_never_reach_the_profile(bench):
    here = bench()
    here.vendor.seed({"users": [{"id": JO, "vars": {"a": 1}}]})
    here.deliver(batch(custom_event(attributes={"b": 2}), user=user(email=JO)))
    assert here.user(JO)["vars"] == {"a": 1}


def test_s20_attributes_of_both_kinds_in_one_batch_reach_both(bench):
    here = bench()
    said = batch(custom_event(attributes={"b": 2}), user=user(email=JO), attribute_changes=changes(b=2))
    here.deliver(said)
    assert (here.user(JO)["vars"], here.vendor.events[0]["vars"]["b"]) == ({"b": 2}, 2)


def test_s21_the_profile_is_updated_before_the_event_that_a_flow_starts_from(bench):
    here = bench()
    here.deliver(batch(custom_event(), user=user(email=JO), attribute_changes=changes(plan="gold")))
    assert here.vendor.events[0]["profile"]["vars"] == {"plan": "gold"}


def test_s22_a_session_that_starts_is_mp_session_start(bench):
    here = bench()
    here.deliver(batch(session(), user=user(email=JO)))
    assert [event["event"] for event in here.vendor.events] == ["mp_session_start"]


def test_s23_a_session_that_ends_is_mp_session_end(bench):
    here = bench()
    here.deliver(batch(session(started=False, length_ms=61000), user=user(email=JO)))
    assert [event["event"] for event in here.vendor.events] == ["mp_session_end"]


def test_s24_a_session_touches_nothing_but_the_event_api(bench):
    here = bench()
    here.deliver(batch(session(), session(started=False), user=user(email=JO)))
    assert here.journal() == ["POST /event 200", "POST /event 200"]


@pytest.mark.parametrize("name", ["Reward Claimed", "reward_claimed", "Straße 1/2"])
def test_s25_an_events_name_is_not_altered(name):
    values = {"api_key": "test-key", "api_secret": "test-secret"}
    calls = plan_with(gateway_sailthru, batch(custom_event(name), user=user(email=JO)), values)
    assert [call.json["event"] for call in calls if isinstance(call, Call)] == [name]


def test_s26_a_list_keeps_its_members_when_its_audience_is_renamed(bench):
    here = bench()
    here.deliver(batch(user=user(email=JO), memberships=(membership("Gold"),)))
    known = Memory(shared={"audience:1234": "Gold"})
    renamed = batch(user=User(), audience=Audience(id="1234", name="Platinum", action="update"))
    assert here.plan(renamed, memory=known) == []
    here.deliver(batch(user=user(email="mo@example.com"), memberships=(membership("Platinum"),)), memory=known)
    assert [here.user(email)["lists"] for email in here.emails()] == [["Gold"], ["Gold"]]


def test_s27_the_list_of_an_audience_is_remembered_for_its_members():
    said = batch(user=User(), audience=Audience(id="1", name="Gold", action="add"))
    items = plan_with(gateway_sailthru, said, {"api_key": "test-key", "api_secret": "test-secret"})
    assert items[-1] == Remember(key="audience:1", value="Gold", shared=True)
