from __future__ import annotations

import pytest

import gateway_sailthru
from gateway.sdk import AttributeChange, Call, Remember, Skip, User
from gateway.testing import batch, identity, plan_with, user

VALUES = {"api_key": "test-key", "api_secret": "test-secret"}
JO = "jo@example.com"


def change(name: str, value=None, **fields) -> AttributeChange:
    return AttributeChange(name=name, value=value, **fields)


def removal(name: str) -> AttributeChange:
    return change(name, removed=True)


def person(removed: tuple[str, ...] = (), **attributes) -> User:
    return user(email=JO, attributes=attributes, removed=removed)


def upsert(**fields) -> Call:
    return Call(
        method="POST",
        path="user",
        json={"id": JO, "key": "email", "keysconflict": "merge", **fields},
        scope="POST user",
    )


def plan(*changes: AttributeChange, who: User | None = None, settings=None) -> list:
    """Return the plan for the attributes of a user without memory, except what to remember."""
    said = batch(user=who or person(), attribute_changes=changes)
    items = plan_with(gateway_sailthru, said, {**VALUES, **(settings or {})})
    return [item for item in items if not isinstance(item, Remember) and item != Skip(reason="unchanged")]


def test_changed_attributes_are_sent_as_vars_of_the_profile():
    changes = (change("$FirstName", "Jo"), change("plan", "gold"))
    assert plan(*changes) == [upsert(vars={"FirstName": "Jo", "plan": "gold"})]


@pytest.mark.parametrize("value", ["x", "", 0, 7, 1.5, True, False, {"a": ["b"]}])
def test_a_changed_value_is_sent_as_it_is(value):
    assert plan(change("a", value)) == [upsert(vars={"a": value})]


def test_a_tag_is_sent_as_true_for_null_means_removed():
    assert plan(change("vip")) == [upsert(vars={"vip": True})]


@pytest.mark.parametrize(("setting", "value"), [("null", None), ("empty", "")])
def test_a_removed_attribute_is_null_or_empty(setting, value):
    assert plan(removal("$City"), settings={"removed_value": setting}) == [upsert(vars={"City": value})]


def test_attributes_that_the_batch_deletes_are_removed_too():
    assert plan(who=person(removed=("$City",))) == [upsert(vars={"City": None})]


def test_of_several_changes_of_one_attribute_the_last_counts():
    assert plan(change("a", "1"), removal("a"), change("a", "2")) == [upsert(vars={"a": "2"})]
    assert plan(change("a", "1"), removal("a")) == [upsert(vars={"a": None})]


def test_an_attribute_deleted_and_set_in_one_batch_is_set():
    assert plan(change("a", "1"), who=person(removed=("a",))) == [upsert(vars={"a": "1"})]


@pytest.mark.parametrize(
    ("changes", "who", "sent"),
    [
        ((), person(removed=("a",), a="1", b="2"), {"a": "1", "b": "2"}),
        ((removal("a"),), person(a="1", b="2"), {"a": "1", "b": "2"}),
        ((change("a", "0"), removal("a")), person(removed=("a",), a="1"), {"a": "1"}),
        ((removal("a"),), person(a=None), {"a": True}),
        ((removal("a"), removal("c")), person(removed=("a", "c"), a=["1", "2"]), {"a": "1,2", "c": None}),
    ],
)
def test_what_the_profile_has_is_sent_whatever_is_said_to_be_removed(changes, who, sent):
    assert plan(*changes, who=who) == [upsert(vars=sent)]


def test_an_array_is_read_from_the_profile_since_a_change_cannot_express_one():
    assert plan(change("likes", "x"), who=person(likes=["x", "y"])) == [upsert(vars={"likes": "x,y"})]


def test_a_removed_array_takes_the_array_next_to_its_text_along():
    assert plan(removal("likes"), settings={"array_mode": "both"}) == [upsert(vars={"likes": None, "likes_list": None})]


def test_a_var_that_one_attribute_loses_falls_to_the_other_that_has_a_claim_on_it():
    who = user(email=JO, attributes={"City": "Berlin"})
    assert plan(removal("$City"), who=who) == [upsert(vars={"City": "Berlin"})]


def test_an_attribute_that_never_had_the_var_does_not_empty_it_when_it_goes():
    who = user(email=JO, attributes={"$City": "Bonn"})
    assert plan(removal("City"), who=who) == [upsert(vars={"City": "Bonn"})]


def test_a_change_of_an_attribute_whose_var_is_anothers_is_skipped_and_named():
    who = user(email=JO, attributes={"$City": "Bonn", "City": "Berlin"})
    planned = plan(change("City", "Berlin"), who=who)
    assert planned == [upsert(vars={"City": "Bonn"}), Skip(reason="name_collision", what="City")]


@pytest.mark.parametrize(
    ("who", "reason"),
    [
        (user(attributes={"a": "1"}), "no_email"),
        (user(customer_id="c-1", attributes={"a": "1"}), "no_email"),
        (user(email="  ", attributes={"a": "1"}), "no_email"),
        (user(email="jo at example", attributes={"a": "1"}), "invalid_email"),
        (User(identities=(identity("email", "9f86", encoding="md5"),), attributes={"a": "1"}), "hashed_email"),
    ],
)
def test_a_profile_that_cannot_be_addressed_is_skipped_with_the_reason(who, reason):
    assert set(map(str, plan(who=who))) == {str(Skip(reason=reason))}


@pytest.mark.parametrize("value", ["none", "all", "basic", "blast", "null", True])
@pytest.mark.parametrize("name", ["optout_email", "$optout", "", "unsubscribed"])
def test_an_optout_is_never_sent_by_default(name, value):
    planned = plan(change(name, value), who=user(email=JO, attributes={name: value}))
    assert [set(item.json) for item in planned] == [{"id", "key", "keysconflict", "vars"}]


NULL = [Skip(reason="null_reserved", what="$City")]


@pytest.mark.parametrize(
    ("changes", "attributes", "expected"),
    [
        ((), {"$City": None, "vip": None}, [upsert(vars={"vip": True}), *NULL]),
        ((), {"$City": None}, NULL),
        ((change("$City", None),), {"a": "1"}, [upsert(vars={"a": "1"}), *NULL]),
        ((change("$City", None),), {"$City": "Lund"}, [upsert(vars={"City": "Lund"})]),
        ((change("$City", "Lund"),), {"$City": None, "a": "1"}, [upsert(vars={"a": "1"}), *NULL]),
    ],
)
def test_a_reserved_attribute_without_a_value_is_left_out_and_named(changes, attributes, expected):
    assert plan(*changes, who=user(email=JO, attributes=attributes)) == expected


@pytest.mark.parametrize("posted", ["A", ["A"], 7, None])
def test_the_profile_beside_a_change_wins_value_and_type(posted):
    planned = plan(change("q", posted, old="B"), who=user(email=JO, attributes={"q": "C"}))
    assert planned == [upsert(vars={"q": "C"})]


@pytest.mark.parametrize("optout", ["none", "basic", "all", "blast"])
def test_an_optout_is_sent_where_the_settings_name_its_attribute_and_it_changed(optout):
    settings = {"optout_attribute": "consent"}
    assert plan(change("consent", optout), settings=settings) == [upsert(vars={"consent": optout}, optout_email=optout)]
    assert plan(who=person(consent=optout), settings=settings) == [upsert(vars={"consent": optout})]


@pytest.mark.parametrize("value", ["yes", "NONE", "", True, 1, ["all"], {"all": 1}])
def test_an_optout_that_sailthru_does_not_know_is_skipped_and_the_rest_is_sent(value):
    settings = {"optout_attribute": "consent", "array_mode": "keep"}
    assert plan(change("consent", value), change("a", "1"), settings=settings) == [
        upsert(vars={"consent": value, "a": "1"}),
        Skip(reason="unknown_optout", what="consent"),
    ]


def test_an_optout_is_sent_even_where_the_var_of_its_attribute_is_anothers():
    who = user(email=JO, attributes={"$consent": "x"})
    planned = plan(change("consent", "all"), who=who, settings={"optout_attribute": "consent"})
    assert planned == [upsert(vars={"consent": "x"}, optout_email="all"), Skip(reason="name_collision", what="consent")]


def test_a_removed_optout_does_not_opt_anybody_in_again():
    assert plan(removal("consent"), settings={"optout_attribute": "consent"}) == [upsert(vars={"consent": None})]


def test_the_fake_has_the_profile_afterwards_and_keeps_what_it_had(bench):
    here = bench()
    here.vendor.seed({"users": [{"id": JO, "vars": {"a": "old", "b": "kept", "c": "x"}, "optout_email": "all"}]})
    said = batch(user=person(), attribute_changes=(change("a", "new"), removal("c"), change("$d e", ["f"])))
    assert here.deliver(said) == ["delivered"]
    assert here.user(JO) == {
        "keys": {"email": JO},
        "vars": {"a": "new", "b": "kept", "c": None, "d_e": "f"},
        "lists": [],
        "optout": "all",
    }
