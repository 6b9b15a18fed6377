"""What arrives at the endpoint is told apart, or refused with a word on where it is wrong."""

import json

import pytest

from gateway.mparticle.decoding import decode
from gateway.mparticle.posts import Malformed, read
from gateway.sdk import Quarantined

KINDS = {
    "firehose-events": ("event_processing_request", "firehose", 1),
    "firehose-events-ping": ("event_processing_request", "firehose", 0),
    "firehose-membership": ("audience_membership_change_request", "firehose", 2),
    "firehose-membership-ping": ("audience_membership_change_request", "firehose", 0),
    "firehose-subscription": ("audience_subscription_request", "firehose", 1),
    "firehose-erasure": ("dsr_processing_request", "firehose", 1),
    "firehose-registration": ("module_registration_request", "firehose", 0),
    "events-batch-outbound": ("events", "events", 1),
    "events-batch-inbound": ("events", "events", 1),
    "opendsr-request": ("opendsr_request", "opendsr", 1),
    "opendsr-callback": ("opendsr_callback", "opendsr", 0),
    "alias": ("alias", "alias", 1),
}

EVENTS = '{"type": "event_processing_request", "id": "m", %s}'
BATCH = '{"mpid": 1, %s}'


@pytest.mark.parametrize(("name", "expected"), KINDS.items())
def test_a_message_is_told_by_its_marks(fixture, name, expected):
    post = read(fixture(name))
    assert (post.kind, post.dialect, len(post.parts)) == expected


@pytest.mark.parametrize(
    ("body", "kind", "parts"),
    [
        (b"{}", "nothing", 0),
        (b" {\n} ", "nothing", 0),
        (b"[]", "events", 0),
        (b'{"events": null}', "events", 0),
        (b'{"events": []}', "events", 0),
        (b'[{"mpid": 1, "user_attributes": {"a": 1}}, {"mpid": 2, "user_attributes": {"a": 1}}]', "events", 2),
        (b'[{}, {"mpid": 2, "user_attributes": {"a": 1}}]', "events", 1),
        (b'{"type": "event_processing_request", "events": null}', "event_processing_request", 0),
        (b'{"type": "audience_membership_change_request"}', "audience_membership_change_request", 0),
        (
            b'{"type": "audience_membership_change_request", "user_profiles": []}',
            "audience_membership_change_request",
            0,
        ),
        (b'{"type": "sale", "mpid": 1, "user_attributes": {"a": 1}}', "events", 1),
        (b'{"type": ["sale"], "mpid": 1, "user_attributes": {"a": 1}}', "events", 1),
    ],
)
def test_what_keeps_a_connection_alive_is_accepted(body, kind, parts):
    post = read(body)
    assert (post.kind, len(post.parts)) == (kind, parts)


@pytest.mark.parametrize(
    ("body", "problem", "where"),
    [
        ("", "the body is empty", "byte 0"),
        (" \n\t", "the body is empty", "byte 0"),
        ("5", "expected an object or an array, got number", "$"),
        ("null", "expected an object or an array, got null", "$"),
        ('"{}"', "expected an object or an array, got string", "$"),
        ('{"a": 1', "not JSON: it ends too early", "line 1, column 8"),
        ('{"a": NaN}', "not JSON: invalid character", "line 1, column 7"),
        ('{\n  "a": 1,\n}', "not JSON: trailing comma in object", "line 3, column 1"),
        ('{"a": "\\x"}', "not JSON: invalid escaped character", "line 1, column 9"),
        ('{"mpid": 1} {"mpid": 2}', "JSON lines: two documents in one body", "line 1, column 13"),
        ('{"mpid": 1}\n{"mpid": 2}\n', "JSON lines: two documents in one body", "line 2, column 1"),
        ('{"mpid": 1}}', "not JSON: something follows the document", "line 1, column 12"),
        ("[[1]]", "expected an object, got array", "$[0]"),
        ('{"mpid": 1e999}', "a number out of range", "$.mpid"),
        ('{"mpid": 1, "a b": 1e999}', "a number out of range", "$[...]"),
    ],
)
def test_what_is_no_document_is_refused_with_its_place(body, problem, where):
    with pytest.raises(Malformed) as refused:
        read(body.encode())
    assert (refused.value.problem, refused.value.where) == (problem, where)


def test_what_is_not_utf_8_is_refused():
    with pytest.raises(Malformed) as refused:
        read(b'{"mpid": 1, "a": "\xff"}')
    assert (refused.value.problem, refused.value.where) == ("not UTF-8", "byte 18")


@pytest.mark.parametrize(
    ("body", "problem", "where"),
    [
        (
            '{"type": "event_processing_response"}',
            "event_processing_response is an answer, no message to a receiver",
            "$.type",
        ),
        ('{"type": "coffee_request"}', "no type of Firehose message", "$.type"),
        ('{"Records": [], "a b": 1}', "none of mParticle's formats: an object with Records", "$"),
        ('{"a b": 1}', "none of mParticle's formats: an object with other members", "$"),
        ('[{"controller_id": 1}]', "none of mParticle's formats: an object with controller_id", "$[0]"),
        ('[{"type": "event_processing_request"}]', "a Firehose message cannot be part of an array", "$[0]"),
        ('{"subject_request_id": "r", "subject_request_type": null}', "missing", "$.subject_request_type"),
        (
            '{"subject_request_id": "r", "subject_request_type": "access"}',
            "only erasures are accepted, no requests for access or portability",
            "$.subject_request_type",
        ),
        (
            '{"type": "dsr_processing_request", "subject_request_type": "portability"}',
            "only erasures are accepted, no requests for access or portability",
            "$.subject_request_type",
        ),
        (EVENTS % '"events": {"a": 1}', "expected an array, got object", "$.events"),
        (EVENTS % '"events": 1e999', "expected an array, got number", "$.events"),
        (EVENTS % '"account": 5', "expected an object, got integer", "$.account"),
        (EVENTS % '"account": {"account_id": {}}', "expected an integer, got object", "$.account.account_id"),
        (EVENTS % '"mpid": true', "expected an integer, got boolean", "$.mpid"),
        (EVENTS % '"timestamp_ms": "soon"', "expected a time, got string", "$.timestamp_ms"),
        (EVENTS % '"user_identities": {"a": 1}', "expected an array, got object", "$.user_identities"),
        (EVENTS % '"user_identities": [null, 5]', "expected an object, got integer", "$.user_identities[1]"),
        (EVENTS % '"user_identities": [{"value": "x"}]', "missing", "$.user_identities[0].type"),
        (
            EVENTS % '"user_identities": [{"type": "email", "value": []}]',
            "expected a string, got array",
            "$.user_identities[0].value",
        ),
        (EVENTS % '"user_attributes": [1]', "expected an object, got array", "$.user_attributes"),
        (
            EVENTS % '"runtime_environment": {"is_debug": "perhaps"}',
            "expected a boolean, got string",
            "$.runtime_environment.is_debug",
        ),
        (
            EVENTS % '"consent_state": {"gdpr_consent_state": {"ads": {"consented": true, "document": {}}}}',
            "expected a string, got object",
            "$.consent_state.gdpr_consent_state[...].document",
        ),
        (
            EVENTS % '"platform_fields": {"dataplan_version": 1.5}',
            "expected an integer, got number",
            "$.platform_fields.dataplan_version",
        ),
        (
            BATCH % '"consent_state": {"gdpr": {"ads": 5}}',
            "expected an object, got integer",
            "$.consent_state.gdpr[...]",
        ),
        (
            '{"type": "dsr_processing_request", "subject_identities": "x"}',
            "expected an object or an array, got string",
            "$.subject_identities",
        ),
        (BATCH % '"events": "x"', "expected an array, got string", "$.events"),
        (BATCH % '"user_identities": "x"', "expected an object or an array, got string", "$.user_identities"),
        (BATCH % '"user_identities": {"email": ["x"]}', "expected a string, got array", "$.user_identities[...]"),
        (BATCH % '"user_identities": [{"identity": "x"}]', "missing", "$.user_identities[0].identity_type"),
        (BATCH % '"device_info": {"push_token": {}}', "expected a string, got object", "$.device_info.push_token"),
        (
            BATCH % '"context": {"data_plan": {"plan_version": "x"}}',
            "expected an integer, got string",
            "$.context.data_plan.plan_version",
        ),
        ('[{"mpid": 1, "user_attributes": 5}]', "expected an object, got integer", "$[0].user_attributes"),
        (
            '{"type": "audience_subscription_request", "audience_id": 1}',
            "missing",
            "$.action",
        ),
        (
            '{"type": "audience_membership_change_request", "user_profiles": {"a": 1}}',
            "expected an array, got object",
            "$.user_profiles",
        ),
    ],
)
def test_what_is_wrong_in_a_message_is_named_with_its_path(body, problem, where):
    with pytest.raises(Malformed) as refused:
        read(body.encode())
    assert (refused.value.problem, refused.value.where) == (problem, where)


MIXED = [
    {"message_id": "m-1", "mpid": 1, "events": [{"event_type": "custom_event", "data": {"event_name": "a"}}]},
    {"message_id": "m-2", "mpid": 2, "user_attributes": 5},
    {"type": "event_processing_request", "account": {"account_settings": {"apiKey": "hush-hush"}}},
    7,
    {"message_id": "m-5", "mpid": 5, "user_attributes": {"a": 1}},
]


def test_a_batch_that_cannot_be_read_is_set_aside_and_those_beside_it_are_taken():
    post = read(json.dumps(MIXED).encode())
    decoded = [decode("events", one.body, message=one.message, part=one.number) for one in post.parts]
    assert (post.accepted, [batch.part for batch in decoded]) == (("m-1", "m-5"), [0, 4, 0])
    assert [[one.problem for one in batch.quarantined] for batch in decoded] == [
        [],
        [],
        [
            "$[1].user_attributes: expected an object, got integer",
            "$[2]: a Firehose message cannot be part of an array",
            "$[3]: expected an object, got number",
        ],
    ]
    (*_, aside) = post.parts
    assert (aside.facts, len({one.id for one in decoded[-1].quarantined})) == (3, 3)
    assert json.loads(aside.body)[1] == [MIXED[1], {**MIXED[2], "account": {}}, 7]


def test_of_many_batches_that_cannot_be_read_the_first_are_told_of_and_all_are_kept():
    posted = [MIXED[0], *range(500)]
    good, aside = read(json.dumps(posted).encode()).parts
    batch = decode("events", aside.body, message=aside.message, part=aside.number)
    told = [f"$[{place}]: expected an object, got number" for place in range(1, 21)]
    assert [one.problem for one in batch.quarantined] == [*told, "$: 480 more that cannot be read"]
    assert (good.message, aside.facts, json.loads(aside.body)[1]) == ("m-1", 21, list(range(500)))


def nested(levels):
    return b'{"mpid": 1, "user_attributes": {"a": ' + b"[" * (levels - 2) + b"]" * (levels - 2) + b"}}"


@pytest.mark.parametrize(("levels", "refused"), [(64, False), (65, True), (5000, True), (100_000, True)])
def test_deep_nesting_is_refused(levels, refused):
    if refused:
        with pytest.raises(Malformed, match="nested more than 64 levels deep"):
            read(nested(levels))
    else:
        assert read(nested(levels)).parts


@pytest.mark.parametrize(
    "text",
    ["[" * 200, "]" * 200, '\\"' + "[{" * 100, "[]" * 200, '"'.replace('"', "\\\\") + "{" * 200],
    ids=["openers", "closers", "after a quote", "pairs", "after a backslash"],
)
def test_brackets_inside_strings_are_not_nesting(text):
    assert read(f'{{"mpid": 1, "user_attributes": {{"a": "{text}", "b": "]", "c": "x\\ny"}}}}'.encode()).parts


def test_brackets_inside_strings_cannot_hide_nesting():
    hiding = '["]",' * 5000 + "1" + ',"["]' * 5000
    with pytest.raises(Malformed, match="nested"):
        read(f'{{"mpid": 1, "user_attributes": {{"a": {hiding}}}}}'.encode())


@pytest.mark.parametrize("body", [b"[" * 5000, b"[" * 5000 + b'"', b'{"a": ' * 5000 + b"x"])
def test_deep_nonsense_is_refused_too(body):
    with pytest.raises(Malformed):
        read(body)


@pytest.mark.parametrize(
    ("escaped", "expected"),
    [
        (r"caf\ud83d", "caf�"),
        (r"\ude00x", "�x"),
        (r"\ud83d\ud83d\ude00", "�\U0001f600"),
        (r"\uD83D\uDE00", "\U0001f600"),
        (r"\\ud83d", r"\ud83d"),
        (r"\\\ud83d", "\\�"),
    ],
)
def test_half_a_surrogate_pair_costs_one_character(decoded, escaped, expected):
    body = f'{{"mpid": 1, "user_attributes": {{"a": "{escaped}", "b": "\\ud800"}}}}'
    (batch,) = decoded(body.encode())
    assert batch.user.attributes == {"a": expected, "b": "�"}


def test_a_surrogate_half_does_not_hide_that_the_rest_is_broken():
    with pytest.raises(Malformed) as refused:
        read(rb'{"mpid": 1, "a": "\ud83d", "b": "\ud8"}')
    assert refused.value.where == "line 1, column 39"


def test_of_a_name_that_occurs_twice_the_last_counts(decoded):
    events = '[{"event_type": "x", "event_type": "y"}]'
    (batch,) = decoded(f'{{"mpid": 1, "user_attributes": {{"a": 1, "a": 2}}, "mpid": 2, "events": {events}}}'.encode())
    assert (batch.user.mpid, batch.user.attributes, batch.events[0].type) == ("2", {"a": 2}, "y")


def test_what_read_would_refuse_is_quarantined_whole_in_decoding():
    batch = decode("events", b'{"mpid": []}', message="m", part=0)
    assert batch.quarantined == (Quarantined(id="m", problem="mpid: expected an integer, got array"),)


def test_a_post_shows_nothing_of_a_body(fixture):
    assert "Mara" not in repr(read(fixture("firehose-events")))


def test_a_post_without_an_account_is_as_good(decoded):
    (batch,) = decoded(json.dumps({"type": "event_processing_request", "user_attributes": {"a": "b"}}).encode())
    assert (batch.account_id, batch.user.attributes) == (None, {"a": "b"})


@pytest.mark.parametrize("odd", [[{"account": {"account_settings": {"k": "hush"}}}], '{"k": "hush"}'])
def test_what_is_no_batch_at_all_is_told_of_and_nothing_of_it_is_kept(odd):
    good = {"message_id": "m", "mpid": 1, "events": [{"event_type": "session_start", "data": {"event_id": 1}}]}
    post = read(json.dumps([odd, good]).encode())
    assert not any(b"hush" in part.body for part in post.parts)
    assert sorted(part.facts for part in post.parts) == [1, 1]
