"""``gateway preview`` for SessionM: every line that it prints for a message, compared whole."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FIXTURES = Path(__file__).parents[1] / "fixtures"
SAMPLES = Path(__file__).parents[3] / "shared" / "samples"
APP = "https://api-acme.stg-sessionm.com/priv/v1/apps/***/"
MARA = "-7346244611012968789"
MPID = "7346244611012968789"
CONFIG = """
[ingress]
authorization = ["Token test"]
{rules}
[connections.loyalty]
plugin = "sessionm"
{connection}
[connections.loyalty.settings]
host = "api-acme.stg-sessionm.com"
api_key = "test-key"
api_secret = "test-secret"
{settings}
[connections.loyalty.filter]
{filter}
"""
ALL = "new_data_points = true"


@pytest.fixture
def run(tmp_path):
    """Preview a file, or a document, with a connection of these settings; returns the finished process."""

    def run(message, *, path="", **parts):
        config = tmp_path / "gateway.toml"
        config.write_text(CONFIG.format(**{"rules": "", "connection": "", "settings": "", "filter": "", **parts}))
        if not isinstance(message, Path):
            text = message if isinstance(message, str) else json.dumps(message)
            message = tmp_path / "message.json"
            message.write_text(text)
        command = [sys.executable, "-m", "gateway", "preview", str(message), "-c", str(config), "--json"]
        env = {**os.environ, "PYTHONPATH": str(path)} if path else None
        return subprocess.run(command, capture_output=True, text=True, check=False, env=env)

    return run


@pytest.fixture
def preview(run):
    """The lines that a preview prints, but for which settings are behind them and what the filter took out."""

    def preview(message, **parts):
        done = run(message, **parts)
        assert (done.returncode, done.stderr) == (0, "")
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        plain = ({key: value for key, value in line.items() if key not in ("title", "cause")} for line in lines)
        return [line for line in plain if "names" not in line]

    return preview


def call(method, path, body=None, *, lane, **params):
    return {
        "connection": "loyalty",
        "plugin": "sessionm",
        "kind": "call",
        "method": method,
        "url": APP + path,
        "headers": {},
        "params": params,
        "json": body,
        "scope": "",
        "lane": lane,
    }


def put(mpid, **user):
    return call("PUT", f"external/users/{mpid}", {"user": user}, lane=f"mpid:{mpid}")


def post(mpid, name, transaction_id, date=None, **context):
    event = {"transaction_id": transaction_id, "qty": "1"}
    event |= {"date": date} if date else {}
    event |= {"context": context} if context else {}
    return call("POST", f"external/users/{mpid}/events", {"events": {name: event}}, lane=f"mpid:{mpid}")


def ids(mpid):
    return call("GET", f"external/users/{mpid}", lane=f"mpid:{mpid}", show_identifiers="true")


def skip(what, reason):
    return {"connection": "loyalty", "plugin": "sessionm", "kind": "skip", "reason": reason, "what": what}


def calls(lines):
    return [line for line in lines if line["kind"] == "call"]


def skips(lines):
    return [(line["what"], line["reason"]) for line in lines if line["kind"] == "skip"]


def batch(*events, number=1, **fields):
    """An Events batch of a user who is logged in."""
    return {
        "message_id": f"m-{number}",
        "environment": "production",
        "mpid": 42,
        "user_identities": {"customer_id": "c-1"},
        "events": list(events),
        **fields,
    }


def event(name="Signup", type="custom_event", key="event_name", **data):
    return {"event_type": type, "data": {key: name, **data}}


PROFILE = {
    "email": "mara@example.com",
    "first_name": "Mara",
    "user_profile": {"favourite_drink": "Cortado", "visits": "12", "stores": "Söder,Vasastan"},
}
CLAIMED = {"reward": "Free Cortado", "points": "120", "store": "Söder"}
MARAS = [
    put(MARA, **PROFILE),
    post(MARA, "Reward Claimed", "a9d0c4f2-0000-4000-8000-000000000002", "2024-06-10T06:13:22.000Z", **CLAIMED),
    post(MARA, "Rewards", "a9d0c4f2-0000-4000-8000-000000000003", "2024-06-10T06:13:23.000Z", tab="offers"),
]
OTHERS = (1, 4, 5, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18)
"""The events of both fixtures that are neither custom events nor screen views."""


def test_a_firehose_message_is_a_profile_and_an_event_each(preview):
    lines = preview(FIXTURES / "firehose-events.json", filter=ALL)
    assert lines == [
        *MARAS,
        skip("trial_member", "attribute_removed"),
        skip("consent", "consent_off"),
        *[skip(f"3f2b6c1e-0000-4000-8000-{number:012d}", "unsupported_event_type") for number in OTHERS],
    ]


def test_an_events_batch_of_the_same_is_the_same_but_for_the_attribution_which_is_a_custom_event_there(preview):
    lines = preview(FIXTURES / "events-batch-outbound.json", filter=ALL)
    attribution = "a9d0c4f2-0000-4000-8000-000000000017"
    assert lines == [
        *MARAS,
        post(MARA, "attribution", attribution, "2024-06-10T06:13:37.000Z", publisher="Radio", campaign="Summer"),
        skip("trial_member", "attribute_removed"),
        skip("consent", "consent_off"),
        *[skip(f"50000000000000000{number:02d}", "unsupported_event_type") for number in OTHERS if number != 17],
    ]


def test_r02_a_screen_is_sent_under_its_name_and_one_without_is_skipped(preview):
    message = batch(event("Home", "screen_view", "screen_name"), {"event_type": "screen_view", "data": {}})
    lines = preview(message, filter='screens = { "*" = true }')
    assert lines == [
        post(42, "Home", "m-1:0"),
        skip("identities", "filtered"),
        skip("m-1:1", "missing_screen_name"),
    ]


def test_r15_a_batch_without_mpid_sends_nothing_and_says_so(preview):
    lines = preview(FIXTURES / "events-batch-inbound.json", filter=ALL)
    assert calls(lines) == []
    assert [reason for _, reason in skips(lines)] == ["no_mpid"] * 3 + ["unsupported_event_type"] * 3


def test_r07_a_fresh_connection_sends_nothing_at_all(preview):
    lines = preview(FIXTURES / "firehose-events.json")
    assert lines == [
        skip("identities", "filtered"),
        skip("attributes", "filtered"),
        *[
            skip(f"3f2b6c1e-0000-4000-8000-{number:012d}", "filtered")
            for number in range(1, 19)
            if number not in (6, 7, 8)  # what changed of attributes and identities is no event
        ],
        skip("consent", "consent_off"),
    ]


EVERYTHING_AT_ONCE = batch(
    event(custom_attributes={"a": "1", "b": "2"}),
    event("Level", custom_attributes={"a": "1"}),
    event("Home", "screen_view", "screen_name", custom_attributes={"a": "1", "b": "2"}),
    user_attributes={"$City": "Rome", "Colour": "red", "SessionM_Tier": "Gold"},
    user_identities={"customer_id": "c-1", "email": "jo@example.com", "other": "o-1"},
)


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ("events = { Signup = true }", [post(42, "Signup", "m-1:0")]),
        ("events = { Signup = true }\nevent_attributes.Signup = { b = true }", [post(42, "Signup", "m-1:0", b="2")]),
        ("events = { Signup = true, Level = true }\nevent_types = { custom_event = false }", []),
        ("screens = { Home = true }", [post(42, "Home", "m-1:2")]),
        (
            'screens = { Home = true }\nscreen_attributes.Home = { "*" = true }',
            [post(42, "Home", "m-1:2", a="1", b="2")],
        ),
        ("event_attributes.Signup = { a = true }", []),
        ('user_attributes = { "$City" = true }', [put(42, city="Rome")]),
        ("user_attributes = { Colour = true, colour = true }", [put(42, user_profile={"Colour": "red"})]),
        ("user_identities = { email = true }", [put(42, email="jo@example.com")]),
        ("user_identities = { customer_id = true, other = true }", [ids(42)]),
    ],
)
def test_r08_each_data_point_is_a_switch_of_its_own(preview, filter, expected):
    assert calls(preview(EVERYTHING_AT_ONCE, filter=filter)) == expected


def test_r13_only_a_user_with_a_login_identity_is_sent_whether_or_not_it_is_forwarded(preview):
    people = [
        {"customer_id": "c-1", "email": "jo@example.com"},
        {"email": "jo@example.com"},
        {"customer_id": "  ", "email": "jo@example.com"},
        {"customer_id": None, "email": "jo@example.com"},
        {"other": "o-1"},
    ]
    message = [batch(event(), number=n, mpid=40 + n, user_identities=one) for n, one in enumerate(people)]
    lines = preview(message, filter="events = { Signup = true }\nuser_identities = { email = true }")
    assert lines == [
        put(40, email="jo@example.com"),
        post(40, "Signup", "m-0:0"),
        *[skip(what, "not_logged_in") for n in (1, 2, 3, 4) for what in ("identities", f"m-{n}:0")],
    ]


def test_r13_the_login_identities_can_be_chosen_and_switched_off(preview):
    message = [
        batch(event(), number=1, user_identities={"other": "o-1"}),
        batch(event(), number=2, user_identities={}),
    ]
    switched = "events = { Signup = true }"
    chosen = preview(message, connection='login_identities = ["other"]', filter=switched)
    assert [line["kind"] for line in chosen] == ["call", "skip", "skip"]
    assert skips(chosen) == [("identities", "filtered"), ("m-2:0", "not_logged_in")]
    assert len(calls(preview(message, connection="login_identities = []", filter=switched))) == 2


PLATFORMS = [
    *("iOS", "Android", "web", "MobileWeb", "tvOS", "tvos", "roku", "ROKU", "alexa", "smart_tv", "SmartTV"),
    *("fire_tv", "FireTV", "xbox", "Xbox", "out_of_band", "OutOfBand"),
]


def test_r14_each_supported_platform_is_sent_in_any_casing_and_so_is_a_feed_without_one(preview):
    message = [batch(event(), number=n, device_info={"platform": one}) for n, one in enumerate(PLATFORMS)]
    message += [batch(event(), number=90, device_info=None), batch(event(), number=91)]
    lines = preview(message, filter="events = { Signup = true }")
    sent = [n for n, _ in enumerate(PLATFORMS)] + [90, 91]
    assert calls(lines) == [post(42, "Signup", f"m-{n}:0") for n in sent]


@pytest.mark.parametrize("platform", ["desktop", "Unknown", "toaster"])
def test_r14_another_platform_is_not(preview, platform):
    lines = preview(batch(event(), device_info={"platform": platform}), filter=ALL)
    assert lines == [skip("identities", "unsupported_platform"), skip("m-1:0", "unsupported_platform")]


def test_r15_an_mpid_keeps_every_digit_and_no_user_without_one_is_sent(preview):
    mpids = [9007199254740993, -5227515829034156637, "7346244611012968789", 0, "0", None]
    message = [batch(event(), number=n, mpid=mpid) for n, mpid in enumerate(mpids)]
    lines = preview(message, filter="events = { Signup = true }")
    assert calls(lines) == [post(mpid, "Signup", f"m-{n}:0") for n, mpid in enumerate(mpids[:3])]
    assert [one for one in skips(lines) if one[1] == "no_mpid"] == [(f"m-{n}:0", "no_mpid") for n in (3, 4, 5)]


def test_r16_identities_are_read_from_an_object_and_from_an_array(preview):
    listed = [
        {"identity_type": "customer_id", "identity": "c-1"},
        {"identity_type": "email", "identity": "j@example.com"},
    ]
    mapped = {"customerId": "c-1", "email": "j@example.com"}
    for identities in (listed, mapped):
        lines = preview(batch(user_identities=identities), filter="user_identities = { email = true }")
        assert lines == [put(42, email="j@example.com")]


def test_r19_numbers_keep_their_digits_from_the_post_to_the_call(preview):
    numbers = '{"int": 7346244611012968789, "big": 12345678901234567890123, "one": 1.0, "exp": 1e3, "tag": null}'
    message = json.dumps(batch(user_attributes="@")).replace('"@"', numbers)
    lines = preview(message, filter='user_attributes = { "*" = true }')
    custom = {"int": "7346244611012968789", "big": "12345678901234567890123", "one": "1", "exp": "1000", "tag": "true"}
    assert calls(lines) == [put(42, user_profile=custom)]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_r19_what_is_no_json_number_is_refused_at_the_door(run, number):
    message = json.dumps(batch(user_attributes={"a": "@"})).replace('"@"', number)
    done = run(message, filter=ALL)
    assert (done.returncode, done.stdout) == (1, "")
    assert "not JSON" in done.stderr


RULE = """
from msgspec.structs import replace
from gateway.sdk import hookimpl

@hookimpl
def rewrite(batch):
    lowered = {name.lower(): value for name, value in batch.user.attributes.items()}
    return replace(batch, user=replace(batch.user, attributes=lowered))
"""


BLANKING = """
from msgspec.structs import replace
from gateway.sdk import hookimpl

@hookimpl
def rewrite(batch):
    blank = tuple(replace(one, value=" ") if one.type == "other" else one for one in batch.user.identities)
    return replace(batch, user=replace(batch.user, identities=blank))
"""


@pytest.fixture
def rule(tmp_path):
    """Install a package of rules."""

    def rule(name, source):
        about = tmp_path / f"{name}-1.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (about / "entry_points.txt").write_text(f"[gateway.rules]\n{name} = {name}\n")
        (tmp_path / f"{name}.py").write_text(source)
        return {"path": tmp_path, "rules": f'[rules]\npackages = ["{name}"]'}

    return rule


def test_r16_an_identity_posted_blank_is_none_and_one_that_a_rule_leaves_blank_is_left_out_by_name(preview, rule):
    blank = batch(user_identities={"customer_id": "c-1", "other": " "})
    full = batch(user_identities={"customer_id": "c-1", "other": "o-1"})
    assert preview(blank, filter=ALL) == [ids(42)]
    assert preview(full, filter=ALL, **rule("blanking", BLANKING)) == [ids(42), skip("other", "empty_identity")]


def test_r21_a_rule_that_lowers_the_casing_changes_what_arrives(preview, rule):
    message = batch(user_attributes={"Fav Color": "red", "$CITY": "Rome"})
    switched = 'user_attributes = { "*" = true }'
    as_posted = preview(message, filter=switched)
    lowered = preview(message, filter=switched, **rule("lowering", RULE))
    assert calls(as_posted) == [put(42, city="Rome", user_profile={"Fav_Color": "red"})]
    assert calls(lowered) == [put(42, city="Rome", user_profile={"fav_color": "red"})]


def test_r26_neither_key_nor_secret_is_shown(run):
    for file in sorted(FIXTURES.glob("firehose-*.json")):
        done = run(file, filter=ALL, connection="login_identities = []")
        assert "test-key" not in done.stdout + done.stderr
        assert "test-secret" not in done.stdout + done.stderr


def test_r27_names_are_mapped_after_the_filter_which_sees_mparticles(preview):
    message = batch(event("Signup"), event("Other"), event("Home", "screen_view", "screen_name"))
    lines = preview(
        message,
        settings="""event_mappings = '{"Signup": "sign_up", "Home": "sign_up", "Other": "Signup"}'""",
        filter="events = { Signup = true }\nscreens = { Home = true }",
    )
    assert calls(lines) == [post(42, "sign_up", "m-1:0"), post(42, "sign_up", "m-1:2")]


def test_an_erasure_needs_no_switch_and_no_login(preview):
    lane = f"mpid:{MPID}"
    assert preview(FIXTURES / "firehose-erasure.json") == [
        call("DELETE", f"external/users/{MPID}", lane=lane),
        call("DELETE", "external/users/C-2001", lane=lane),
    ]


def test_an_erasure_deletes_under_every_mpid(preview):
    lane = f"mpid:{MPID}"
    assert preview(FIXTURES / "opendsr-request.json") == [
        call("DELETE", f"external/users/{MPID}", lane=lane),
        call("DELETE", "external/users/-5", lane=lane),
    ]


def test_audiences_are_not_sent(preview):
    lines = preview(FIXTURES / "firehose-membership.json", filter=ALL, connection="login_identities = []")
    assert [one for one in skips(lines) if one[0].startswith("membership")] == [
        ("membership:5150:add", "audiences_off"),
        ("membership:5151:delete", "audiences_off"),
        ("membership:5152:attribute_update", "audiences_off"),
        ("membership:5150:add", "audiences_off"),
        ("membership:5151:delete", "audiences_off"),
    ]


BRIAN = {
    "city": "Boca Raton",
    "first_name": "Brian",
    "country": "USA",
    "state": "FL",
    "zip": "33431",
    "gender": "M",
    "last_name": "O'Brian",
}


@pytest.mark.reference
@pytest.mark.parametrize(
    ("sample", "transaction", "date", "commerce"),
    [
        (
            "sdk320-EventProcessingRequest_ios.json",
            "b9cfbdfb-a5f7-457c-b197-b3dbd9652c7e",
            "2024-05-01T19:45:44.066Z",
            "e91037c0-c693-49a7-a4f8-5683218ac810",
        ),
        (
            "sdk320-EventProcessingRequest_android.json",
            "2e9367cd-09f2-4e9e-8453-a42cd2d1bcb1",
            "2024-05-01T19:45:44.066Z",
            "47aa4c24-fc1b-4c20-9d6c-1d327ac360b9",
        ),
        (
            "iterable-240-EventProcessingRequest_ios.json",
            "cb2e918b-722e-4fb9-8dc2-cac03d54aa23",
            "2020-04-15T20:01:19.794Z",
            "585f27ae-bca3-497c-b30e-ef8cb5c6ab83",
        ),
    ],
)
def test_the_firehose_samples_are_the_calls_that_the_contract_derives(preview, sample, transaction, date, commerce):
    lines = preview(SAMPLES / "firehose" / sample, filter=ALL, connection="login_identities = []")
    assert lines == [
        put(12345, **BRIAN),
        post(12345, "customEvent", transaction, date, event_attribute="value"),
        skip("customer_id", "hashed_identity"),
        skip("email", "hashed_identity"),
        skip("consent", "consent_off"),
        skip(commerce, "unsupported_event_type"),
    ]


@pytest.mark.reference
def test_the_events_sample_is_the_profile_that_the_contract_derives(preview):
    sample = json.loads((SAMPLES / "events-batch" / "docs-json-reference-master-sample.json").read_text())
    lines = preview({**sample, "message_id": "m-1", "mpid": int(MPID)}, filter=ALL)
    profile = {
        "age": "18",
        "mobile": "123-456-7890",
        "a_custom_attribute": "some_value",
        "a_custom_list": "value1,value2,valueN",
    }
    assert lines == [
        put(
            MPID,
            email="helpers@mparticle.com",
            gender="M",
            country="USA",
            zip="10016",
            city="New York",
            state="NY",
            address="381 Park Avenue S",
            first_name="John",
            last_name="Doe",
            user_profile=profile,
        ),
        skip("an_old_attribute_name", "attribute_removed"),
        skip("another_old_attribute", "attribute_removed"),
        skip("-1586912177303106600", "unsupported_event_type"),
        skip("1558493756361828400", "unsupported_event_type"),
        skip("m-1:0", "unsupported_event_type"),
        skip("m-1:3", "unsupported_event_type"),
    ]


@pytest.mark.reference
def test_a_quickstart_sample_is_an_email_and_an_event(preview):
    sample = json.loads((SAMPLES / "events-batch" / "docs-quickstart-http.json").read_text())
    assert preview({**sample, "message_id": "m-1", "mpid": MPID}, filter=ALL) == [
        put(MPID, email="hello@mparticle.com"),
        post(MPID, "click", "m-1:0", button_name="home", other_attribute="xyz"),
    ]


@pytest.mark.reference
@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ("events-batch/docs-s3-outbound-line1.json", [("identities", "no_mpid"), ("1234", "no_mpid")]),
        (
            "firehose/sdk320-DsrProcessingRequest.json",
            [("erasure:1e2c8cf4-f985-4398-b482-a520860d3bf6", "no_mpid")],
        ),
        ("firehose/docs-verification-ping-audience-membership.json", []),
    ],
)
def test_a_sample_without_mpid_sends_nothing_and_says_why(preview, sample, expected):
    assert preview(SAMPLES / sample, filter=ALL) == [skip(what, reason) for what, reason in expected]
