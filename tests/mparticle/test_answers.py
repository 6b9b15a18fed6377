"""mParticle gets the answer that it expects for what it posted."""

import json
from uuid import UUID

import pytest

from gateway.mparticle.firehose.answers import make_answer
from gateway.mparticle.posts import Post, read

NOW = 1718000030000


def answered(body):
    status, text = make_answer(read(body), NOW)
    return status, json.loads(text)


@pytest.mark.parametrize(
    ("name", "type", "id", "more"),
    [
        ("firehose-events", "event_processing_response", 900, {}),
        ("firehose-events-ping", "event_processing_response", 904, {}),
        ("firehose-membership", "audience_membership_change_response", 902, {"suspend_subscription": False}),
        ("firehose-membership-ping", "audience_membership_change_response", 903, {"suspend_subscription": False}),
        ("firehose-subscription", "audience_subscription_response", 905, {"audience_subscription_settings": {}}),
        ("firehose-erasure", "dsr_processing_response", 906, {}),
    ],
)
def test_a_firehose_message_gets_its_typed_response(fixture, name, type, id, more):
    assert answered(fixture(name)) == (
        200,
        {
            "type": type,
            "id": f"3f2b6c1e-0000-4000-8000-{id:012d}",
            "timestamp_ms": NOW,
            "firehose_version": "3.2.0",
            **more,
        },
    )


def test_a_message_without_an_id_gets_a_response_with_one():
    _, response = answered(b'{"type": "event_processing_request"}')
    assert UUID(response["id"]).version == 4


@pytest.mark.parametrize(
    ("body", "accepted"),
    [
        (b"{}", []),
        (b"[]", []),
        (b'{"message_id": "a", "events": []}', ["a"]),
        (b'[{"message_id": "b", "mpid": 1}, {"message_id": "a", "mpid": 2}]', ["b", "a"]),
    ],
)
def test_events_batches_are_accepted_by_id_in_their_order(body, accepted):
    assert answered(body) == (202, {"accepted": accepted})


@pytest.mark.parametrize(
    ("name", "accepted"),
    [
        ("alias", ["3f2b6c1e-0000-4000-8000-000000000908"]),
        ("opendsr-callback", []),
        ("opendsr-request", ["d2a7c1e0-0000-4000-8000-000000000043"]),
    ],
)
def test_the_rest_is_accepted(fixture, name, accepted):
    assert answered(fixture(name)) == (202, {"accepted": accepted})


def test_a_repetition_is_answered_alike(fixture):
    for name in ("firehose-events", "events-batch-outbound", "events-batch-inbound"):
        assert answered(fixture(name)) == answered(fixture(name))


@pytest.mark.parametrize(
    ("kind", "suspended", "expected"),
    [
        ("event_processing_request", False, {}),
        ("event_processing_request", True, {"suspend_subscription": True}),
        ("audience_membership_change_request", True, {"suspend_subscription": True}),
        ("dsr_processing_request", True, {}),
    ],
)
def test_a_subscription_is_suspended_by_the_answers_to_events_and_memberships(kind, suspended, expected):
    body = make_answer(Post(kind=kind, dialect="firehose", id="m"), NOW, suspended=suspended)[1]
    assert {name: value for name, value in json.loads(body).items() if name == "suspend_subscription"} == expected
