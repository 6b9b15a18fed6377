"""What is wrong in a part of a message that addresses nobody is set aside; the rest is as if it were not there."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.facts import iter_facts
from gateway.mparticle.decoding import decode
from gateway.mparticle.posts import Malformed, read
from gateway.sdk import Identity, Membership, Quarantined

FIREHOSE = {
    "type": "event_processing_request",
    "id": "m-1",
    "timestamp_ms": 1_714_565_696_789,
    "mpid": "42",
    "events": [{"type": "custom_event", "id": "e", "name": "Signup"}],
}
BATCH = {
    "message_id": "m-1",
    "mpid": 42,
    "timestamp_unixtime_ms": 1_714_565_696_789,
    "events": [{"event_type": "custom_event", "data": {"event_id": 7, "event_name": "Signup"}}],
}
HUGE = "1e400"


def one(message):
    """The batch of a message, read and decoded; ``1e400`` in it is that number, which JSON may hold."""
    post = read(json.dumps(message).replace(f'"{HUGE}"', HUGE).encode())
    (part,) = post.parts
    batch = decode(post.dialect, part.body, message=part.message, part=part.number)
    found = len(list(iter_facts(batch))) + len(batch.quarantined)
    late = sum("out of range" in each.problem for each in batch.quarantined)  # need not be seen before decoding
    assert found - late <= part.facts <= found
    return batch


def odd(id, problem):
    """A part of a message that was set aside."""
    return Quarantined(id=id, type="message", problem=problem)


def without(message, path):
    """The message without what lies at a path."""
    message = json.loads(json.dumps(message))
    *outer, last = path
    inner = message
    for step in outer:
        inner = inner[step]
    del inner[last]
    return message


@pytest.mark.parametrize(
    ("base", "odd", "path", "problem"),
    [
        (FIREHOSE, {"timestamp_ms": "soon"}, ["timestamp_ms"], "timestamp_ms: expected a time, got string"),
        (FIREHOSE, {"timestamp_ms": HUGE}, ["timestamp_ms"], "timestamp_ms: a number out of range"),
        (FIREHOSE, {"account": "secret"}, ["account"], "account: expected an object, got string"),
        (
            FIREHOSE,
            {"account": {"account_id": ["secret"]}},
            ["account", "account_id"],
            "account.account_id: expected an integer, got array",
        ),
        (FIREHOSE, {"source_id": {}}, ["source_id"], "source_id: expected a string, got object"),
        (
            FIREHOSE,
            {"platform_fields": {"dataplan_id": "p", "dataplan_version": "v2"}},
            ["platform_fields", "dataplan_version"],
            "platform_fields.dataplan_version: expected an integer, got string",
        ),
        (
            FIREHOSE,
            {"runtime_environment": {"type": "ios", "is_debug": "yes", "name": "iPhone"}},
            ["runtime_environment", "is_debug"],
            "runtime_environment.is_debug: expected a boolean, got string",
        ),
        (
            FIREHOSE,
            {"runtime_environment": {"type": "ios", "identities": [{"value": "x"}, {"type": "y", "value": "z"}]}},
            ["runtime_environment", "identities", 0],
            "runtime_environment.identities[0].type: missing",
        ),
        (FIREHOSE, {"device_application_stamp": []}, ["device_application_stamp"], ": expected a string, got array"),
        (
            FIREHOSE,
            {"user_identities": {"a": 1}},
            ["user_identities"],
            "user_identities: expected an array, got object",
        ),
        (
            FIREHOSE,
            {"user_identities": [{"type": "customer", "value": "c"}, {"value": "x"}, {"type": "email", "value": "y"}]},
            ["user_identities", 1],
            "user_identities[1].type: missing",
        ),
        (
            FIREHOSE,
            {"user_identities": [{"type": "customer", "encoding": [], "value": "9f1c"}]},
            ["user_identities", 0],
            "user_identities[0].encoding: expected a string, got array",
        ),
        (FIREHOSE, {"user_attributes": [1]}, ["user_attributes"], "user_attributes: expected an object, got array"),
        (
            FIREHOSE,
            {"user_attributes": {"a": "b", "c": HUGE, "d": 1.5}},
            ["user_attributes", "c"],
            "user_attributes[...]: a number out of range",
        ),
        (
            FIREHOSE,
            {"user_attribute_lists": {"a": ["b"], "c": [1, HUGE]}},
            ["user_attribute_lists", "c"],
            "user_attribute_lists[...][1]: a number out of range",
        ),
        (
            FIREHOSE,
            {"consent_state": {"gdpr_consent_state": {"ads": {"consented": "maybe"}, "mail": {"consented": True}}}},
            ["consent_state", "gdpr_consent_state", "ads"],
            "consent_state.gdpr_consent_state[...].consented: expected a boolean, got string",
        ),
        (FIREHOSE, {"system_notifications": {"a": 1}}, ["system_notifications"], ": expected an array, got object"),
        (FIREHOSE, {"integration_attributes": [1]}, ["integration_attributes"], ": expected an object, got array"),
        (FIREHOSE, {"never heard of": [{"a": HUGE}]}, ["never heard of"], "[...][0][...]: a number out of range"),
        (BATCH, {"timestamp_unixtime_ms": []}, ["timestamp_unixtime_ms"], ": expected a time, got array"),
        (BATCH, {"device_info": ""}, ["device_info"], "device_info: expected an object, got string"),
        (BATCH, {"source_info": "partner"}, ["source_info"], "source_info: expected an object, got string"),
        (
            BATCH,
            {"context": {"data_plan": {"plan_id": "p", "plan_version": "x"}, "location": {"country_code": "SE"}}},
            ["context", "data_plan", "plan_version"],
            "context.data_plan.plan_version: expected an integer, got string",
        ),
        (
            BATCH,
            {"user_identities": {"email": ["x@y"], "customer_id": "c"}},
            ["user_identities", "email"],
            "user_identities[...]: expected a string, got array",
        ),
        (BATCH, {"deleted_user_attributes": "a"}, ["deleted_user_attributes"], ": expected an array, got string"),
        (BATCH, {"attribution_info": [1]}, ["attribution_info"], ": expected an object, got array"),
        (
            BATCH,
            {"consent_state": {"ccpa": True, "gdpr": {"ads": {"consented": True}}}},
            ["consent_state", "ccpa"],
            "consent_state.ccpa: expected an object, got boolean",
        ),
        (BATCH, {"application_info": {"os": 5, "package": {}}}, ["application_info", "package"], ": expected a string"),
    ],
)
def test_a_part_that_is_wrong_is_read_as_absent_and_told_of(base, odd, path, problem):
    batch = one({**base, **odd})
    (quarantined,) = batch.quarantined
    assert replace(batch, quarantined=()) == one(without({**base, **odd}, path))
    assert problem in quarantined.problem
    assert quarantined.id.startswith("m-1:")
    assert "secret" not in quarantined.problem


def test_each_part_set_aside_has_a_name_of_its_own():
    wrong = {"timestamp_ms": [], "user_attributes": {"a": HUGE, "b": HUGE, "c": 1}, "user_identities": [5]}
    assert one({**FIREHOSE, **wrong}).quarantined == (
        odd("m-1:user_attributes[...]", "user_attributes[...]: a number out of range"),
        odd("m-1:user_attributes[...]#2", "user_attributes[...]: a number out of range"),
        odd("m-1:timestamp_ms", "timestamp_ms: expected a time, got array"),
        odd("m-1:user_identities[0]", "user_identities[0]: expected an object, got integer"),
    )


@given(st.integers(0, 60), st.integers(0, 60))
def test_many_wrong_values_cost_the_members_in_which_they_lie(identities, attributes):
    good = {"type": "customer", "value": "c"}
    batch = one(
        {
            **FIREHOSE,
            "user_identities": [*([{}] * identities), good],
            "user_attributes": {"good": 1, **{str(number): HUGE for number in range(attributes)}},
        }
    )
    assert len(batch.quarantined) <= 12
    if identities + attributes <= 10:
        assert len(batch.quarantined) == identities + attributes
        assert (batch.user.identities, batch.user.attributes) == (
            (Identity(type="customer_id", value="c"),),
            {"good": 1},
        )


def test_a_message_that_is_wrong_all_over_is_refused():
    wrong = {f"x{number}": HUGE for number in range(50)}
    with pytest.raises(Malformed, match="a number out of range"):
        one({**BATCH, **wrong})


def test_one_that_is_accepted_unseen_is_kept_whole_and_told_of():
    batch = one({**FIREHOSE, **{f"x{number}": HUGE for number in range(50)}})
    assert batch.quarantined == (Quarantined(id="m-1", problem="x20: a number out of range"),)


def test_a_message_of_which_nothing_is_left_is_refused():
    message = {**FIREHOSE, "events": []}
    assert one({**message, "user_identities": [{}], "user_attributes": {"a": 1}}).quarantined
    with pytest.raises(Malformed) as refused:
        one({**message, "user_identities": [{}]})
    assert (refused.value.problem, refused.value.where) == ("missing", "$.user_identities[0].type")


def test_a_wrong_part_of_a_profile_costs_nothing_else_of_it():
    good = {"audience_id": 1, "audience_name": "A", "action": "add"}
    profile = {"mpid": "1", "user_identities": [{}], "audiences": [{"audience_name": "no id"}, good]}
    message = {
        "type": "audience_membership_change_request",
        "id": "m-1",
        "timestamp_ms": [],
        "user_profiles": [profile],
    }
    batch = one(message)
    assert batch.memberships == (Membership(audience_id="1", audience_name="A", action="add"),)
    where = "user_profiles[0].user_identities[0]", "user_profiles[0].audiences[0]"
    assert batch.quarantined == (
        odd("m-1:timestamp_ms", "timestamp_ms: expected a time, got array"),
        odd(f"m-1:{where[0]}", f"{where[0]}.type: missing"),
        odd(f"m-1:{where[1]}", f"{where[1]}.audience_id: missing"),
    )


def test_an_erasure_is_of_the_identities_that_can_be_read():
    message = {"type": "dsr_processing_request", "id": "m-1", "subject_request_id": "r", "timestamp_ms": "soon"}
    subject = {"email": {"value": "x@y"}, "controller_customer_id": {"value": []}}
    batch = one(
        {**message, "subject_identities": subject, "extensions": {"opendsr.mparticle.com": {"mpids": [7, [1]]}}}
    )
    assert (batch.user.mpid, batch.user.identities) == ("7", (Identity(type="email", value="x@y"),))
    assert [one.problem for one in batch.quarantined] == [
        "timestamp_ms: expected a time, got string",
        "extensions.opendsr.mparticle.com.mpids[1]: expected a string, got array",
        "subject_identities[...].value: expected a string, got array",
    ]


@pytest.mark.parametrize(
    "time",
    [
        1_714_565_696_789,
        1_714_565_696_789.5,
        "1714565696789",
        " 1714565696789.0 ",
        "1714565696789.25",
        "2024-05-01T12:14:56.789Z",
        "2024-05-01T14:14:56.789+02:00",
        "2024-05-01 12:14:56.789",
    ],
)
def test_a_time_is_understood_however_it_is_spelled(time):
    events = [{**FIREHOSE["events"][0], "timestamp_ms": time}]
    batch = one({**FIREHOSE, "timestamp_ms": time, "events": events})
    assert (batch.received_ms, batch.events[0].time_ms, batch.quarantined) == (1_714_565_696_789, 1_714_565_696_789, ())


def test_an_integer_may_have_a_fraction_of_zero():
    batch = one({**FIREHOSE, "platform_fields": {"dataplan_version": "1.0"}})
    assert (batch.data_plan.version, batch.quarantined) == (1, ())


def test_a_byte_order_mark_is_passed_over():
    plain = json.dumps(FIREHOSE).encode()
    assert read(b"\xef\xbb\xbf" + plain) == read(plain)
