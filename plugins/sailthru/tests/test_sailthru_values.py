from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sdk import Skip
from gateway_sailthru.names import make_var_name
from gateway_sailthru.settings import SailthruSettings
from gateway_sailthru.values import make_vars

scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
attributes = st.dictionaries(st.text("aB$ .1é", max_size=4), scalars | st.lists(scalars, max_size=3), max_size=6)


def settings(**values) -> SailthruSettings:
    return SailthruSettings.model_validate({"api_key": "test-key", "api_secret": "test-secret", **values})


@pytest.mark.parametrize("value", ["text", "", 7, 7.5, 0, True, False, None, {"nested": ["x"]}])
@pytest.mark.parametrize("mode", ["join", "keep", "both"])
def test_a_value_that_is_no_array_is_sent_as_it_is(value, mode):
    assert make_vars({"a": value}, settings(array_mode=mode)) == ({"a": value}, [])


ARRAYS = [
    (["x", "y"], "x,y"),
    ([], ""),
    (["x"], "x"),
    ([1, 2.5, True, None], "1,2.5,true,null"),
    (["ä", {"b": "ö"}], 'ä,{"b": "ö"}'),
]


@pytest.mark.parametrize(("array", "text"), ARRAYS)
@pytest.mark.parametrize("mode", ["join", "keep", "both"])
def test_an_array_is_text_or_stays_one_or_is_both(array, text, mode):
    expected = {"join": {"a": text}, "keep": {"a": array}, "both": {"a": text, "a_list": array}}
    assert make_vars({"a": array}, settings(array_mode=mode)) == (expected[mode], [])


def test_the_array_next_to_its_text_gives_way_to_an_attribute_of_that_name():
    sent = make_vars({"a": ["x", "y"], "a_list": "mine"}, settings(array_mode="both"))
    assert sent == ({"a": "x,y", "a_list": "mine"}, [])
    assert make_vars({"a": ["x"]}, settings(array_mode="both"), rivals=["a_list"]) == ({"a": "x"}, [])


def test_an_attribute_whose_var_belongs_to_another_is_skipped_and_named():
    assert make_vars({"City": "x", "$City": "y"}, settings()) == (
        {"City": "y"},
        [Skip(reason="name_collision", what="City")],
    )


def test_an_attribute_gives_way_to_one_that_is_not_sent_now():
    assert make_vars({"City": "x"}, settings(), rivals=["$City"]) == (
        {},
        [Skip(reason="name_collision", what="City")],
    )


def test_a_var_that_is_taken_is_not_to_be_had():
    assert make_vars({"mp_timestamp": "x", "a": "y"}, settings(), taken=["mp_timestamp"]) == (
        {"a": "y"},
        [Skip(reason="name_collision", what="mp_timestamp")],
    )


@given(attributes, st.sampled_from(["join", "keep", "both"]), st.sampled_from(["reserved", "custom"]))
def test_each_attribute_is_either_sent_or_said_to_be_skipped(attributes, mode, preferred):
    sent, skips = make_vars(attributes, settings(array_mode=mode, preferred_name=preferred))
    lost = {skip.what for skip in skips}
    assert {make_var_name(name) for name in attributes} <= set(sent)
    won = {make_var_name(name) for name in attributes if name not in lost}
    assert len(won) == len(set(attributes) - lost)


@given(attributes)
def test_the_order_of_the_attributes_decides_nothing(attributes):
    backwards = dict(reversed(attributes.items()))
    assert make_vars(attributes, settings())[0] == make_vars(backwards, settings())[0]
