from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gateway_sessionm
from gateway.sdk import AttributeChange, Call, Memory, Skip
from gateway.testing import batch, custom_event, plan_with, user
from gateway_sessionm.names import normalise
from gateway_sessionm.profiles import build_profile, count_attributes, merge_profiles

VALUES = {"host": "https://api-acme.stg-sessionm.com", "api_key": "test-key", "api_secret": "test-secret"}


def plan(attributes, **settings) -> list[Call | Skip]:
    return plan_with(gateway_sessionm, batch(user=user(attributes=attributes)), {**VALUES, **settings})


def sent(attributes, **settings) -> dict:
    (call,) = (item for item in plan(attributes, **settings) if isinstance(item, Call))
    return call.json["user"]


def left_out(attributes, **settings) -> list[tuple[str | None, str]]:
    return [(item.what, item.reason) for item in plan(attributes, **settings) if isinstance(item, Skip)]


def test_r04_attributes_are_written_to_the_profile_without_any_event():
    call, *others = plan({"$City": "Rome", "top region": "Europe"})
    assert (call.method, call.path) == ("PUT", "external/users/7346244611012968789")
    assert call.json == {"user": {"city": "Rome", "user_profile": {"top_region": "Europe"}}}
    assert others == []


NORMALISED = [
    ("$My Attr", "My_Attr"),
    ("__x", "x"),
    ("$$x", "x"),
    ("_$_a", "a"),
    ("$Age", "Age"),
    ("$Mobile", "Mobile"),
    ("$mobile", "mobile"),
    ("a--b", "a__b"),
    ("a.b-c", "a_b_c"),
    (" lead", "lead"),
    ("trail ", "trail_"),
    ("price$", "price_"),
    ("a\tb", "a_b"),
    ("123abc", "123abc"),
    ("café", "caf_"),
    ("naïve key", "na_ve_key"),
    ("e\u0301t", "e_t"),
    ("a😀b", "a_b"),
    ("x²", "x_"),
    ("٣key", "key"),
    ("favColor", "favColor"),
    ("fav color", "fav_color"),
    ("fav-color", "fav_color"),
    ("fav_color", "fav_color"),
    ("first_name", "first_name"),
    ("SessionM_Loyalty_Tier", "SessionM_Loyalty_Tier"),
]


@pytest.mark.parametrize(("key", "name"), NORMALISED)
def test_r22_each_character_but_ascii_letters_and_digits_becomes_one_underscore(key, name):
    assert sent({key: "v"}) == {"user_profile": {name: "v"}}


@pytest.mark.parametrize("key", ["имя", "ｆｕｌｌ", "Ⅷ", "$", "___", ""])
def test_r23_a_key_of_which_nothing_remains_is_left_out_by_name(key):
    assert plan({key: "v"}) == [Skip(reason="empty_key", what=key), Skip(reason="nothing_to_send")]


@given(st.text())
def test_r22_r23_normalising_is_exact_and_final(key):
    name = normalise(key)
    assert name == re.sub(r"[^A-Za-z0-9]", "_", key).lstrip("_")
    assert normalise(name) == name
    assert re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9_]*)?", name)


@given(st.text(alphabet=st.characters(codec="ascii", categories=("L", "N")), min_size=1))
def test_r20_a_plain_key_is_never_changed(key):
    assert normalise(key) == key


def test_r20_keys_that_differ_in_casing_are_two_attributes():
    assert sent({"Color": "red", "color": "blue"}) == {"user_profile": {"Color": "red", "color": "blue"}}


def test_r21_a_rule_that_renames_keys_first_changes_what_arrives():
    attributes = {"Fav Color": "red"}
    assert sent({key.lower(): value for key, value in attributes.items()}) == {"user_profile": {"fav_color": "red"}}


@pytest.mark.parametrize(
    ("key", "field"),
    [
        ("$FirstName", "first_name"),
        ("$LastName", "last_name"),
        ("$Gender", "gender"),
        ("$Country", "country"),
        ("$State", "state"),
        ("$City", "city"),
        ("$Zip", "zip"),
        ("$Address", "address"),
        ("$firstname", "first_name"),
        ("$firstName", "first_name"),
        ("$ZIP", "zip"),
    ],
)
def test_r24_reserved_attributes_have_fields_of_their_own_in_any_casing(key, field):
    assert sent({key: "v"}) == {field: "v"}


def test_r24_an_attribute_that_is_merely_called_like_the_field_stays_custom():
    assert sent({"$FirstName": "Jo", "first_name": "Al", "FirstName": "Di"}) == {
        "first_name": "Jo",
        "user_profile": {"first_name": "Al", "FirstName": "Di"},
    }


def test_r24_a_name_keeps_its_value_as_it_is():
    assert sent({"$Gender": "M"}) == {"gender": "M"}


@pytest.mark.parametrize("value", [True, 7, 7346244611012968789, 1.5, ["a", "b"], {"a": 1}, ""])
def test_r19_reserved_and_custom_values_are_both_strings(value):
    body = sent({"$Zip": value, "zip code": value})
    assert body["zip"] == body["user_profile"]["zip_code"]
    assert isinstance(body["zip"], str)


def test_r19_an_attribute_without_a_value_is_a_tag():
    assert sent({"vip": None}) == {"user_profile": {"vip": "true"}}
    assert sent({"vip": None}, user_tag_value="yes") == {"user_profile": {"vip": "yes"}}


def test_tags_can_be_switched_off():
    for blank in ("", "  "):
        assert plan({"vip": None}, user_tag_value=blank) == [
            Skip(reason="user_tag", what="vip"),
            Skip(reason="nothing_to_send"),
        ]


def test_nobody_is_called_true():
    assert left_out({"$FirstName": None, "a": "1"}) == [("$FirstName", "null_reserved")]
    assert left_out({"$NoField": None, "a": "1"}) == [("$NoField", "null_reserved")]
    assert sent({"$FirstName": None, "$firstname": "Jo"}) == {"first_name": "Jo"}


@pytest.mark.parametrize(
    ("attributes", "body", "losers"),
    [
        ({"fav color": "1", "fav-color": "2", "fav_color": "3"}, "3", ["fav color", "fav-color"]),
        ({"fav_color": "3", "fav color": "1"}, "3", ["fav color"]),
        ({"fav-color": "2", "fav color": "1"}, "1", ["fav-color"]),
        ({"fav color": "1", "fav-color": "2"}, "1", ["fav-color"]),
        ({"_fav_color": "4", "$fav_color": "5"}, "5", ["_fav_color"]),
    ],
)
def test_r18_of_colliding_keys_the_one_spelt_right_wins_else_the_smallest(attributes, body, losers):
    assert sent(attributes) == {"user_profile": {"fav_color": body}}
    assert left_out(attributes) == [(key, "key_collision") for key in losers]


@pytest.mark.parametrize(
    ("attributes", "name", "losers"),
    [
        ({"$firstname": "a", "$FirstName": "b"}, "b", ["$firstname"]),
        ({"$FirstName": "b", "$firstname": "a"}, "b", ["$firstname"]),
        ({"$firstname": "a", "$firstName": "c"}, "c", ["$firstname"]),
    ],
)
def test_r24_of_two_casings_the_documented_one_wins_else_the_smallest(attributes, name, losers):
    assert sent(attributes) == {"first_name": name}
    assert left_out(attributes) == [(key, "key_collision") for key in losers]


@given(st.permutations(["fav color", "fav-color", "fav_color", "$FirstName", "$firstname", "$FIRSTNAME", "x"]))
def test_r18_the_order_of_keys_never_decides_a_value(keys):
    body, _ = build_profile({key: key for key in keys}, "true")
    assert body == {"first_name": "$FirstName", "user_profile": {"fav_color": "fav_color", "x": "x"}}


RESERVED = ["$FirstName", "$LastName", "$Gender", "$Country", "$State", "$City", "$Zip", "$Address"]


@pytest.mark.parametrize(
    ("custom", "reserved", "dropped"), [(199, 0, 0), (200, 0, 0), (201, 0, 1), (200, 8, 8), (192, 8, 0), (230, 8, 38)]
)
def test_r11_a_request_carries_at_most_200_attributes_reserved_ones_first(custom, reserved, dropped):
    attributes = {f"a{number}": "v" for number in range(custom)} | dict.fromkeys(RESERVED[:reserved], "v")
    body, skips = build_profile(attributes, "true")
    assert count_attributes(body) == custom + reserved - dropped
    assert len(body) == reserved + 1
    assert list(body["user_profile"]) == [f"a{number}" for number in range(custom - dropped)]
    assert skips == [Skip(reason="over_limit", what=f"a{number}") for number in range(custom - dropped, custom)]


def test_r18_the_limit_counts_what_is_left_after_drops_and_collisions():
    attributes = {"": "v", "a 0": "v", "$Zip": None} | {f"a_{number}": "v" for number in range(200)}
    body, skips = build_profile(attributes, "true")
    assert count_attributes(body) == 200
    assert [skip.reason for skip in skips] == ["empty_key", "null_reserved", "key_collision"]


def test_r12_what_the_server_has_no_room_for_is_not_an_error(bench):
    here = bench(max_custom_attributes=200)
    stored = {f"s{number}": "v" for number in range(199)}
    here.vendor.seed({"users": [{"external_id": "7346244611012968789", "user_profile": stored}]})
    assert here.deliver(batch(user=user(attributes=dict.fromkeys("abcde", "v")))) == ["delivered"]
    assert here.vendor.journal[0]["over_limit_attributes"] == ["b", "c", "d", "e"]


def test_removed_attributes_are_not_passed_on_and_are_visible():
    person = user(attributes={"a": "1", "b": "2"}, removed=("b", "c"))
    changes = (AttributeChange(name="c", removed=True), AttributeChange(name="d", removed=True))
    items = plan_with(gateway_sessionm, batch(user=person, attribute_changes=changes), VALUES)
    assert items[0].json == {"user": {"user_profile": {"a": "1", "b": "2"}}}
    assert items[1:] == [Skip(reason="attribute_removed", what="c"), Skip(reason="attribute_removed", what="d")]


def test_a_batch_that_only_removes_sends_nothing():
    items = plan_with(gateway_sessionm, batch(user=user(removed=("c",))), VALUES)
    assert items == [Skip(reason="attribute_removed", what="c"), Skip(reason="nothing_to_send")]


def test_attribute_changes_send_the_profile_once_and_no_event():
    changes = (AttributeChange(name="a", value="1"), AttributeChange(name="b", value="2"))
    items = plan_with(
        gateway_sessionm, batch(user=user(attributes={"a": "1", "b": "2"}), attribute_changes=changes), VALUES
    )
    assert [(item.method, item.json) for item in items] == [("PUT", {"user": {"user_profile": {"a": "1", "b": "2"}}})]


def test_opted_in_is_never_set():
    assert "opted_in" not in sent({"opted_in": "true", "$opted_in": "true"})


def test_no_skip_tells_a_value():
    attributes = {"$City": None, "": "Zanzibar", "a b": "Zanzibar", "a_b": "Zanzibar"}
    assert "Zanzibar" not in repr([item for item in plan(attributes) if isinstance(item, Skip)])


def test_plans_do_not_depend_on_what_was_planned_before():
    one = batch(custom_event(attributes={"a": 1}), user=user(attributes={"a b": 1}, customer_id="c-1"))
    first = plan_with(gateway_sessionm, one, VALUES)
    plan_with(gateway_sessionm, batch(user=user("77", attributes={"z": 1})), VALUES, memory=Memory(user={"x": 1}))
    assert plan_with(gateway_sessionm, one, VALUES) == first


attribute_bodies = st.fixed_dictionaries(
    {},
    optional={
        "first_name": st.text(),
        "email": st.text(),
        "user_profile": st.dictionaries(st.sampled_from("abc"), st.text(), min_size=1),
    },
)


@given(attribute_bodies, attribute_bodies, attribute_bodies)
def test_merging_profiles_is_associative_and_the_later_wins(first, second, third):
    assert merge_profiles(merge_profiles(first, second), third) == merge_profiles(first, merge_profiles(second, third))
    assert merge_profiles(first, second).get("email") == second.get("email", first.get("email"))
    assert merge_profiles(first, {}) == merge_profiles({}, first) == first
