"""Bounds on what one post may make the gateway do: elements of arrays, and events that cannot be read."""

import gzip
import json

import pytest

from gateway.mparticle.decoding import MAX_QUARANTINED, decode
from gateway.mparticle.fields import MAX_ELEMENTS
from gateway.mparticle.firehose.fast import parse_fast
from gateway.mparticle.json import Malformed
from gateway.mparticle.posts import parse_full, read

FIREHOSE = {"type": "event_processing_request", "id": "m", "mpid": "1"}
BATCH = {"message_type": "events", "message_id": "m", "mpid": "1"}
MEMBERSHIP = {"type": "audience_membership_change_request", "id": "m"}


@pytest.mark.parametrize(
    ("message", "where"),
    [
        ([{}] * (MAX_ELEMENTS + 1), "$"),
        ({**FIREHOSE, "events": [{}] * (MAX_ELEMENTS + 1)}, "$.events"),
        ({**FIREHOSE, "events": [1] * (MAX_ELEMENTS + 1)}, "$.events"),
        ({**BATCH, "events": [{}] * (MAX_ELEMENTS + 1)}, "$.events"),
        ({**MEMBERSHIP, "user_profiles": [{}] * (MAX_ELEMENTS + 1)}, "$.user_profiles"),
        ({**FIREHOSE, "events": [], "user_identities": [{}] * (MAX_ELEMENTS + 1)}, "$.user_identities"),
    ],
)
def test_an_array_of_more_elements_than_any_message_has_is_refused(message, where):
    body = json.dumps(message).encode()
    assert len(gzip.compress(body)) < 2_000
    with pytest.raises(Malformed) as refused:
        read(body)
    assert (refused.value.problem, refused.value.where) == ("10,001 elements, more than 10,000", where)


@pytest.mark.parametrize("count", [MAX_ELEMENTS, MAX_ELEMENTS + 1])
def test_the_fast_reader_leaves_too_many_events_to_the_full_one(count):
    event = {"type": "custom_event", "name": "n"}
    body = json.dumps({**FIREHOSE, "events": [event] * count}).encode()
    assert (parse_fast(body) is None) == (count > MAX_ELEMENTS)


@pytest.mark.parametrize("message", [FIREHOSE, BATCH])
def test_of_many_events_that_cannot_be_read_the_first_are_named_and_the_rest_counted(message):
    good = {"type": "session_start"} if message is FIREHOSE else {"event_type": "session_start", "data": {}}
    post = parse_full(json.dumps({**message, "events": [good, *[{}] * 250, good]}).encode())
    (part,) = post.parts
    batch = decode(post.dialect, part.body, message="m", part=0)
    assert (len(batch.events), len(batch.quarantined)) == (2, MAX_QUARANTINED + 1)
    assert [one.id for one in batch.quarantined[:2]] == ["m:1", "m:2"]
    last = batch.quarantined[-1]
    assert (last.id, last.problem, last.facts) == ("m:more", "events: 150 more that cannot be read", 150)
    assert part.facts == len(batch.events) + sum(one.facts for one in batch.quarantined)


@pytest.mark.parametrize("dialect", ["firehose", "events"])
def test_events_of_one_id_that_cannot_be_read_have_names_of_their_own(dialect):
    if dialect == "firehose":
        good = {"type": "custom_event", "id": "e", "name": "n"}
        message = {**FIREHOSE, "events": [good, {**good, "timestamp_ms": []}, {**good, "name": []}]}
    else:
        data = {"event_id": "5", "event_name": "n", "custom_event_type": "other"}
        good = {"event_type": "custom_event", "data": data}
        odd = [{**good, "data": {**data, name: []}} for name in ("timestamp_unixtime_ms", "event_name")]
        message = {**BATCH, "events": [good, *odd]}
    post = read(json.dumps(message).encode())
    (part,) = post.parts
    batch = decode(post.dialect, part.body, message="m", part=0)
    (event,) = batch.events
    assert [one.id for one in batch.quarantined] == [f"{event.id}#2", f"{event.id}#3"]


def test_a_batch_of_nothing_readable_makes_a_ledger_of_bounded_size():
    body = json.dumps({**FIREHOSE, "events": [{}] * MAX_ELEMENTS}).encode()
    (part,) = read(body).parts
    batch = decode("firehose", part.body, message="m", part=0)
    assert len(batch.quarantined) == MAX_QUARANTINED + 1
    assert sum(len(one.problem) + len(one.id) for one in batch.quarantined) < 10_000
