"""The governor applies the data filter and the rules, by mParticle's own names."""

import pytest
from msgspec.structs import replace

from gateway.facts import iter_facts
from gateway.govern.governor import Governor
from gateway.sdk import (
    AttributeChange,
    Attribution,
    Defaults,
    Destination,
    Device,
    Erasure,
    Identity,
    IdentityChange,
    OtherEvent,
    ProductAction,
    Settings,
    User,
    hookimpl,
)
from gateway.settings import ConnectionSettings
from gateway.settings.filtering import Filter
from gateway.testing import batch, connection, custom_event, screen_view, session, user
from gateway.testing.builders import TIME_MS

HOUR_MS = 3_600_000


class Nothing(Settings):
    pass


def governor(*, platforms=None, defaults=None, **configured):
    class Plugin:
        @hookimpl
        def destination(self):
            return Destination(
                title="Post",
                settings=Nothing,
                base_url=lambda _: "https://post.example",
                platforms=platforms,
                defaults=defaults or Defaults(),
            )

    return Governor(connection(Plugin(), {}, configured=ConnectionSettings(plugin="post", **configured)))


def govern(said, *, now_ms=TIME_MS, **configured):
    return governor(**configured).govern(said, iter_facts(said), lambda span_ms: now_ms - span_ms)


def withheld(said, **configured):
    return {each.fact: each.reason for each in govern(said, **configured).withheld}


PURCHASE = ProductAction(id="p", type="commerce_event", action="purchase")
SAID = batch(
    session(id="s"),
    custom_event("Signup", id="e", attributes={"plan": "gold", "$x": 1}),
    screen_view("Home", id="v", attributes={"tab": "1"}),
    PURCHASE,
    user=user(email="jo@example.com", customer_id="c-1", attributes={"$FirstName": "Jo", "Colour": "red"}),
    identity_changes=(IdentityChange(type="email", new=Identity(type="email", value="jo@example.com")),),
    attribute_changes=(AttributeChange(name="Colour", value="red"), AttributeChange(name="$FirstName", value="Jo")),
)
ALL = ["identities", "attributes", "s", "e", "v", "p"]
OFF = Defaults(new_data_points=False)


def test_by_default_everything_is_sent_unchanged():
    result = govern(SAID)
    assert ([fact.id for fact in result.facts], result.withheld, result.batch) == (ALL, (), SAID)


def test_a_plugin_may_turn_everything_off_until_it_is_turned_on():
    assert withheld(SAID, defaults=OFF) == dict.fromkeys(ALL, "filtered")


def test_the_configuration_decides_over_the_plugins_default():
    assert withheld(SAID, defaults=OFF, filter=Filter(new_data_points=True)) == {}
    assert withheld(SAID, filter=Filter(new_data_points=False)) == dict.fromkeys(ALL, "filtered")


@pytest.mark.parametrize(
    ("switches", "sent"),
    [
        ({"events": {"Signup": True}}, ["e"]),
        ({"events": {"*": True}}, ["e"]),
        ({"events": {"*": True, "Signup": False}}, []),
        ({"events": {"signup": True}}, []),
        ({"screens": {"Home": True}}, ["v"]),
        ({"event_types": {"commerce_event": True}}, ["p"]),
        ({"commerce": {"purchase": True}}, ["p"]),
        ({"event_types": {"session_start": True}}, ["s"]),
        ({"event_types": {"custom_event": True}}, []),
        ({"event_types": {"custom_event": False}, "events": {"Signup": True}}, []),
        ({"user_identities": {"email": True}}, ["identities"]),
        ({"user_identities": {"facebook": True}}, []),
        ({"user_attributes": {"Colour": True}}, ["attributes"]),
    ],
)
def test_with_new_data_points_off_only_what_is_named_is_sent(switches, sent):
    assert [fact.id for fact in govern(SAID, defaults=OFF, filter=Filter(**switches)).facts] == sent


@pytest.mark.parametrize(
    ("switches", "kept_back"),
    [
        ({"events": {"Signup": False}}, ["e"]),
        ({"event_types": {"custom_event": False}}, ["e"]),
        ({"event_types": {"commerce_event": False}}, ["p"]),
        ({"event_types": {"*": False}}, ["s", "e", "v", "p"]),
        ({"event_types": {"*": False, "custom_event": True}}, ["s", "v", "p"]),
        ({"screens": {"*": False}}, ["v"]),
        ({"user_identities": {"email": False}}, []),
        ({"user_identities": {"*": False}}, ["identities"]),
        ({"user_attributes": {"Colour": False, "$FirstName": False}}, ["attributes"]),
    ],
)
def test_with_new_data_points_on_all_but_what_is_named_is_sent(switches, kept_back):
    assert list(withheld(SAID, filter=Filter(**switches))) == kept_back


STATED = OtherEvent(id="c", type="user_attribute_change", attributes={"a": 1, "b": 2})


@pytest.mark.parametrize(
    ("switches", "event"),
    [
        ({"user_attributes": {"Colour": True}}, None),
        (
            {
                "user_attributes": {"Colour": True},
                "event_types": {"user_attribute_change": True},
                "event_attributes": {"user_attribute_change": {"a": True}},
            },
            replace(STATED, attributes={"a": 1}),
        ),
    ],
)
def test_the_event_that_states_a_change_is_filtered_like_any_other(switches, event):
    said = batch(attribute_changes=(AttributeChange(name="Colour", value="red", event=STATED),))
    (fact,) = govern(said, defaults=OFF, filter=Filter.model_validate(switches)).facts
    assert fact.arguments["changes"] == (AttributeChange(name="Colour", value="red", event=event),)


@pytest.mark.parametrize("spelt", ["remove_from_wish_list", "remove_from_wishlist"])
def test_what_is_taken_off_a_wishlist_may_be_spelt_as_mparticle_spells_it(spelt):
    said = batch(
        ProductAction(id="w", type="commerce_event", action="remove_from_wishlist", attributes={"a": 1, "b": 2})
    )
    filter = Filter.model_validate({"commerce": {spelt: True}, "commerce_attributes": {spelt: {"a": True}}})
    assert [one.arguments["event"].attributes for one in govern(said, defaults=OFF, filter=filter).facts] == [{"a": 1}]


def event_attributes(switches, default):
    result = govern(SAID, filter=Filter(events={"Signup": True}, **switches), defaults=default)
    return next(fact.arguments["event"].attributes for fact in result.facts if fact.id == "e")


@pytest.mark.parametrize(
    ("switches", "default", "sent"),
    [
        ({}, OFF, {}),
        ({}, Defaults(), {"plan": "gold", "$x": 1}),
        ({"event_attributes": {"Signup": {"plan": True}}}, OFF, {"plan": "gold"}),
        ({"event_attributes": {"Signup": {"*": True}}}, OFF, {"plan": "gold", "$x": 1}),
        ({"event_attributes": {"*": {"$x": True}}}, OFF, {"$x": 1}),
        ({"event_attributes": {"Signup": {"plan": False}}}, Defaults(), {"$x": 1}),
    ],
)
def test_an_event_that_is_on_sends_only_the_attributes_that_are(switches, default, sent):
    assert event_attributes(switches, default) == sent


def test_a_plugin_sees_nothing_of_what_is_off():
    switches = Filter(user_identities={"email": True}, user_attributes={"Colour": True}, events={"Signup": True})
    seen = govern(SAID, defaults=OFF, filter=switches).batch
    assert [one.type for one in seen.user.identities] == ["email"]
    assert (seen.user.attributes, [c.name for c in seen.attribute_changes]) == ({"Colour": "red"}, ["Colour"])
    assert [event.id for event in seen.events] == ["e"]
    assert seen.user.mpid == SAID.user.mpid


LOGIN = {"login_identities": ("customer_id",)}


@pytest.mark.parametrize(
    ("who", "refused"),
    [
        (user(customer_id="c-1"), False),
        (user(email="jo@example.com"), True),
        (user(customer_id="  "), True),
        (user(), True),
        (User(identities=(Identity(type="customer_id", value="e179e95c", encoding="md5"),)), False),
    ],
)
def test_only_users_with_a_login_identity_are_sent_where_the_rule_says_so(who, refused):
    reasons = set(withheld(batch(custom_event(), user=who), **LOGIN).values())
    assert reasons == ({"not_logged_in"} if refused else set())


def test_a_login_identity_need_not_be_sent_itself():
    result = govern(SAID, **LOGIN, filter=Filter(user_identities={"customer_id": False}))
    assert ([one.type for one in result.batch.user.identities], result.withheld) == (["email"], ())


def test_a_login_identity_may_be_spelt_as_firehose_spells_it():
    said = batch(custom_event(), user=user(customer_id="c-1"))
    assert withheld(said, login_identities=("customer",)) == {}


@pytest.mark.parametrize(("switches", "sent"), [({"Install": True}, {"publisher": "p"}), ({"Other": True}, None)])
def test_an_attribution_is_switched_as_the_event_that_it_is(switches, sent):
    install = Attribution(id="a", type="custom_event", name="Install", attributes={"publisher": "p", "campaign": "c"})
    filter = Filter(events=switches, event_attributes={"Install": {"publisher": True}})
    result = govern(batch(install), defaults=OFF, filter=filter)
    assert [fact.arguments["event"].attributes for fact in result.facts] == ([sent] if sent else [])


def test_the_login_rule_can_be_turned_off():
    said = batch(custom_event(), user=user())
    strict = Defaults(login_identities=("customer_id",))
    assert withheld(said, defaults=strict) != {}
    assert withheld(said, defaults=strict, login_identities=()) == {}


@pytest.mark.parametrize(
    ("platform", "refused"), [("ios", False), ("web", False), ("desktop", True), ("unknown", True), (None, False)]
)
def test_a_platform_that_the_destination_does_not_support_is_withheld(platform, refused):
    said = batch(custom_event(id="e"), device=Device(platform=platform))
    assert withheld(said, platforms=("ios", "web")) == ({"e": "unsupported_platform"} if refused else {})


@pytest.mark.parametrize(
    ("age_ms", "configured", "refused"),
    [
        (HOUR_MS, {"max_age_hours": 1}, False),
        (HOUR_MS + 1, {"max_age_hours": 1}, True),
        (HOUR_MS * 400, {}, False),
        (HOUR_MS * 400, {"defaults": Defaults(max_age_hours=336)}, True),
        (HOUR_MS * 400, {"defaults": Defaults(max_age_hours=336), "max_age_hours": 0}, False),
    ],
)
def test_what_is_too_old_is_withheld(age_ms, configured, refused):
    said = batch(custom_event(id="e"))
    assert withheld(said, now_ms=TIME_MS + age_ms, **configured) == ({"e": "too_old"} if refused else {})


def test_age_is_each_events_own():
    said = batch(custom_event(id="old", time_ms=TIME_MS - 2 * HOUR_MS), custom_event(id="new"))
    assert withheld(said, max_age_hours=1) == {"old": "too_old"}


def test_an_erasure_passes_every_rule_with_every_identity():
    said = batch(user=user(email="jo@example.com"), erasure=Erasure(request_id="r"), device=Device(platform="desktop"))
    result = govern(said, defaults=OFF, **LOGIN, platforms=("ios",), max_age_hours=1, now_ms=TIME_MS * 2)
    assert ([fact.id for fact in result.facts], result.batch) == (["erasure:r"], said)
