"""The quick reader of usual messages makes the very part that the careful one makes, or leaves the message to it."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.mparticle.decoding import decode
from gateway.mparticle.firehose.accounts import read_account
from gateway.mparticle.firehose.fast import parse_fast
from gateway.mparticle.json import Malformed, check_sound
from gateway.mparticle.posts import parse_full

FIXTURES = Path(__file__).parent.parent / "fixtures"
EVENTS = json.loads((FIXTURES / "firehose-events.json").read_text())
USUAL = {
    **EVENTS,
    "events": [one for one in EVENTS["events"] if not one["type"].startswith("user_")],
}
SECRETS = ("test-key", "test-secret")


def body(message, **spelling):
    """A message's bytes."""
    return json.dumps(message, **spelling).encode()


def told(part):
    """All that a part says; of its body, what that holds."""
    return {**{name: getattr(part, name) for name in part.__struct_fields__}, "body": json.loads(part.body)}


def agreed(posted):
    """The part that the quick reader makes, having been compared with the careful one's; None where it makes none."""
    fast = parse_fast(check_sound(posted))
    part = fast and fast[0]
    if part is not None:
        full = parse_full(check_sound(posted))
        (expected,) = full.parts
        assert told(part) == told(expected)
        accounts = [read_account(members) for members in (fast[1], full.account)]
        assert [(one.id, one.settings) for one in accounts[:1]] == [(one.id, one.settings) for one in accounts[1:]]
        assert accounts[0].told_ms == accounts[1].told_ms or not accounts[0].settings
        batch = decode("firehose", part.body, message=part.message, part=part.number)
        assert batch == decode("firehose", expected.body, message=part.message, part=part.number)
    return part


@pytest.mark.parametrize(
    "spelling", [{}, {"indent": 2}, {"separators": (",", ":")}, {"ensure_ascii": False}, {"sort_keys": True}]
)
def test_a_usual_message_is_read_in_one_pass(spelling):
    part = agreed(body(USUAL, **spelling))
    assert part.facts == len(USUAL["events"]) + 3  # identities, attributes, consent
    assert not any(secret in part.body.decode() for secret in SECRETS)


GIVEN, UNDECIDED = {"consented": True, "timestamp_unixtime_ms": 1717913600000}, {"consented": None}


@pytest.mark.parametrize(
    ("notices", "is_change"),
    [
        (None, False),
        ([], False),
        ([{"type": "gdpr_consent_state", "purpose": "m", "new_gdpr_consent_state": GIVEN}], True),
        ([{"type": "gdpr_consent_state", "purpose": "m", "old_gdpr_consent_state": GIVEN}], True),
        ([{"type": "gdpr_consent_state", "purpose": "m", "new_gdpr_consent_state": UNDECIDED}], False),
        ([{"type": "gdpr_consent_state", "purpose": "m"}], False),
        ([{"type": "gdpr_consent_state", "new_gdpr_consent_state": GIVEN}], False),
        ([{"type": "gdpr_consent_state", "purpose": "m", "new_ccpa_consent_state": GIVEN}], False),
        ([{"type": "ccpa_consent_state", "new_ccpa_consent_state": GIVEN}], True),
        ([{"type": "ccpa_consent_state", "new_gdpr_consent_state": GIVEN}], False),
        ([{"type": "ccpa_consent_state"}, {"type": "ccpa_consent_state", "old_ccpa_consent_state": GIVEN}], True),
    ],
)
def test_notices_of_consent_are_usual(notices, is_change):
    part = agreed(body({**USUAL, "system_notifications": notices}))
    assert part.facts == len(USUAL["events"]) + 2 + is_change


@pytest.mark.parametrize(
    "account",
    [
        {},
        {"account_id": 7},
        {"account_id": "7", "account_settings": {"apiSecret": "test-secret"}},
        {"account_settings": {"account": {"account_id": "test-key"}, "apiSecret": "test-secret"}},
        {"account_id": None, "apiSecret": "test-secret"},
        {"account_id": 2**70},
    ],
)
def test_nothing_of_an_account_is_left_but_its_id(account):
    posted = body({**USUAL, "account": account})
    part = agreed(posted) or parse_full(check_sound(posted)).parts[0]
    assert json.loads(part.body)["account"] == {n: value for n, value in account.items() if n == "account_id"}


@pytest.mark.parametrize(
    "posted",
    [
        body(USUAL).replace(b'"account"', b'"\\u0061ccount"', 1),
        body(USUAL).replace(b'"account"', b'"accoun\\u0074"', 1),
        body(USUAL)[:-1] + b', "account": {"account_id": 1}}',
        body(USUAL)[:-1] + b', "\\u0061ccount": {"account_id": 1, "apiKey": "test-key"}}',
        body({**USUAL, "account_note": "account"})[:-1] + b', "account": {}}',
    ],
)
def test_an_account_spelled_otherwise_or_twice_leaves_no_settings_either(posted):
    assert agreed(posted) is None
    (part,) = parse_full(check_sound(posted)).parts
    assert not any(secret in part.body.decode() for secret in SECRETS)


@pytest.mark.parametrize(
    "change",
    [
        {"type": "audience_membership_change_request"},
        {"id": 7},
        {"id": ""},
        {"events": []},
        {"events": [None]},
        {"events": [{"type": "user_attribute_change", "id": "e"}]},
        {"events": [{"type": "User_Identity_Change", "id": "e"}]},
        {"events": [{"type": 7}]},
        {"mpid": 1.5},
        {"timestamp_ms": "1718000020000"},
        {"user_identities": [None]},
        {"user_identities": [{"type": ""}]},
        {"user_attributes": []},
        {"runtime_environment": {"is_debug": "true"}},
        {"system_notifications": [{"type": "gdpr_consent_state_change"}]},
        {"system_notifications": [{"type": "GDPR_consent_state"}]},
        {"system_notifications": [{"type": "gdpr_consent_state", "data": {"purpose": "m"}}]},
        {"system_notifications": [{"type": "gdpr_consent_state", "purpose": ""}]},
        {"system_notifications": [{"type": "gdpr_consent_state", "new_gdpr_consent_state": {"consented": "yes"}}]},
        {"system_notifications": [None]},
        {"account": None},
        {"account": {"account_id": [7]}},
    ],
)
def test_whatever_is_unusual_is_left_to_the_careful_reader(change):
    assert parse_fast(check_sound(body({**USUAL, **change}))) is None


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0.0, -0.0, 42.0, 2.0**53])
    | st.text(max_size=8)
    | st.sampled_from(["", " ", "0", "account", "é\\u"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)


def places(value, path=()):
    """Every place in a document."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield (*path, key)
        yield from places(child, (*path, key))


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(sorted(places(USUAL), key=str)), values, st.booleans())
def test_both_readers_agree_on_whatever_both_read(path, value, ascii):
    message = json.loads(json.dumps(USUAL))
    inner = message
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    try:
        agreed(body(message, ensure_ascii=ascii))
    except Malformed as refused:
        raise AssertionError("the careful reader refuses what the quick one took") from refused
