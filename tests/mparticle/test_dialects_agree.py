"""The same facts, said in both dialects, are the same facts."""

import pytest
from msgspec.structs import replace

from gateway.sdk import App, Device, Identity, Workspace


@pytest.fixture
def said(decoded, fixture):
    (firehose,) = decoded(fixture("firehose-events"))
    (events,) = decoded(fixture("events-batch-outbound"))
    return firehose, events


def bare(identity):
    """An identity without what Firehose cannot say: since when it is known."""
    return identity and Identity(type=identity.type, value=identity.value, encoding=identity.encoding)


def spoken(event):
    """An event without what one of the dialects cannot say."""
    return replace(event, id="", session_uuid=None, details={})


def common(batch):
    """A batch without what one of the dialects cannot say."""
    return replace(
        batch,
        id="",
        dialect="",
        account_id=None,
        workspace=Workspace(),
        data_plan=replace(batch.data_plan, name=None),
        device=replace(batch.device, is_debug=None, details={}),
        app=replace(batch.app, details={}),
        integration_attributes={},
        attribution={},
        user=replace(batch.user, identities=tuple(map(bare, batch.user.identities))),
        events=tuple(map(spoken, batch.events)),
        attribute_changes=tuple(
            replace(change, is_new=None, event=spoken(change.event)) for change in batch.attribute_changes
        ),
        identity_changes=tuple(
            replace(change, old=bare(change.old), new=bare(change.new), event=spoken(change.event))
            for change in batch.identity_changes
        ),
        **dict.fromkeys(("batch_id", "unique_id", "job_id", "origin_mpid")),
    )


def test_both_dialects_say_the_same(said):
    firehose, events = said
    assert common(firehose) == common(events)


def test_what_is_compared_is_not_empty(said):
    batch = common(said[0])
    assert (batch.device, batch.app) != (Device(), App())
    assert (len(batch.events), len(batch.user.identities), len(batch.consent_changes)) == (15, 4, 2)
