"""A post is split by user, and each part knows whose it is, what it holds and what it is called."""

import json

import pytest

from gateway.facts import iter_facts
from gateway.mparticle.decoding import decode
from gateway.mparticle.json import Oversized
from gateway.mparticle.posts import read

MPID = "-7346244611012968789"
SECRET = "test-secret"


def parts(message):
    return read(message if isinstance(message, bytes) else json.dumps(message).encode()).parts


def part(**members):
    (one,) = parts({"user_attributes": {"a": "b"}, "mpid": None, **members})
    return one


def firehose(**members):
    return part(type="event_processing_request", id="m-1", **members)


RAW = {"encoding": "raw"}


@pytest.mark.parametrize(
    ("members", "key"),
    [
        ({"mpid": MPID, "user_identities": [{"type": "customer", "value": "c", **RAW}]}, f"mpid:{MPID}"),
        ({"mpid": 0, "user_identities": [{"type": "customer", "value": "c", **RAW}]}, "customer_id:c"),
        ({"mpid": "0", "device_application_stamp": "s"}, "device:s"),
        (
            {"user_identities": [{"type": "email", "value": "Jo@X.se"}, {"type": "customer", "value": "C"}]},
            "customer_id:C",
        ),
        (
            {"user_identities": [{"type": "other", "value": "o"}, {"type": "email", "value": "Jo@X.se"}]},
            "email:jo@x.se",
        ),
        ({"user_identities": [{"type": "yahoo", "value": "y"}, {"type": "other2", "value": "o"}]}, "other_id_2:o"),
        ({"user_identities": [{"type": "email", "value": "b@x"}, {"type": "email", "value": "a@x"}]}, "email:a@x"),
        ({"user_identities": [{"type": "customer", "value": " "}], "device_application_stamp": "s"}, "device:s"),
        ({"user_identities": [{"type": "email", "encoding": "md5", "value": "9f"}]}, "email:md5:9f"),
        (
            {"user_identities": [{"type": "email", "encoding": "md5", "value": "9f"}], "device_application_stamp": "s"},
            "device:s",
        ),
        ({"device_application_stamp": "00000000-0000-0000-0000-000000000000"}, "message:m-1"),
        ({"device_application_stamp": "00000000000000000000000000000000"}, "message:m-1"),
        ({}, "message:m-1"),
    ],
)
def test_a_lane_is_named_by_the_best_that_is_known_of_the_user(members, key):
    assert firehose(**members).user_key == key


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("events-batch-inbound", ["customer_id:C-2002"]),
        ("events-batch-outbound", [f"mpid:{MPID}"]),
        ("firehose-subscription", ["audience:5150"]),
        ("firehose-erasure", ["mpid:7346244611012968789"]),
        ("opendsr-request", ["mpid:7346244611012968789"]),
        ("firehose-membership", ["mpid:7346244611012968789", "customer_id:md5:0cc175b9c0f1b6a831c399e269772661"]),
    ],
)
def test_every_kind_of_message_has_lanes(fixture, name, keys):
    assert [one.user_key for one in parts(fixture(name))] == keys


def test_a_part_is_found_by_its_message_its_events_and_its_user(fixture):
    (one,) = parts(fixture("firehose-events"))
    events = json.loads(fixture("firehose-events"))["events"]
    ids = [event[name] for event in events for name in ("id", "source_id") if name in event]
    user = (f"mpid:{MPID}", "customer_id:C-2001", "email:mara@example.com")
    assert one.refs == (one.message, "a9d0c4f2-0000-4000-8000-000000000900", *ids, *user)


def test_an_events_batch_is_found_by_all_its_ids():
    event = {"event_type": "custom_event", "data": {"event_id": -9007199254740993, "source_message_id": "s-1"}}
    one = part(message_id="m", batch_id="-12", source_request_id="r", mpid=7, events=[event])
    assert one.refs == ("m", "-12", "r", "-9007199254740993", "s-1", "mpid:7")


def test_an_erasure_is_found_by_the_request(fixture):
    (one,) = parts(fixture("firehose-erasure"))
    user = ("mpid:7346244611012968789", "customer_id:C-2001", "email:mara@example.com")
    assert one.refs == (one.message, "d2a7c1e0-0000-4000-8000-000000000042", *user)


@pytest.mark.parametrize(
    ("name", "erases"), [("firehose-erasure", True), ("opendsr-request", True), ("firehose-events", False)]
)
def test_an_erasure_is_known_for_one_before_it_is_decoded(fixture, name, erases):
    assert [one.wish is not None for one in parts(fixture(name))] == [erases]


def test_a_hashed_address_finds_nobody():
    hashed = {"type": "email", "encoding": "sha256", "value": "9f1c"}
    assert firehose(user_identities=[hashed, {"type": "email", "encoding": "raw", "value": "Jo@Example.com"}]).refs[
        -1:
    ] == ("email:jo@example.com",)


def test_a_firehose_message_posted_again_is_the_same(fixture):
    first, again = parts(fixture("firehose-membership")), parts(fixture("firehose-membership"))
    assert first == again
    assert len({one.dedupe for one in first}) == 2


def test_an_events_batch_is_recognised_by_its_message_id_and_its_user():
    first, again = part(message_id="m", mpid=1), part(message_id="m", mpid="1", user_attributes={"a": "c"})
    assert first.dedupe == again.dedupe
    assert first.dedupe != part(message_id="m", mpid=2).dedupe
    assert first.dedupe != part(message_id="n", mpid=1).dedupe


def test_batches_of_one_array_with_one_message_id_are_each_users_own():
    posted = [{"message_id": "m", "mpid": mpid, "user_attributes": {"a": "b"}} for mpid in (1, 2, 1)]
    assert [one.dedupe for one in parts(posted)] == ["m/mpid:1", "m/mpid:2", "m/mpid:1"]


def test_firehose_messages_with_one_id_are_each_users_own():
    audience = {"type": "audience_subscription_request", "id": "m-1", "audience_id": 1, "action": "add"}
    (told,) = parts(audience)
    assert [told.dedupe, firehose(mpid="9").dedupe] == ["m-1/0/audience:1", "m-1/0/mpid:9"]


@pytest.mark.parametrize("shared", [{"batch_id": 5}, {"batch_id": "5"}, {"source_request_id": "5"}])
def test_a_batch_posted_in_pieces_is_several(shared):
    pieces = [part(**shared, user_attributes={"a": number}) for number in (1, 2, 1)]
    assert [one.dedupe == pieces[0].dedupe for one in pieces] == [True, False, True]
    assert [one.message == pieces[0].message for one in pieces] == [True, False, True]
    assert all("5" in one.refs for one in pieces)


def test_of_a_batchs_ids_its_own_names_it():
    assert part(message_id="m", batch_id=5, source_request_id="r").message == "m"
    assert part(batch_id=5, source_request_id="r").message.startswith("5.")
    assert part(source_request_id="r").message.startswith("r.")


def test_an_event_whose_head_cannot_be_read_may_still_tell_of_changes():
    data = '{"user_attribute_name": "a", "new": "b"}'
    event = f'{{"event_type": "user_attribute_change", "data": 5, "data": {data}}}'
    (one,) = parts(f'{{"user_attributes": {{"a": "b"}}, "events": [{event}]}}'.encode())
    batch = decode("events", one.body, message=one.message, part=one.number)
    assert (one.facts, [change.name for change in batch.attribute_changes]) == (1, ["a"])


@pytest.mark.parametrize("message", [{}, {"type": "event_processing_request"}])
def test_what_has_no_id_is_never_taken_for_a_repetition(message):
    first, again = part(**message), part(**message)
    assert first.dedupe != again.dedupe
    assert first.message != again.message


@pytest.mark.parametrize(
    "name",
    [
        "firehose-events",
        "events-batch-outbound",
        "events-batch-inbound",
        "firehose-membership",
        "firehose-subscription",
        "firehose-erasure",
        "opendsr-request",
    ],
)
def test_a_part_counts_the_facts_that_decoding_finds(fixture, name):
    post = read(fixture(name))
    for one in post.parts:
        batch = decode(post.dialect, one.body, message=one.message, part=one.number)
        assert one.facts == len(list(iter_facts(batch))) + len(batch.quarantined) > 0


@pytest.mark.parametrize(
    ("events", "count"),
    [
        ([], 1),
        ([{"type": "user_attribute_change", "added": {"a": "b"}}], 1),
        ([{"type": "user_identity_change", "added": [{"type": "email", "value": "x@y"}]}], 2),
        ([{"type": "user_identity_change", "added": [], "removed": None}], 1),
        ([{"type": "USER_IDENTITY_CHANGE", "removed": [{"type": "email", "value": "x@y"}]}], 2),
        ([{"type": "user_identity_change", "added": 5}], 2),
        ([{"type": "user_identity_change", "added": [{"type": "email", "value": " "}]}], 1),
        ([{"type": "coffee"}, {"type": 5}, {"type": None}, None, 5, [], {"type": "custom_event", "id": []}], 8),
        ([{"type": "session_start", "timestamp_ms": []}], 2),
    ],
)
def test_odd_events_are_counted_as_they_will_be_decoded(events, count):
    one = firehose(events=events)
    batch = decode("firehose", one.body, message=one.message, part=one.number)
    assert one.facts == count == len(list(iter_facts(batch))) + len(batch.quarantined)


HOSTILE = [
    '"account": {"account_id": 5, "account_settings": {"k": "%s"}}',
    '"account": {"account_settings": {"k": "%s"}, "account_id": 5}',
    '"account": {"account_settings": {"k": "%s"}, "account_settings": {}, "account_id": 5}',
    '"account": {"account_settings": {"k": "%s"}}, "account": {"account_id": 5}',
    '"account": {"account_id": 5}, "\\u0061ccount": {"account_id": 5, "account_settings": {"k": "%s"}}',
    '"\\u0061ccount": {"account_id": 5, "\\u0061ccount_settings": {"k": "%s"}}',
    '"account"  :\\n{ "account_id" :5,"Account_Settings":{"k":"%s"} , "other":["%s"]}'.replace("\\n", "\n"),
    '"account": {"account_id": 5, "account": {"account_settings": {"k": "%s"}}}',
    '"note": "\\"account\\": {}", "account": {"account_id": 5, "account_settings": {"\\"}": "%s"}}',
]


@pytest.mark.parametrize("account", HOSTILE)
@pytest.mark.parametrize(
    "message",
    [
        '{"type": "event_processing_request", "id": "m", %s, "user_attributes": {"a": "b"}}',
        '{"type": "audience_subscription_request", "id": "m", %s, "audience_id": 1, "action": "add"}',
        '{"type": "audience_membership_change_request", "id": "m", %s, "user_profiles": [{"user_identities": '
        '[{"type": "email", "value": "x@y"}]}, {"audiences": [{"audience_id": 1, "action": "add"}]}]}',
        '{"type": "dsr_processing_request", "id": "m", %s}',
        '{"mpid": 1, %s, "user_attributes": {"a": "b"}}',
        '[{"mpid": 1, %s, "user_attributes": {"a": "b"}}]',
        '{"subject_request_id": "r", "subject_request_type": "erasure", %s}',
    ],
)
def test_no_setting_of_the_customers_reaches_the_disk(message, account):
    stored = parts((message % account.replace("%s", SECRET)).encode())
    assert stored
    for one in stored:
        assert SECRET not in one.body.decode()
        json.loads(one.body)


def test_all_but_the_settings_is_stored_as_it_was_posted():
    body = (
        b'{ "id":"m", "type" :"event_processing_request","zeta":[1.10, 1e2],'
        b'"account":{"account_id":123456789012345678901,"account_settings":{"k":"v"}},'
        b'"mpid":-9223372036854775808,"user_attributes":{"z":1,"a":{"b" : 2}} ,"alpha":"\\u00e5"}'
    )
    (one,) = parts(body)
    assert one.body == (
        b'{"id":"m","type":"event_processing_request","zeta":[1.10, 1e2],'
        b'"account":{"account_id":123456789012345678901},'
        b'"mpid":-9223372036854775808,"user_attributes":{"z":1,"a":{"b" : 2}},"alpha":"\\u00e5"}'
    )


def test_each_profile_is_stored_in_the_envelope_of_its_message():
    body = (
        b'{"user_profiles":[{"mpid":"1" ,"audiences":[{"audience_id":7,"action":"add"}]}, '
        b'{"mpid":"2","audiences":[{"audience_id":7,"action":"delete"}]}],"type":"audience_membership_change_request","id":"m"}'
    )
    first, second = parts(body)
    assert first.body == (
        b'{"type":"audience_membership_change_request","id":"m",'
        b'"user_profiles":[{"mpid":"1" ,"audiences":[{"audience_id":7,"action":"add"}]}]}'
    )
    assert (first.number, second.number, first.message, second.message) == (0, 1, "m", "m")


def test_of_an_envelope_only_what_decoding_needs_is_stored_with_each_profile():
    profile = {"mpid": "1", "audiences": [{"audience_id": 7, "action": "add"}]}
    message = {"type": "audience_membership_change_request", "id": "m", "more": "x" * 100_000}
    stored = parts({**message, "user_profiles": [profile] * 1000})
    assert len(stored) == 1000
    assert json.loads(stored[0].body) == {"type": message["type"], "id": "m", "user_profiles": [profile]}


def test_a_post_that_would_take_far_more_room_than_it_has_is_too_much():
    profile = {"audiences": [{"audience_id": 7, "action": "add"}]}
    message = {"type": "audience_membership_change_request", "id": "m" * 1000}
    assert len(parts({**message, "user_profiles": [profile] * 400})) == 400
    with pytest.raises(Oversized):
        parts({**message, "id": "m" * 4000, "user_profiles": [profile] * 10_000})


def test_a_profile_that_names_nobody_is_no_part_and_moves_no_other():
    said = {"mpid": "2", "audiences": [{"audience_id": 7, "action": "add"}]}
    (one,) = parts({"type": "audience_membership_change_request", "id": "m", "user_profiles": [{}, said]})
    assert (one.number, one.dedupe) == (1, "m/1/mpid:2")


GIVEN = {"consented": True, "timestamp_unixtime_ms": 1}
WITHDRAWN = {
    "type": "gdpr_consent_state",
    "purpose": "Email",
    "old_gdpr_consent_state": GIVEN,
    "new_gdpr_consent_state": {**GIVEN, "consented": False},
}
FIREHOSE = {"type": "event_processing_request", "id": "m-1", "mpid": MPID, "events": []}
BATCH = {"mpid": MPID, "message_id": "m-1", "events": []}
DEVICE_ID = [{"type": "ios_vendor_id", "encoding": "raw", "value": "v-1"}]


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (FIREHOSE, [("message", "")]),
        (BATCH, [("message", "")]),
        ({**FIREHOSE, "integration_attributes": {"a.b": "c"}}, [("message", "")]),
        ({**FIREHOSE, "consent_state": {"gdpr": {"Email": GIVEN}}}, [("consent", "on_consent")]),
        ({**BATCH, "consent_state": {"gdpr": {"Email": GIVEN}}}, [("consent", "on_consent")]),
        ({**FIREHOSE, "system_notifications": [WITHDRAWN]}, [("consent", "on_consent")]),
        ({**FIREHOSE, "partner_identities": DEVICE_ID}, [("identities", "on_identity")]),
        (
            {**FIREHOSE, "runtime_environment": {"type": "ios", "identities": DEVICE_ID}},
            [("identities", "on_identity")],
        ),
        ({**FIREHOSE, "mpid": None}, []),
        ({**BATCH, "mpid": None}, []),
    ],
)
def test_a_message_that_names_a_user_has_a_fact_whatever_else_it_holds(message, told):
    stored = parts(message)
    dialect = "firehose" if "type" in message else "events"
    facts = [fact for one in stored for fact in iter_facts(decode(dialect, one.body, message="m-1", part=0))]
    assert [(fact.id, fact.hook) for fact in facts] == told
    assert sum(one.facts for one in stored) == len(told)


def test_a_consent_change_is_a_fact_beside_the_others():
    (one,) = parts({**FIREHOSE, "user_attributes": {"a": "b"}, "system_notifications": [WITHDRAWN]})
    facts = list(iter_facts(decode("firehose", one.body, message="m-1", part=0)))
    assert ([fact.id for fact in facts], one.facts) == (["attributes", "consent"], 2)
    (change,) = facts[1].arguments["changes"]
    assert (change.purpose, change.old.consented, change.new.consented) == ("Email", True, False)
