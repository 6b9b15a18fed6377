"""Values that senders write for want of one, or spell otherwise, mean the same in both dialects and both readers."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mparticle.decoding import decode
from gateway.mparticle.firehose.fast import parse_fast
from gateway.mparticle.parts import erasure_keys
from gateway.mparticle.posts import Malformed, read
from gateway.sdk import Identity

T = 1_714_565_696_789
NIL = "00000000-0000-0000-0000-000000000000"
NO_IDS = pytest.mark.parametrize(
    "nil", [NIL, "0" * 32, f"{{{NIL}}}", f"({NIL})", "", " ", "0", "-1", "NULL", "undefined"]
)
UNSEEN = pytest.mark.parametrize(
    "unseen", [" ", "\t", "\u00a0", "\u3000", "\u200b", "\ufeff", "\u200e", "\u2060", "\x00"]
)
DIALECTS = pytest.mark.parametrize("dialect", ["firehose", "events"])


def message(dialect, *, events=1, **members):
    """A message of one user with events, in a dialect; ``members`` are spelled alike in both."""
    if dialect == "firehose":
        event = {"type": "custom_event", "name": "N", "timestamp_ms": T}
        return {"type": "event_processing_request", "id": "m", "mpid": "1", "events": [event] * events, **members}
    event = {"event_type": "custom_event", "data": {"event_name": "N", "timestamp_unixtime_ms": T}}
    return {"message_id": "m", "mpid": 1, "events": [event] * events, **members}


def part_of(posted):
    """The one part of what was posted."""
    (part,) = read(json.dumps(posted).encode()).parts
    return part


def batch_of(dialect, posted):
    """The batch of the one part of what was posted."""
    part = part_of(posted)
    return decode(dialect, part.body, message=part.message, part=part.number)


@NO_IDS
@DIALECTS
def test_messages_with_an_id_that_means_none_are_no_repeats_of_each_other(dialect, nil):
    posted = message(dialect, **{"id" if dialect == "firehose" else "message_id": nil})
    first, second = part_of(posted), part_of(posted)
    assert first.dedupe != second.dedupe
    assert first.message != nil


@NO_IDS
def test_the_fast_reader_leaves_a_message_without_an_id_to_the_full_one(nil):
    assert parse_fast(json.dumps(message("firehose", id=nil)).encode()) is None
    assert parse_fast(json.dumps(message("firehose", id="m")).encode()) is not None


@NO_IDS
@DIALECTS
def test_events_and_sources_with_an_id_that_means_none_have_none(dialect, nil):
    source = "source_id" if dialect == "firehose" else "source_request_id"
    posted = message(dialect, events=2, **{source: nil})
    for event in posted["events"]:
        (event if dialect == "firehose" else event["data"])["id" if dialect == "firehose" else "message_id"] = nil
    batch = batch_of(dialect, posted)
    assert ([event.id for event in batch.events], batch.source_id) == ([f"{batch.id}:0", f"{batch.id}:1"], None)
    assert nil.strip() not in [ref for ref in part_of(posted).refs if nil.strip()]


@DIALECTS
@pytest.mark.parametrize(
    ("posted", "time_ms"),
    [
        (0, None),
        (-1, None),
        (-1e19, None),
        (-1e300, None),
        (1e300, None),
        (T, T),
        (float(T), T),
        (T // 1000, T // 1000 * 1000),
        (str(T // 1000), T // 1000 * 1000),
    ],
)
def test_a_time_outside_of_all_reason_is_none_and_seconds_are_seconds(dialect, posted, time_ms):
    name = "timestamp_ms" if dialect == "firehose" else "timestamp_unixtime_ms"
    said = message(dialect, **{name: posted})
    event = said["events"][0]
    (event if dialect == "firehose" else event["data"])[name] = posted
    batch = batch_of(dialect, said)
    assert (batch.received_ms, batch.events[0].time_ms) == (time_ms, time_ms)


@pytest.mark.parametrize("posted", [-1e300, -1e19, 1e300, 0, -1, "", "soon", None, [], "-1e300"])
def test_an_erasure_with_an_absurd_time_is_an_erasure_without_one(posted):
    said = {
        "type": "dsr_processing_request",
        "id": "m",
        "timestamp_ms": -1e19,
        "submitted_time": posted,
        "subject_identities": {"email": {"encoding": "raw", "value": "a@example.com"}},
    }
    assert part_of(said).wish.asked_ms is None
    assert batch_of("firehose", said).erasure.submitted_ms is None


EMPTY = {"user_attributes": [], "integration_attributes": [], "consent_state": [], "system_notifications": {}}


@DIALECTS
def test_an_empty_container_of_the_wrong_kind_is_empty(dialect):
    wrong = {**EMPTY, **({"user_identities": {}} if dialect == "firehose" else {"user_identities": []})}
    posted, plain = message(dialect, **wrong), message(dialect)
    for said in (posted, plain):
        data = said["events"][0] if dialect == "firehose" else said["events"][0]["data"]
        empty = [] if said is posted else {}
        data.update({"custom_flags": empty, "location": empty})
        data["attributes" if dialect == "firehose" else "custom_attributes"] = empty
    assert batch_of(dialect, posted) == batch_of(dialect, plain)


@DIALECTS
def test_an_empty_object_for_the_events_is_no_events(dialect):
    posted = {**message(dialect, user_attributes={"a": "b"}), "events": {}}
    assert batch_of(dialect, posted) == batch_of(dialect, {**posted, "events": []})


def test_an_empty_object_for_profiles_is_no_profile():
    posted = {"type": "audience_membership_change_request", "id": "m", "user_profiles": {}}
    assert read(json.dumps(posted).encode()).parts == ()


@DIALECTS
def test_a_full_container_of_the_wrong_kind_is_still_said(dialect):
    with pytest.raises(Malformed) as refused:
        read(json.dumps({**message(dialect), "events": {"a": 1}}).encode())
    assert refused.value.problem == "expected an array, got object"


@DIALECTS
def test_nulls_in_a_list_are_left_out(dialect):
    lists = {"some": ["a", None, "b"], "none": [None, None], "tag": None}
    posted = message(dialect, user_attributes=lists)
    data = posted["events"][0] if dialect == "firehose" else posted["events"][0]["data"]
    data["attributes" if dialect == "firehose" else "custom_attributes"] = lists
    batch = batch_of(dialect, posted)
    expected = {"some": ["a", "b"], "none": [], "tag": None}
    assert (batch.user.attributes, batch.events[0].attributes) == (expected, expected)


def test_nulls_in_a_list_of_a_change_are_left_out():
    posted = {
        "firehose": {"type": "user_attribute_change", "added": {"l": ["a", None]}, "removed": {"l": [None]}},
        "events": {
            "event_type": "user_attribute_change",
            "data": {"user_attribute_name": "l", "new": ["a", None], "old": [None]},
        },
    }
    changes = [batch_of(d, {**message(d), "events": [event]}).attribute_changes for d, event in posted.items()]
    assert [[(one.name, one.value, one.old) for one in each] for each in changes] == [[("l", ["a"], [])]] * 2


def test_nulls_in_a_list_shared_with_an_audience_are_left_out():
    attribute = {"key": "l", "list_value": [None, "a"], "action": "add"}
    audience = {"audience_id": 7, "action": "add", "user_attributes": [attribute]}
    profile = {"mpid": "1", "audiences": [audience]}
    posted = {"type": "audience_membership_change_request", "id": "m", "user_profiles": [profile]}
    assert batch_of("firehose", posted).memberships[0].attributes[0].value == ["a"]


def addressed(dialect, address):
    """A message about nobody but this address."""
    identities = (
        [{"type": "email", "encoding": "raw", "value": address}] if dialect == "firehose" else {"email": address}
    )
    return {**message(dialect), "mpid": None, "user_identities": identities}


@UNSEEN
@DIALECTS
def test_an_address_with_unseen_characters_at_its_ends_is_the_address(dialect, unseen):
    posted, plain = addressed(dialect, f"{unseen}Jo@Example.com{unseen}"), addressed(dialect, "jo@example.com")
    assert part_of(posted).user_key == part_of(plain).user_key == "email:jo@example.com"
    assert part_of(posted).refs == part_of(plain).refs
    batch = batch_of(dialect, posted)
    assert batch.user.identities == (Identity(type="email", value="jo@example.com"),)
    assert erasure_keys(batch.user) == erasure_keys(batch_of(dialect, plain).user)


@UNSEEN
@DIALECTS
def test_an_address_of_unseen_characters_alone_is_none(dialect, unseen):
    assert batch_of(dialect, addressed(dialect, unseen * 3)).user.identities == ()


@UNSEEN
def test_the_fast_and_the_full_reader_agree_on_an_address(unseen):
    posted = addressed("firehose", f"{unseen}jo@example.com")
    fast, _ = parse_fast(json.dumps(posted).encode())
    assert (fast.user_key, fast.refs[-1]) == ("email:jo@example.com", "email:jo@example.com")


@pytest.mark.parametrize("spelled", ["42", " 42", "042", "+42", "\u200b42\ufeff"])
@DIALECTS
def test_an_mpid_is_the_same_in_any_spelling(dialect, spelled):
    posted, plain = ({**message(dialect), "mpid": mpid} for mpid in (spelled, "42"))
    assert part_of(posted).user_key == part_of(plain).user_key == "mpid:42"
    assert batch_of(dialect, posted).user == batch_of(dialect, plain).user


@pytest.mark.parametrize("nobody", ["0", " 0", "00", "-0", 0, "\u200b"])
@DIALECTS
def test_an_mpid_of_nobody_is_none(dialect, nobody):
    assert batch_of(dialect, {**message(dialect), "mpid": nobody}).user.mpid is None


def test_an_erasure_means_the_user_in_any_spelling_of_the_mpid():
    extensions = {"opendsr.mparticle.com": {"mpids": ["0", " 042"]}}
    posted = {"type": "dsr_processing_request", "id": "m", "extensions": extensions}
    assert part_of(posted).wish.names == ("mpid:42",)


def test_the_letters_of_a_hash_stay_as_they_are():
    posted = message("firehose", user_identities=[{"type": "email", "encoding": "sha256", "value": " 9F86ab"}])
    (identity,) = batch_of("firehose", posted).user.identities
    assert (identity.value, identity.encoding, identity.normal) == ("9F86ab", "sha256", "9F86ab")


def test_which_of_two_addresses_names_a_lane_does_not_depend_on_letters():
    keys = {
        part_of(addressed("events", None) | {"user_identities": listed}).user_key
        for listed in (
            [{"identity_type": "email", "identity": "B@x.com"}, {"identity_type": "email", "identity": "a@x.com"}],
            [{"identity_type": "email", "identity": "b@x.com"}, {"identity_type": "email", "identity": "A@x.com"}],
        )
    }
    assert keys == {"email:a@x.com"}


ODD = [
    "\u200b",
    "\ufeff",
    "\u202e",
    "\u00a0",
    "\u3000",
    "\x00",
    "\x7f",
    "\ufffd",
    "\ue000",
    "\ufdd0",
    "\uffff",
    "\U0001fffe",
]


@pytest.mark.parametrize("odd", ODD)
def test_an_unseen_or_meaningless_character_inside_an_address_is_not_well_formed(odd):
    inside = Identity(type="email", value=f"jo{odd}8@example.com")
    assert (inside.is_well_formed, inside.normal) == (False, f"jo{odd}8@example.com")


@pytest.mark.parametrize(
    "value", ["jo8@example.com", " Jo8@Example.com\u200b", "j\u00f6+8@\u00fc.example", "\u7530@example.jp"]
)
def test_an_address_of_letters_is_well_formed(value):
    assert Identity(type="email", value=value).is_well_formed


@given(st.text(max_size=12), st.sampled_from(["email", "customer_id", "mpid"]))
def test_a_normal_form_is_its_own_normal_form(value, type):
    normal = Identity(type=type, value=value).normal
    assert Identity(type=type, value=normal).normal == normal
