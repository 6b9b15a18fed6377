from __future__ import annotations

import re
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_sailthru.names import assign_vars, make_list_name, make_var_name
from gateway_sailthru.settings import SailthruSettings

names = st.text(st.characters(exclude_categories=["Cs"]))
plain = st.from_regex(r"[A-Za-z]([A-Za-z0-9_]{0,30}[A-Za-z0-9])?", fullmatch=True)


def settings(**values) -> SailthruSettings:
    return SailthruSettings.model_validate({"api_key": "test-key", "api_secret": "test-secret", **values})


@pytest.mark.parametrize(
    ("name", "var"),
    [
        ("$FirstName", "FirstName"),
        ("$Zip", "Zip"),
        ("favourite_drink", "favourite_drink"),
        ("CamelCase", "CamelCase"),
        ("favourite drink", "favourite_drink"),
        ("a.b-c%d$e", "a_b_c_d_e"),
        ("a  --  b", "a_b"),
        (" $x ", "x"),
        ("_private_", "private"),
        ("2nd", "v_2nd"),
        ("$2nd", "v_2nd"),
        ("42", "v_42"),
        ("straße", "stra_e"),
        ("a" * 32, "a" * 32),
    ],
)
def test_a_name_becomes_one_that_sailthru_takes(name, var):
    assert make_var_name(name) == var


@given(names)
def test_no_name_at_all_becomes_one_that_sailthru_refuses(name):
    assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,31}", make_var_name(name))


@given(names)
def test_with_unicode_a_name_still_has_32_characters_at_most_and_no_digit_in_front(name):
    var = make_var_name(name, unicode=True)
    assert re.fullmatch(r"\w{1,32}", var)
    assert not var[0].isdigit()


@given(plain)
def test_a_good_name_stays_as_it_is(name):
    assert make_var_name(name) == name
    assert make_var_name(f"${name}") == name


@given(names)
def test_a_name_is_made_good_in_one_go(name):
    assert make_var_name(make_var_name(name)) == make_var_name(name)


def test_letters_beyond_ascii_are_kept_where_the_settings_say_so():
    assert make_var_name("straße", unicode=True) == "straße"
    assert make_var_name("日本 名", unicode=True) == "日本_名"


@given(st.sets(st.text("ab", min_size=33, max_size=40), min_size=2, max_size=4))
def test_long_names_that_begin_alike_stay_apart(long):
    vars = {make_var_name("x" * 40 + name) for name in long}
    assert len(vars) == len(long)
    assert {len(var) for var in vars} == {32}


def test_names_of_which_nothing_is_left_stay_apart():
    assert make_var_name("日") != make_var_name("本")
    assert make_var_name("日").startswith("v_")


@pytest.mark.parametrize(
    ("preferred", "rivals", "winner"),
    [
        ("reserved", ["City", "$City"], "$City"),
        ("custom", ["City", "$City"], "City"),
        ("reserved", ["favourite drink", "favourite_drink"], "favourite_drink"),
        ("custom", ["favourite drink", "favourite_drink"], "favourite_drink"),
        ("reserved", ["a-b", "a b", "a.b"], "a b"),
        ("custom", ["$a b", "a-b"], "a-b"),
    ],
)
def test_of_names_that_collide_the_same_one_always_wins(preferred, rivals, winner):
    chosen = [assign_vars(order, settings(preferred_name=preferred)) for order in permutations(rivals)]
    assert all(list(claims.values()) == [winner] for claims in chosen)


@given(st.lists(names, unique=True))
def test_every_var_has_one_owner_who_has_a_claim_on_it(given_names):
    claims = assign_vars(given_names, settings())
    assert set(claims) == {make_var_name(name) for name in given_names}
    assert all(make_var_name(owner) == var for var, owner in claims.items())


@pytest.mark.parametrize(
    ("audience", "list"),
    [
        ("Gold Members", "Gold Members"),
        ("Big $penders", "Big -penders"),
        ("Men, 20-30", "Men 20-30"),
        ("  spaced \t out ", "spaced out"),
        ("!! bar/foo: (x)", "!! bar/foo: (x)"),
        ("Straße", "Straße"),
        ("A name of more than thirty-two characters", "A name of more than thirty-two characters"),
        ("", "Audience 1234"),
        (" , ", "Audience 1234"),
    ],
)
def test_a_list_is_named_after_its_audience_as_far_as_a_list_may(audience, list):
    assert make_list_name("1234", audience) == list


@given(names)
def test_no_list_has_a_name_that_sailthru_refuses(audience):
    assert not set(make_list_name("1234", audience)) & set("$,\n\t")
    assert make_list_name("1234", audience).strip()
