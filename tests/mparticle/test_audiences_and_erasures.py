"""Audiences connected, users entering and leaving them, and users to be forgotten."""

import json

import pytest

from gateway.mparticle.decoding import decode
from gateway.mparticle.posts import read
from gateway.sdk import Audience, AudienceAttribute, Batch, Device, Erasure, Identity, Membership, Quarantined, User

T = 1718000000000
MEMBERSHIP = "3f2b6c1e-0000-4000-8000-000000000902"


def test_an_audience_is_connected(decoded, fixture):
    (batch,) = decoded(fixture("firehose-subscription"))
    assert batch.audience == Audience(
        id="5150",
        name="Regulars",
        action="update",
        description="Ten visits a month",
        settings={"list": "regulars"},
        previous_settings={"list": "old"},
    )


def test_users_enter_and_leave_audiences(decoded, fixture):
    first, second = decoded(fixture("firehose-membership"))
    envelope = {"id": MEMBERSHIP, "dialect": "firehose", "received_ms": T, "account_id": "48151"}
    assert first == Batch(
        **envelope,
        user=User(
            mpid="7346244611012968789",
            identities=(
                Identity(type="email", value="mara@example.com"),
                Identity(type="email", value="9f1c", encoding="sha256"),
            ),
            partner_identities=(Identity(type="Kaffeboden_card", value="77"),),
        ),
        device=Device(
            identities=(Identity(type="android_advertising_id", value="38400000-8cf0-11bd-b23e-10b96e40000d"),)
        ),
        memberships=(
            Membership(
                audience_id="5150",
                audience_name="Regulars",
                action="add",
                settings={"list": "regulars"},
                attributes=(
                    AudienceAttribute(name="visits", value="12"),
                    AudienceAttribute(name="stores", value=["Söder"]),
                    AudienceAttribute(name="vip"),
                    AudienceAttribute(name="trial_member", removed=True),
                ),
            ),
            Membership(audience_id="5151", audience_name="Lapsed", action="delete"),
            Membership(
                audience_id="5152",
                audience_name="Tea",
                action="attribute_update",
                attributes=(AudienceAttribute(name="favourite_drink", value="Chai"),),
            ),
        ),
    )
    assert second == Batch(
        **envelope,
        part=1,
        user=User(identities=(Identity(type="customer_id", value="0cc175b9c0f1b6a831c399e269772661", encoding="md5"),)),
        memberships=(
            Membership(audience_id="5150", audience_name="Regulars", action="add"),
            Membership(audience_id="5151", audience_name="Lapsed", action="delete"),
        ),
    )


@pytest.mark.parametrize(
    ("profile", "problem"),
    [
        (5, "user_profiles[1]: expected an object, got integer"),
        ({"mpid": []}, "user_profiles[1].mpid: expected an integer, got array"),
        ({"audiences": [{"action": "add"}]}, "user_profiles[1].audiences[0].audience_id: missing"),
        ({"audiences": [{"audience_id": 1}]}, "user_profiles[1].audiences[0].action: missing"),
    ],
)
def test_a_profile_that_cannot_be_read_spoils_no_other(decoded, profile, problem):
    good = {"mpid": "1", "audiences": [{"audience_id": 1, "audience_name": "A", "action": "add"}]}
    message = {"type": "audience_membership_change_request", "id": "m", "user_profiles": [good, profile, good]}
    first, odd, last = decoded(message)
    assert odd.quarantined == (Quarantined(id="m:1", type="user_profile", problem=problem),)
    assert first.memberships == last.memberships == (Membership(audience_id="1", audience_name="A", action="add"),)


def test_firehose_forwards_an_erasure(decoded, fixture):
    (batch,) = decoded(fixture("firehose-erasure"))
    assert batch.erasure == Erasure(
        request_id="d2a7c1e0-0000-4000-8000-000000000042",
        regulation="gdpr",
        submitted_ms=1717999999988,
        api_version="3.0",
        skips_waiting_period=True,
    )
    assert batch.user == User(
        mpid="7346244611012968789",
        identities=(
            Identity(type="customer_id", value="C-2001"),
            Identity(type="email", value="mara@example.com"),
            Identity(type="other_id_6", value="card-77"),
        ),
    )
    assert batch.device.identities == (
        Identity(type="ios_idfv", value="0a7b9c3d-1111-4222-8333-222222222222"),
        Identity(type="roku_publisher_id", value="roku-1"),
    )


def test_an_opendsr_request_is_an_erasure_too(decoded, fixture):
    (batch,) = decoded(fixture("opendsr-request"))
    assert (batch.id, batch.dialect) == ("d2a7c1e0-0000-4000-8000-000000000043", "opendsr")
    assert batch.erasure == Erasure(
        request_id="d2a7c1e0-0000-4000-8000-000000000043",
        regulation="ccpa",
        submitted_ms=1717999999987,
        api_version="2.0",
        callback_urls=("https://kaffeboden.example/opendsr",),
    )
    assert batch.user == User(
        mpid="7346244611012968789",
        identities=(
            Identity(type="email", value="mara@example.com"),
            Identity(type="other", value="card-77"),
            Identity(type="mpid", value="-5"),
        ),
    )
    assert batch.device.identities == (Identity(type="android_uuid", value="a0504a8c"),)


@pytest.mark.parametrize(
    ("identities", "expected"),
    [
        ({"email": {"encoding": "raw", "value": "a@x"}}, (Identity(type="email", value="a@x"),)),
        ({"email": "a@x", "other": None}, (Identity(type="email", value="a@x"),)),
        (
            [{"identity_type": "email", "identity_value": "9f", "identity_format": "sha-256"}],
            (Identity(type="email", value="9f", encoding="sha256"),),
        ),
        (None, ()),
    ],
)
def test_subjects_come_in_two_shapes(decoded, identities, expected):
    message = {"subject_request_id": "r", "subject_request_type": "erasure", "subject_identities": identities}
    (batch,) = decoded(message)
    assert batch.user.identities == expected


@pytest.mark.parametrize(
    ("submitted", "expected"),
    [
        ("2018-10-02T15:00:00Z", 1538492400000),
        ("2018-10-02T17:00:00+02:00", 1538492400000),
        ("2018-10-02T15:00:00.1234567", 1538492400123),
        (1538492400, 1538492400000),
        (1538492400.5, 1538492400500),
        ("2018 10 02", None),
        (1e308, None),
        ([], None),
        (None, None),
    ],
)
def test_no_erasure_fails_for_its_time(decoded, submitted, expected):
    (batch,) = decoded({"type": "dsr_processing_request", "subject_request_id": "r", "submitted_time": submitted})
    assert batch.erasure == Erasure(request_id="r", submitted_ms=expected)


def test_an_erasure_without_a_request_id_goes_by_its_message(decoded):
    (batch,) = decoded({"type": "dsr_processing_request", "id": "m", "subject_request_type": None})
    assert batch.erasure == Erasure(request_id="m")


def test_an_erasure_says_its_group(decoded):
    posted = {"type": "dsr_processing_request", "id": "m-1", "mpid": "7", "group_id": "g-1"}
    (batch,) = decoded(posted)
    assert batch.erasure == Erasure(request_id="m-1", group_id="g-1")


@pytest.mark.parametrize("odd", [{"group_id": {}}, {"status_callback_urls": "x"}, {"status_callback_urls": [{"a": 1}]}])
def test_an_erasure_is_read_whatever_else_of_it_cannot_be(decoded, odd):
    (batch,) = decoded({"type": "dsr_processing_request", "id": "m-1", "mpid": "7", **odd})
    assert (batch.erasure, len(batch.quarantined)) == (Erasure(request_id="m-1"), 1)


def test_an_erasure_is_one_fact_whatever_else_is_known(fixture):
    message = {**json.loads(fixture("firehose-erasure")), "user_attributes": {"a": "b"}, "events": [{"type": "x"}]}
    (part,) = read(json.dumps(message).encode()).parts
    assert part.facts == 1


def test_an_action_remove_is_a_delete():
    """A subscription is removed, a membership deleted; a sender that says one for the other is understood."""
    attributes = [{"key": "vip", "action": "remove"}]
    posted = {"audience_id": 1, "audience_name": "A", "action": "remove", "user_attributes": attributes}
    message = {"type": "audience_membership_change_request", "id": "m", "user_profiles": [{"mpid": "1"}]}
    message["user_profiles"][0]["audiences"] = [posted]
    (part,) = read(json.dumps(message).encode()).parts
    (membership,) = decode("firehose", part.body, message="m", part=0).memberships
    assert (membership.action, [one.removed for one in membership.attributes]) == ("delete", [True])
