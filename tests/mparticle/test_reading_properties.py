"""Whatever is posted is refused with a reason, or read, counted and decoded; nothing else ever happens."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.facts import iter_facts
from gateway.mparticle.decoding import decode
from gateway.mparticle.json import is_deep
from gateway.mparticle.posts import Malformed, read

FIXTURES = [json.loads(path.read_text()) for path in sorted((Path(__file__).parent.parent / "fixtures").glob("*.json"))]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**30, -(2**63), 2**63, 0, -1]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(["", " ", "true", "False", "12", "-5", "1e9", "9" * 40, "user_identity_change", "raw"]),
)
values = st.recursive(
    scalars | st.just("half \ud83d"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def places(value, path=()):
    """Every place in a document, the whole not among them."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield (*path, key)
        yield from places(child, (*path, key))


def changed(document, path, change):
    """A copy of the document in which the value at one place was changed, or is gone."""
    document = json.loads(json.dumps(document))
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    if change is Ellipsis:
        del inner[path[-1]]
    else:
        inner[path[-1]] = change
    return document


@st.composite
def mutated(draw):
    document = draw(st.sampled_from(FIXTURES))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(sorted(places(document), key=str) or [()]))
        if path:
            document = changed(document, path, draw(st.just(...) | values))
    return document


def counted(body):
    """The batches of a body, read and decoded, none where it is refused; each part holds as many facts as it says."""
    batches = []
    try:
        post = read(body)
    except Malformed:
        return batches
    for part in post.parts:
        batch = decode(post.dialect, part.body, message=part.message, part=part.number)
        facts = list(iter_facts(batch))
        assert part.facts == len(facts) + sum(one.facts for one in batch.quarantined) > 0
        names = [one.id for one in (*facts, *batch.quarantined)]
        assert len(set(names)) == len(names)
        assert all(isinstance(ref, str) and ref for ref in (*part.refs, part.user_key, part.dedupe))
        batches.append(batch)
    return batches


@settings(max_examples=600, deadline=None)
@given(mutated())
def test_a_message_with_odd_values_is_refused_or_decoded(document):
    counted(json.dumps(document).encode())


ADDRESSED = {"type", "mpid", "events", "message_id", "batch_id", "source_request_id", "id"}


@settings(max_examples=400, deadline=None)
@given(st.sampled_from([one for one in FIXTURES if one.get("events")]), st.data())
def test_whatever_is_wrong_beside_the_events_costs_none_of_them(document, data):
    beside = sorted((path for path in places(document) if path[0] not in ADDRESSED), key=str)
    odd = changed(document, data.draw(st.sampled_from(beside)), data.draw(values))
    (batch,), (whole,) = counted(json.dumps(odd).encode()), counted(json.dumps(document).encode())
    assert [(one.type, one.time_ms) for one in batch.events] == [(one.type, one.time_ms) for one in whole.events]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(FIXTURES), st.data())
def test_a_damaged_message_is_refused_or_decoded(document, data):
    body = bytearray(json.dumps(document).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    counted(bytes(body[: data.draw(st.integers(len(body) // 2, len(body)))]))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,\\ud8e0tn1-.', max_size=60).map(str.encode))
def test_nonsense_is_refused_or_read(body):
    counted(body)


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), 2**53 + 1, 10**30])
@pytest.mark.parametrize("spelled", [int, str])
def test_ids_are_exact(decoded, number, spelled):
    event = {"event_type": "session_start", "data": {"event_id": spelled(number), "session_id": spelled(number)}}
    (batch,) = decoded({"mpid": spelled(number), "batch_id": spelled(number), "events": [event]})
    (session,) = batch.events
    assert {batch.user.mpid, session.id, session.session_id, batch.id.split(".")[0]} == {str(number)}


@given(st.integers(-(2**63), 2**63 - 1).filter(bool))
def test_an_mpid_is_exact_in_either_dialect(mpid):
    firehose = {"type": "event_processing_request", "mpid": str(mpid), "user_attributes": {"a": "b"}}
    for message in (firehose, {"mpid": mpid, "user_attributes": {"a": "b"}}):
        (part,) = read(json.dumps(message).encode()).parts
        assert part.user_key == f"mpid:{mpid}"


@given(st.dictionaries(st.text(), scalars, min_size=1, max_size=12))
def test_attributes_keep_their_order_and_their_values(attributes):
    event = {"type": "custom_event", "name": "N", "attributes": attributes}
    message = {"type": "event_processing_request", "user_attributes": attributes, "events": [event]}
    post = read(json.dumps({**message, "account": {"account_settings": {"k": "v"}}}).encode())
    (part,) = post.parts
    batch = decode(post.dialect, part.body, message=part.message, part=part.number)
    assert list(batch.user.attributes.items()) == list(attributes.items())
    assert list(batch.events[0].attributes.items()) == list(attributes.items())


@given(values, st.integers(0, 70))
def test_depth_is_told_exactly(value, wrapped):
    for _ in range(wrapped):
        value = [value, "}{]["]
    assert is_deep(json.dumps(value).encode()) == (depth(value) > 64)


def depth(value):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)
