from __future__ import annotations

import pytest

import gateway_sailthru
from gateway.sdk import Audience, AudienceAttribute, Batch, Call, Memory, Remember, Skip, User
from gateway.testing import batch, identity, membership, plan_with, user

VALUES = {"api_key": "test-key", "api_secret": "test-secret"}
JO = "jo@example.com"
KNOWN = Memory(shared={"audience:1234": "Gold"})


def audience(action: str, name: str = "Gold") -> Batch:
    return batch(user=User(), audience=Audience(id="1234", name=name, action=action))


def member(*memberships, who: User | None = None) -> Batch:
    return batch(user=who or user(email=JO), memberships=memberships)


def plan(said: Batch, memory=None, **settings) -> list:
    items = plan_with(gateway_sailthru, said, {**VALUES, **settings}, memory=memory or Memory())
    return [item for item in items if item != Skip(reason="unchanged")]


def list_call(method: str, **fields) -> Call:
    return Call(method=method, path="list", json=fields, scope=f"{method} list")


def upsert(**fields) -> Call:
    payload = {"id": JO, "key": "email", "keysconflict": "merge", **fields}
    return Call(method="POST", path="user", json=payload, scope="POST user")


CREATED = list_call("POST", list="Gold", type="normal", primary=0)
REMEMBERED = Remember(key="audience:1234", value="Gold", shared=True)


def test_a_new_audience_gets_a_list_that_is_remembered():
    assert plan(audience("add")) == [CREATED, REMEMBERED]


def test_an_audience_first_heard_of_when_it_changes_gets_a_list_too():
    assert plan(audience("update")) == [CREATED, REMEMBERED]


def test_a_renamed_audience_keeps_the_list_that_it_has():
    assert plan(audience("update", name="Platinum"), KNOWN) == [Skip(reason="list_kept")]
    assert plan(audience("update"), KNOWN, removed_audience="delete") == [Skip(reason="list_kept")]
    assert plan(audience("add", name="Platinum"), KNOWN) == [CREATED, REMEMBERED]


def test_members_of_a_renamed_audience_are_put_on_the_list_that_it_has():
    said = member(membership("Platinum", "add"), membership("Platinum", "delete", audience_id="5"))
    assert plan(said, KNOWN) == [upsert(lists={"Gold": 1}), upsert(lists={"Platinum": 0})]


def test_the_list_of_an_audience_that_is_gone_is_kept_or_deleted():
    assert plan(audience("remove"), KNOWN) == [Skip(reason="list_kept")]
    assert plan(audience("remove", name="Platinum"), KNOWN, removed_audience="delete") == [
        list_call("DELETE", list="Gold"),
        Remember(key="audience:1234", value=None, shared=True),
    ]


def test_an_action_that_mparticle_has_invented_since_is_skipped_as_such():
    assert plan(audience("paused"), KNOWN, removed_audience="delete") == [Skip(reason="unknown_action")]
    assert plan(member(membership(action="paused"))) == [Skip(reason="unknown_action")]


@pytest.mark.parametrize(("action", "wanted"), [("add", 1), ("delete", 0)])
def test_a_membership_is_changed_through_the_user_api_which_starts_flows(action, wanted):
    assert plan(member(membership("Gold", action))) == [upsert(lists={"Gold": wanted})]


def test_attributes_shared_with_an_audience_are_vars():
    told = (AudienceAttribute(name="$City", value="Bonn"), AudienceAttribute(name="old", removed=True))
    vars = {"City": "Bonn", "old": None}
    assert plan(member(membership(attributes=told))) == [upsert(vars=vars, lists={"Gold": 1})]
    assert plan(member(membership(action="attribute_update", attributes=told))) == [upsert(vars=vars)]


def test_a_reserved_attribute_shared_without_a_value_is_left_out_and_named():
    told = (AudienceAttribute(name="$City", value=None), AudienceAttribute(name="vip", value=None))
    expected = [upsert(vars={"vip": True}), Skip(reason="null_reserved", what="$City")]
    assert plan(member(membership(action="attribute_update", attributes=told))) == expected


def test_a_shared_attribute_whose_var_is_anothers_is_skipped_and_named():
    who = user(email=JO, attributes={"$City": "Bonn"})
    said = member(membership(attributes=(AudienceAttribute(name="City", value="x"),)), who=who)
    assert plan(said)[-2:] == [upsert(lists={"Gold": 1}), Skip(reason="name_collision", what="City")]


def test_an_update_that_tells_nothing_is_nothing_to_send():
    assert plan(member(membership(action="attribute_update"))) == [Skip(reason="nothing_to_send")]


@pytest.mark.parametrize(
    ("who", "reason"),
    [
        (user(customer_id="c-1"), "no_email"),
        (user(email="nonsense"), "invalid_email"),
        (User(identities=(identity("email", "9f86", encoding="md5"),)), "hashed_email"),
    ],
)
def test_a_member_without_an_address_is_skipped_with_the_reason(who, reason):
    assert plan(member(membership(), who=who)) == [Skip(reason=reason)] * 2


def test_several_memberships_and_attributes_of_one_batch_are_one_call(bench):
    here = bench()
    said = member(
        membership("Gold"), membership("Silver", "delete", audience_id="2"), membership("New", audience_id="3")
    )
    (call,) = here.plan(said)
    assert call.json["lists"] == {"Gold": 1, "Silver": 0, "New": 1}
    assert len(call.covers) == 3


def test_a_list_is_created_once_however_often_the_audience_is_told(bench):
    here = bench()
    assert here.deliver(audience("add")) == here.deliver(audience("add"), memory=KNOWN) == ["delivered"]
    assert [(one.name, one.primary) for one in here.vendor.lists.all] == [("Gold", False)]


def test_a_member_is_on_the_list_until_they_leave_and_starts_a_flow_once(bench):
    here = bench()
    for action, lists in [("add", ["Gold"]), ("add", ["Gold"]), ("delete", []), ("delete", [])]:
        assert here.deliver(member(membership("Gold", action))) == ["delivered"]
        assert here.user(JO)["lists"] == lists
    assert [(entry.list, entry.email) for entry in here.vendor.users.flow_entries] == [("Gold", JO)]


def test_a_list_that_is_already_gone_counts_as_deleted(bench):
    here = bench()
    verdicts = here.deliver(audience("remove"), removed_audience="delete")
    assert verdicts == ["delivered already_gone"]
    assert here.journal() == ["DELETE /list 404"]


def test_a_deleted_list_takes_its_memberships_along(bench):
    here = bench()
    here.deliver(member(membership("Gold")))
    assert here.deliver(audience("remove"), removed_audience="delete") == ["delivered"]
    assert (here.user(JO)["lists"], here.vendor.lists.all) == ([], [])
