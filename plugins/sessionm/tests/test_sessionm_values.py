from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_sessionm.values import to_text

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "x"),
        ("", ""),
        (" x ", " x "),
        (True, "true"),
        (False, "false"),
        (1, "1"),
        (-7, "-7"),
        (7346244611012968789, "7346244611012968789"),
        (12345678901234567890123, "12345678901234567890123"),
        (1.0, "1"),
        (1e3, "1000"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (1.5e-07, "1.5e-07"),
        (1e15, "1000000000000000"),
        (-1e15, "-1000000000000000"),
        (1e16, "1e+16"),
        (-1e16, "-1e+16"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (["Rome", "San Juan"], "Rome,San Juan"),
        (["a", None, 1, True], "a,1,true"),
        ([], ""),
        ([None], ""),
        (["a,b", "c"], "a,b,c"),
        ([1.0, 0.5], "1,0.5"),
        ({"a": 1}, '{"a":1}'),
        ([{"a": 1}, "b"], '{"a":1},b'),
        ([["a", "b"], "c"], '["a","b"],c'),
        ({"é": [True, None]}, '{"é":[true,null]}'),
    ],
)
def test_r19_every_value_becomes_a_string(value, text):
    assert to_text(value) == text


@given(json_values)
def test_r19_no_json_value_fails_or_stays_what_it_was(value):
    assert isinstance(to_text(value), str)


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_r19_a_number_reads_back_as_the_same_number(value):
    assert json.loads(to_text(value)) == value


@given(st.integers(min_value=-(10**15), max_value=10**15))
def test_r19_whole_numbers_look_alike_however_they_were_spelt(value):
    assert to_text(float(value)) == to_text(value)


@given(st.lists(st.text(alphabet=st.characters(exclude_characters=","), min_size=1), min_size=1))
def test_r19_a_list_of_texts_can_be_split_again(value):
    assert to_text(value).split(",") == value


@given(st.dictionaries(st.text(), json_values, min_size=1))
def test_r19_an_object_is_compact_json_of_itself(value):
    assert json.loads(to_text(value)) == value
    assert to_text(value) == json.dumps(value, ensure_ascii=False, separators=(",", ":"))
