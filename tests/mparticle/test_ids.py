"""Ids are those that were posted, digit by digit, or none at all."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mparticle.decoding import decode
from gateway.mparticle.posts import Malformed, read
from gateway.sdk import Identity, Quarantined

FIREHOSE = '{"type": "event_processing_request", "id": "m", "user_attributes": {"a": "b"}, %s}'
EVENTS = '{"message_id": "m", "user_attributes": {"a": "b"}, %s}'
ERASURE = '{"type": "dsr_processing_request", "id": "m", "extensions": {"opendsr.mparticle.com": %s}}'
DIALECTS = pytest.mark.parametrize("message", [FIREHOSE, EVENTS])


def of(body):
    """The one batch of a body."""
    post = read(body.encode())
    (part,) = post.parts
    return decode(post.dialect, part.body, message=part.message, part=part.number)


@DIALECTS
@pytest.mark.parametrize(
    ("posted", "mpid"),
    [
        ("7346244611012968789", "7346244611012968789"),
        ("-5227515829034156637", "-5227515829034156637"),
        ('"7346244611012968789"', "7346244611012968789"),
        ("9007199254740991.0", "9007199254740991"),
        ("-42.00", "-42"),
        ("4.2e1", "42"),
        ("0.0", None),
        ("-0.0", None),
    ],
)
def test_an_mpid_that_is_a_whole_number_is_read_digit_by_digit(message, posted, mpid):
    assert of(message % f'"mpid": {posted}').user.mpid == mpid


@DIALECTS
@pytest.mark.parametrize(
    "posted",
    [
        "7346244611012968789.0",
        "7.346244611012968789e18",
        "-7.346244611012968789E+18",
        "9007199254740993.0",
        "9007199254740992.0",
        "1e300",
        "42.5",
    ],
)
def test_an_mpid_of_which_digits_would_be_lost_is_refused(message, posted):
    with pytest.raises(Malformed) as refused:
        read((message % f'"mpid": {posted}').encode())
    assert (refused.value.problem, refused.value.where) == ("expected an integer, got number", "$.mpid")


@given(st.integers(-(2**63), 2**63 - 1).filter(bool), st.sampled_from(["{}", "{}.0", "{}.000", "{:.20e}", "{:.30E}"]))
def test_however_it_is_spelled_an_mpid_is_never_another(mpid, spelling):
    try:
        found = of(EVENTS % f'"mpid": {spelling.format(Decimal(mpid))}').user.mpid
    except Malformed:
        assert abs(mpid) >= 2**53 - 1
    else:
        assert found == str(mpid)


LISTED = FIREHOSE % '"user_identities": [{"type": "customer", "encoding": "raw", "value": %s}]'
MAPPED = EVENTS % '"user_identities": {"customer_id": %s}'
RECORDED = EVENTS % '"user_identities": [{"identity_type": "customer_id", "identity": %s}]'
SUBJECT = ERASURE % '{"subject_identities": {"controller_customer_id": {"encoding": "raw", "value": %s}}}'
SHAPES = pytest.mark.parametrize(
    ("message", "where"),
    [
        (LISTED, "user_identities[0].value"),
        (MAPPED, "user_identities[...]"),
        (RECORDED, "user_identities[0].identity"),
        (SUBJECT, "extensions.opendsr.mparticle.com.subject_identities[...].value"),
    ],
)


@SHAPES
@pytest.mark.parametrize(
    ("posted", "value"),
    [
        ("9007199254740993", "9007199254740993"),
        ("9007199254740991.0", "9007199254740991"),
        ("12345.0", "12345"),
        ("1.2345e4", "12345"),
        ("-0.0", "0"),
        ("1.5", "1.5"),
        ("true", "true"),
        ('"12345.0"', "12345.0"),
    ],
)
def test_an_identity_that_is_a_number_is_that_number(message, where, posted, value):
    assert of(message % posted).user.identities == (Identity(type="customer_id", value=value),)


@SHAPES
@pytest.mark.parametrize("posted", ["9007199254740993.0", "9007199254740992.0", "9.007199254740993e15", "1e22"])
def test_an_identity_of_which_digits_would_be_lost_is_set_aside(message, where, posted):
    batch = of(message % posted)
    assert batch.user.identities == ()
    problem = f"{where}: expected a string, got number"
    assert [(one.type, one.problem) for one in batch.quarantined] == [("message", problem)]


def test_an_erasure_names_the_mpids_that_were_posted():
    batch = of(ERASURE % '{"mpids": [7346244611012968789, 42.0, 7346244611012968789.0]}')
    assert (batch.user.mpid, batch.user.identities) == ("7346244611012968789", (Identity(type="mpid", value="42"),))
    assert [one.problem for one in batch.quarantined] == [
        "extensions.opendsr.mparticle.com.mpids[2]: expected a string, got number"
    ]


@pytest.mark.parametrize("name", ["event_id", "session_id"])
def test_an_event_of_whose_id_digits_would_be_lost_is_set_aside(name):
    event = json.dumps({"event_type": "session_start", "data": {name: "posted"}})
    batch = of(EVENTS % f'"events": [{event}]'.replace('"posted"', "9007199254740993.0"))
    problem = f"events[0].data.{name}: expected an integer, got number"
    assert batch.quarantined == (Quarantined(id="m:0", type="session_start", problem=problem),)
