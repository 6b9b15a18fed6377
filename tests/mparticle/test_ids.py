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


T = 1_714_565_696_789


@pytest.mark.parametrize(
    ("entry", "data", "id"),
    [
        ({"message_id": "beside"}, {"event_id": 7}, "7"),
        ({"message_id": "beside"}, {}, "beside"),
        ({"message_id": "beside"}, {"event_id": None}, "beside"),
        ({"message_id": "beside"}, {"event_id": " ", "source_message_id": "s"}, "beside"),
        ({"message_id": "beside"}, {"message_id": "within"}, "within"),
        ({}, {"message_id": 42}, "42"),
        ({"message_id": "beside"}, {"event_id": 0}, "beside"),
        ({}, {"event_id": 0}, "m:0"),
        ({}, {"event_id": "0"}, "m:0"),
        ({}, {"event_id": 0.0}, "m:0"),
        ({"message_id": None}, {"source_message_id": "s"}, "m:0"),
        ({"message_id": ""}, {}, "m:0"),
    ],
)
def test_an_event_is_known_by_its_id_or_else_by_its_message(entry, data, id):
    posted = {"event_type": "custom_event", **entry, "data": {"event_name": "N", "timestamp_unixtime_ms": T, **data}}
    body = json.dumps({"message_id": "m", "mpid": 1, "events": [posted]})
    (part,) = read(body.encode()).parts
    assert [event.id for event in of(body).events] == [id]
    assert id.startswith("m:") or id in part.refs


def test_events_of_which_no_id_is_told_are_told_apart():
    events = [{"event_type": "opt_out", "data": {"event_id": "0", "is_opted_out": said}} for said in (True, False, 1.5)]
    batch = of(EVENTS % f'"events": {json.dumps(events)}')
    assert [one.id for one in (*batch.events, *batch.quarantined)] == ["m:0", "m:1", "m:2"]


def test_an_event_that_is_set_aside_is_known_by_its_message_too():
    batch = of(EVENTS % '"events": [{"event_type": "opt_out", "message_id": "beside", "data": {}}]')
    assert [one.id for one in batch.quarantined] == ["beside"]


def posted_twice(times=(T, T), **members):
    """A batch, with an event at each of these times, posted twice: both parts, and the ids of the events of each."""
    events = [{"event_type": "custom_event", "data": {"event_name": "N", "timestamp_unixtime_ms": t}} for t in times]
    body = json.dumps({"mpid": 1, "user_attributes": {"a": "b"}, "events": events, **members})
    parts = [read(body.encode()).parts[0] for _ in range(2)]
    batches = [decode("events", part.body, message=part.message, part=part.number) for part in parts]
    return parts, [[event.id for event in batch.events] for batch in batches]


@pytest.mark.parametrize("members", [{}, {"timestamp_unixtime_ms": T}, {"message_id": None, "batch_id": ""}])
def test_of_a_batch_without_an_id_that_is_posted_again_both_are_taken_and_their_events_are_the_same(members):
    (first, second), (ids, again) = posted_twice(**members)
    assert first.dedupe != second.dedupe
    assert (ids == again, len(set(ids))) == (True, 2)


def test_events_of_other_batches_without_an_id_are_others():
    batches = [posted_twice(), posted_twice(mpid=2), posted_twice((T, T + 1)), posted_twice(environment="production")]
    assert len({id for _, (ids, _) in batches for id in ids}) == 8


def test_events_that_do_not_say_when_they_happened_may_have_happened_twice():
    _, (ids, again) = posted_twice((None, None))
    assert set(ids).isdisjoint(again)


@pytest.mark.parametrize("members", [{"message_id": "m"}, {"batch_id": 5}, {"source_request_id": "r"}])
def test_of_a_batch_that_has_an_id_events_are_called_after_it(members):
    (first, second), (ids, again) = posted_twice((T, None), **members)
    assert first.dedupe == second.dedupe
    assert ids == again == [f"{first.message}:0", f"{first.message}:1"]
