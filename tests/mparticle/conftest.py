import json
from pathlib import Path

import pytest

from gateway.mparticle.decoding import decode
from gateway.mparticle.posts import read

FIXTURES = Path(__file__).parent.parent / "fixtures"


def batches(posted):
    """Every batch of what was posted (bytes, or what JSON makes of them), read and decoded as the gateway does."""
    post = read(posted if isinstance(posted, bytes) else json.dumps(posted).encode())
    return [decode(post.dialect, part.body, message=part.message, part=part.number) for part in post.parts]


@pytest.fixture
def fixture():
    return lambda name: (FIXTURES / f"{name}.json").read_bytes()


@pytest.fixture
def decoded():
    return batches


@pytest.fixture
def firehose():
    """One event of a Firehose message, decoded; or, given fields of the message, its batch."""

    def one(event=None, **message):
        base = {"type": "event_processing_request", "id": "m-1", "mpid": "1", "user_attributes": {"a": "b"}}
        (batch,) = batches({**base, "events": [] if event is None else [event], **message})
        return batch

    return one


@pytest.fixture
def events_batch():
    """The batch of an Events batch with one event, or with these members."""

    def one(event=None, **members):
        base = {"message_id": "m-1", "mpid": 1, "user_attributes": {"a": "b"}}
        (batch,) = batches({**base, "events": [] if event is None else [event], **members})
        return batch

    return one
