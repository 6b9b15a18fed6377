"""Payloads that others published: each accepted or refused, as the table says."""

import json

import pytest
from support.payloads import ACCEPTED, PATHS, REFUSED, SAMPLES

from gateway.facts import iter_facts
from gateway.mparticle.decoding import decode
from gateway.mparticle.posts import Malformed, read

pytestmark = pytest.mark.reference


EXPECTED = {
    **{path: (kind, counts) for kind, paths in ACCEPTED.items() for path, counts in paths.items()},
    **{path: ("refused", problem) for problem, paths in REFUSED.items() for path in paths},
}


def test_every_payload_is_in_the_table():
    assert sorted(EXPECTED) == PATHS


def outcome(path):
    try:
        post = read((SAMPLES / path).read_bytes())
    except Malformed as malformed:
        return "refused", malformed.problem
    return post.kind, [part.facts for part in post.parts]


@pytest.mark.parametrize("path", PATHS)
def test_a_published_payload_is_accepted_or_refused(path):
    kind, told = outcome(path)
    expected, said = EXPECTED[path]
    assert kind == expected
    assert told.startswith(said) if kind == "refused" else told == said


@pytest.mark.parametrize("path", [path for path in PATHS if path in EXPECTED and EXPECTED[path][0] != "refused"])
def test_a_published_payload_holds_the_facts_that_were_counted(path):
    post = read((SAMPLES / path).read_bytes())
    batches = [decode(post.dialect, part.body, message=part.message, part=part.number) for part in post.parts]
    assert [part.facts for part in post.parts] == [len(list(iter_facts(one))) + len(one.quarantined) for one in batches]


@pytest.mark.parametrize("path", [path for path in PATHS if path in ACCEPTED["event_processing_request"]])
def test_no_published_event_of_firehose_is_set_aside(path):
    post = read((SAMPLES / path).read_bytes())
    batches = [decode(post.dialect, part.body, message=part.message, part=part.number) for part in post.parts]
    assert not [one for batch in batches for one in batch.quarantined]


FRAGMENTS = [path for path in PATHS if "/fragments/docs-event-" in path or "/fragments/docs-media-" in path]
UNTYPED = "events-batch/fragments/docs-event-common.json"
"""A template, whose type is an empty string."""


@pytest.mark.parametrize("path", FRAGMENTS)
def test_a_published_event_of_a_batch_is_read(path):
    event = json.loads((SAMPLES / path).read_bytes())
    (part,) = read(json.dumps({"mpid": 1, "events": [event]}).encode()).parts
    batch = decode("events", part.body, message=part.message, part=part.number)
    assert [one.problem for one in batch.quarantined] == (["events[0].event_type: missing"] if path == UNTYPED else [])


def captured():
    """A message that Firehose really posted, as somebody's queue handed it on."""
    (record,) = json.loads((SAMPLES / "odd/iterable-sqs-trigger-wrapper.json").read_bytes())["Records"]
    return record["body"].encode()


def test_what_firehose_really_posted_is_read_whole():
    post = read(captured())
    (part,) = post.parts
    batch = decode(post.dialect, part.body, message=part.message, part=part.number)
    assert (part.user_key, batch.device.platform, batch.input_name, len(batch.events), batch.quarantined) == (
        "mpid:-5227515829034156637",
        "out_of_band",
        "python-integration-tester",
        5,
        (),
    )
    assert len({event.id for event in batch.events}) == 5
    assert b"gcmIntegrationName" not in part.body
