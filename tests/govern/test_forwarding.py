"""Forwarding rules decide what is sent, and name the setting that decided."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.facts import iter_facts
from gateway.govern.governor import Governor
from gateway.sdk import (
    App,
    Consent,
    ConsentRecord,
    Defaults,
    Destination,
    Device,
    Quarantined,
    Settings,
    User,
    hookimpl,
)
from gateway.settings import ConnectionSettings
from gateway.testing import batch, connection, custom_event, identity, membership, session, user


class Nothing(Settings):
    pass


PLAIN = Destination(title="Post", settings=Nothing, base_url=lambda _: "https://post.example")


class Post:
    def __init__(self, declared=PLAIN):
        self.declared = declared

    @hookimpl
    def destination(self):
        return self.declared


def governor(destination=PLAIN, **configured):
    settings = ConnectionSettings.model_validate({"plugin": "post", **configured})
    return Governor(connection(Post(destination), {}, name="post", configured=settings))


def ago(now_ms):
    return lambda span_ms: now_ms - span_ms


def refusals(said, **configured):
    """Return reason and setting of each withheld fact, by fact."""
    withheld = governor(**configured).govern(said, iter_facts(said), ago(said.received_ms)).withheld
    return {each.fact: (each.reason, each.cause.removeprefix("connections.post.")) for each in withheld}


def refusal(said, **configured):
    """Return reason and setting for a batch of one event with the id ``e``, or None if it is sent."""
    return refusals(said, **configured).get("e")


def event(**fields):
    return custom_event("Signup", id="e", **fields)


ON_IOS, ON_WEB, ANYWHERE = Device(platform="ios"), Device(platform="web"), Device()


@pytest.mark.parametrize(
    ("device", "platforms", "sent"),
    [
        (ON_IOS, ["ios"], True),
        (ON_IOS, ["android", "web"], False),
        (ON_WEB, ["mobileweb"], True),
        (ON_WEB, ["MobileWeb"], True),
        (ANYWHERE, ["ios"], False),
        (ANYWHERE, ["ios", "unknown"], True),
        (ON_IOS, [], False),
    ],
)
def test_platforms_are_chosen_however_they_are_spelt(device, platforms, sent):
    expected = None if sent else ("other_platform", "platforms")
    assert refusal(batch(event(), device=device), platforms=platforms) == expected


@pytest.mark.parametrize(
    ("environment", "chosen", "sent"),
    [
        ("production", ["production"], True),
        ("development", ["production"], False),
        (None, ["production"], False),
        (None, ["production", "unknown"], True),
    ],
)
def test_environments_are_chosen(environment, chosen, sent):
    expected = None if sent else ("other_environment", "environments")
    assert refusal(batch(event(), environment=environment), environments=chosen) == expected


REPLAYED = [{"replay_request_id": "r-1"}, {"replay_job_id": "j-1"}]


@pytest.mark.parametrize("replay", REPLAYED)
def test_what_mparticle_replays_is_kept_back_if_so_configured(replay):
    said = batch(event(), **replay)
    assert [refusal(said), refusal(said, no_replayed=False)] == [None, None]
    assert refusal(said, no_replayed=True) == ("replayed", "no_replayed")
    assert refusal(batch(event()), no_replayed=True) is None


def test_historical_data_is_kept_back_if_so_configured():
    said = batch(event(), is_historical=True)
    assert [refusal(said), refusal(said, no_historical=False)] == [None, None]
    assert refusal(said, no_historical=True) == ("historical", "no_historical")
    assert refusal(batch(event()), no_historical=True) is None


def test_the_configuration_precedes_what_the_plugin_keeps_back():
    strict = Destination(
        title="Post",
        settings=Nothing,
        base_url=lambda _: "https://post.example",
        defaults=Defaults(no_replayed=True, no_historical=True),
    )
    said = batch(event(), is_historical=True, replay_job_id="j-1")
    assert refusal(said, destination=strict) == ("replayed", "no_replayed")
    assert refusal(said, destination=strict, no_replayed=False) == ("historical", "no_historical")
    assert refusal(said, destination=strict, no_replayed=False, no_historical=False) is None


@pytest.mark.parametrize(
    ("version", "least", "sent"),
    [
        ("4.2", "4.2", True),
        ("4.2.0", "4.2", True),
        ("4.10", "4.9", True),
        ("4.1.9", "4.2", False),
        ("v4.3 (build 77)", "4.2", True),
        ("4", "4.0.1", False),
        (None, "4.2", True),
        ("nightly", "4.2", True),
        ("9" * 5000, "4.2", True),
    ],
)
def test_older_versions_of_an_app_are_not_sent(version, least, sent):
    expected = None if sent else ("old_app_version", "min_app_version")
    assert refusal(batch(event(), app=App(version=version)), min_app_version=least) == expected


def told(*, gdpr=None, ccpa=None):
    record = {True: ConsentRecord(consented=True), False: ConsentRecord(consented=False)}
    consent = Consent(
        gdpr={} if gdpr is None else {"Marketing": record[gdpr]},
        ccpa={} if ccpa is None else {"data_sale_opt_out": record[ccpa]},
    )
    return batch(event(), user=User(mpid="42", consent=consent))


@pytest.mark.parametrize(
    ("rule", "sent_if"),
    [
        ("only_if_true", {True}),
        ("only_if_false", {False}),
        ("unless_true", {False, None}),
        ("unless_false", {True, None}),
    ],
)
@pytest.mark.parametrize("said", [True, False, None])
def test_consent_decides_by_purpose(rule, sent_if, said):
    gdpr = refusal(told(gdpr=said), consent={"gdpr": {"marketing": rule}})
    ccpa = refusal(told(ccpa=said), consent={"ccpa": {"data_sale_opt_out": rule}})
    assert (gdpr is None, ccpa is None) == (said in sent_if, said in sent_if)
    assert gdpr in (None, ("no_consent", 'consent.gdpr."marketing"'))
    assert ccpa in (None, ("no_consent", 'consent.ccpa."data_sale_opt_out"'))


def test_every_purpose_must_be_consented_to():
    rules = {"gdpr": {"marketing": "only_if_true"}, "ccpa": {"data_sale_opt_out": "unless_true"}}
    assert refusal(told(gdpr=True, ccpa=False), consent=rules) is None
    assert refusal(told(gdpr=True, ccpa=True), consent=rules) == ("no_consent", 'consent.ccpa."data_sale_opt_out"')


@pytest.mark.parametrize(
    ("value", "wanted", "matches"),
    [
        ("web", "web", True),
        ("web", ["app", "web"], True),
        ("Web", "web", False),
        ("true", True, True),
        ("True", True, True),
        (True, "true", True),
        (42, "42", True),
        ("42", 42, True),
        (42.0, 42, True),
        ("41", 42, False),
        ("", "web", False),
    ],
)
def test_events_are_chosen_by_an_attributes_value_in_either_dialect(value, wanted, matches):
    said = batch(event(attributes={"channel": value}))
    only, never = ("event_rule", 'only_events_with."channel"'), ("event_rule", 'no_events_with."channel"')
    assert refusal(said, only_events_with={"channel": wanted}) == (None if matches else only)
    assert refusal(said, no_events_with={"channel": wanted}) == (never if matches else None)


def test_an_attribute_that_is_missing_matches_nothing():
    said = batch(event(), session(id="s"), user=user(email="jo@example.com", attributes={"a": 1}))
    only = ("event_rule", 'only_events_with."channel"')
    assert refusals(said, only_events_with={"channel": "web"}) == {"e": only, "s": only}
    assert refusals(said, no_events_with={"channel": "web"}) == {}


def test_an_events_rule_sees_attributes_that_the_filter_takes_out():
    said = batch(event(attributes={"internal": "yes"}))
    switches = {"new_data_points": False, "events": {"Signup": True}}
    assert refusal(said, no_events_with={"internal": "yes"}, filter=switches)[0] == "event_rule"
    assert refusal(said, no_events_with={"internal": "no"}, filter=switches) is None


def sampled(percent, users):
    chosen = governor(sample_percent=percent)
    return {
        one
        for one in users
        if not chosen.govern(said := batch(event(), user=user(one)), iter_facts(said), ago(0)).withheld
    }


def test_a_sample_is_of_users_and_stays_the_same_as_it_grows():
    users = [str(number) for number in range(2000)]
    tenth, third = sampled(10, users), sampled(33.3, users)
    assert (sampled(0, users), sampled(100, users), tenth <= third) == (set(), set(users), True)
    assert (len(tenth), len(third)) == (pytest.approx(200, abs=60), pytest.approx(666, abs=90))
    assert refusal(batch(event(), user=user("1")), sample_percent=0) == ("not_sampled", "sample_percent")


@given(st.text(min_size=1))
def test_a_sample_takes_any_user_there_may_be(value):
    said = batch(event(), user=User(identities=(identity("customer_id", value),)))
    assert governor(sample_percent=50).govern(said, iter_facts(said), ago(0)) == governor(sample_percent=50).govern(
        said, iter_facts(said), 0
    )


def test_only_the_rules_about_users_apply_to_an_audience_message():
    said = batch(memberships=(membership("Gold"),), user=user(customer_id="c-1"), environment=None, device=ANYWHERE)
    inputs = {
        "platforms": ["ios"],
        "environments": ["production"],
        "consent": {"gdpr": {"marketing": "only_if_true"}},
        "login_identities": ["customer_id"],
    }
    assert refusals(said, **inputs) == {}
    assert set(refusals(said, login_identities=["email"]).values()) == {("not_logged_in", "login_identities")}


def test_a_plugin_sees_no_event_that_a_rule_keeps_back():
    said = batch(event(attributes={"internal": True}), custom_event("b", id="b"))
    for rule in ({"no_events_with": {"internal": True}}, {"max_age_hours": 1}):
        old = said if "max_age_hours" not in rule else batch(custom_event("b", id="b"), event(time_ms=1))
        assert [one.id for one in governor(**rule).govern(old, iter_facts(old), ago(old.received_ms)).batch.events] == [
            "b"
        ]


def test_a_consent_that_cannot_be_read_counts_as_an_opt_out():
    odd = Quarantined(id="m:consent_state[...]", type="message", problem="consented: expected a boolean, got string")
    said = replace(told(), quarantined=(odd,))
    rules = {"ccpa": {"data_sale_opt_out": "unless_true"}}
    assert refusal(told(), consent=rules) is None
    assert refusal(said, consent=rules) == ("no_consent", 'consent.ccpa."data_sale_opt_out"')
