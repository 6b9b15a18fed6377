"""What mParticle imports is derived from what the plugins declare."""

from typing import Annotated, Literal

import pytest
from pydantic import Field, SecretStr

from gateway.mparticle.registration import make_registration
from gateway.sdk import Defaults, Destination, Settings

ALL_HOOKS = frozenset(
    {"on_identity", "on_attributes", "on_event", "on_session", "on_audience", "on_membership", "on_erasure"}
)
NOW = 1718000030000


class Brewing(Settings):
    host: str = Field(title="Host Name", description="Where it answers.")
    api_secret: SecretStr = Field(SecretStr("test-secret"), description="Its secret.")
    cups: Annotated[int, Field(ge=1, lt=10)] = 3
    strength: float | None = Field(default=None, gt=0, le=1)
    decaf: bool = False
    roast: Literal["light", "dark"] = "dark"
    stores: frozenset[str] = frozenset({"Vasastan", "Söder"})
    names: dict[str, str] = Field(default_factory=dict)
    grams: Annotated[int, Field(ge=1)] | None = None
    blend: int | str = 5
    label: str = Field(default_factory=lambda data: data["roast"])


class Plain(Settings):
    pass


def describe_plugin(name="brew", hooks=ALL_HOOKS, settings=Plain, offered=None, **fields):
    base = {"title": name.capitalize(), "description": f"All about {name}.", "settings": settings}
    destination = Destination(**{**base, **fields}, base_url=lambda settings: "https://brew.example")
    return name, "1.2.3", destination, frozenset(hooks), offered


def registered(*plugins, **more):
    return make_registration(plugins or [describe_plugin()], now_ms=NOW, request_id="r-1", **more)


def test_one_plugin_is_registered_as_itself():
    document = registered(describe_plugin(hooks=[]))
    assert document == {
        "type": "module_registration_response",
        "id": "r-1",
        "timestamp_ms": NOW,
        "firehose_version": "3.2.0",
        "name": "Brew",
        "version": "1.2.3",
        "description": "All about brew.",
        "permissions": document["permissions"],
    }


def test_several_plugins_are_registered_as_one_gateway():
    document = registered(describe_plugin("brew"), describe_plugin("bake"))
    assert (document["name"], document["description"]) == ("mParticle gateway", "All about brew. All about bake.")
    assert registered(own_name="Kaffeboden")["name"] == "Kaffeboden"


def test_a_plugin_with_several_connections_is_one():
    assert registered(describe_plugin("brew"), describe_plugin("brew"))["name"] == "Brew"


def test_the_description_fits():
    assert len(registered(describe_plugin(description="x" * 500))["description"]) == 229


def test_settings_keep_their_types_bounds_and_secrets():
    document = registered(describe_plugin(settings=Brewing))
    text = {"type": "text", "visible": True, "required": False}
    assert document["event_processing_registration"]["account_settings"] == [
        {**text, "id": "host", "name": "Host Name", "description": "Where it answers.", "required": True},
        {**text, "id": "api_secret", "name": "Api secret", "description": "Its secret.", "confidential": True},
        {**text, "type": "integer", "id": "cups", "name": "Cups", "default_value": 3, "min_value": 1, "max_value": 9},
        {**text, "type": "float", "id": "strength", "name": "Strength", "min_value": 0, "max_value": 1},
        {"type": "boolean", "id": "decaf", "name": "Decaf", "visible": True, "default_value": False, "checked": False},
        {**text, "id": "roast", "name": "Roast", "default_value": "dark"},
        {**text, "id": "stores", "name": "Stores", "default_value": '["Söder","Vasastan"]'},
        {**text, "id": "names", "name": "Names", "default_value": "{}"},
        {**text, "type": "integer", "id": "grams", "name": "Grams"},
        {**text, "id": "blend", "name": "Blend", "default_value": "5"},
        {**text, "id": "label", "name": "Label"},
    ]
    assert "test-secret" not in str(document)


def test_settings_of_several_plugins_say_whose_they_are():
    document = registered(describe_plugin("brew", settings=Brewing), describe_plugin("bake", settings=Brewing))
    settings = document["dsr_processing_registration"]["account_settings"]
    assert [(one["id"], one["name"]) for one in settings if one["id"].endswith("host")] == [
        ("brew.host", "Brew: Host Name"),
        ("bake.host", "Bake: Host Name"),
    ]


REGISTRATIONS = {"event_processing_registration", "audience_processing_registration", "dsr_processing_registration"}


@pytest.mark.parametrize(
    ("hooks", "expected"),
    [
        (ALL_HOOKS, REGISTRATIONS),
        (["on_event", "sign"], {"event_processing_registration"}),
        (["on_membership"], {"audience_processing_registration"}),
        (["on_audience"], {"audience_processing_registration"}),
        (["on_erasure"], {"dsr_processing_registration"}),
        (["sign"], set()),
    ],
)
def test_only_what_has_a_hook_is_registered(hooks, expected):
    assert set(registered(describe_plugin(hooks=hooks))) & REGISTRATIONS == expected


EVENTS = [
    "custom_event",
    "screen_view",
    "error",
    "privacy_setting_change",
    "push_subscription",
    "application_state_transition",
    "push_message_receipt",
    "push_message_open",
    "product_action",
    "promotion_action",
    "impression",
    "attribution",
]


@pytest.mark.parametrize(
    ("hooks", "event_types", "expected"),
    [
        (["on_event"], (), EVENTS),
        (["on_session"], (), ["session_start", "session_end"]),
        (["on_attributes", "on_identity"], (), ["user_attribute_change", "user_identity_change"]),
        (ALL_HOOKS, ("commerce_event",), ["product_action", "promotion_action", "impression"]),
        (ALL_HOOKS, ("custom_event", "session_end"), ["session_end", "custom_event"]),
        (ALL_HOOKS, ("custom_event", "attribution"), ["custom_event", "attribution"]),
        (ALL_HOOKS, ("push_message_open",), ["push_message_open"]),
        (["on_event"], ("session_start", "screen_view"), ["screen_view"]),
    ],
)
def test_event_types_need_a_hook_and_a_wish(hooks, event_types, expected):
    document = registered(describe_plugin(hooks=hooks, event_types=event_types))
    assert document["event_processing_registration"]["supported_event_types"] == expected


def permitted(document, whose):
    return [one["type"] for one in document["permissions"][whose]]


def test_identities_are_asked_for_by_their_firehose_names():
    names = ("email", "other_id_2", "ios_idfv", "android_uuid", "Partner_card")
    document = registered(describe_plugin(identities=names, defaults=Defaults(login_identities=("customer_id",))))
    assert permitted(document, "user_identities") == ["customer", "email", "other2"]
    assert permitted(document, "device_identities") == ["android_id", "ios_vendor_id"]
    assert {one["encoding"] for one in document["permissions"]["user_identities"]} == {"raw"}


def test_a_plugin_that_takes_all_identities_is_asked_for_all():
    document = registered(describe_plugin("brew", identities=("email",)), describe_plugin("bake"))
    assert (len(permitted(document, "user_identities")), len(permitted(document, "device_identities"))) == (20, 11)


def test_nothing_is_asked_for_that_no_hook_could_use():
    permissions = registered(describe_plugin(hooks=["on_membership"]))["permissions"]
    allowed = {name for name in permissions if name.startswith("allow_")}
    assert allowed == {"allow_access_mpid", "allow_audience_user_attributes"}
    assert not {name for name in registered()["permissions"] if "location" in name or "ip" in name.split("_")}


@pytest.mark.parametrize(
    ("platforms", "count", "some"),
    [
        (None, 10, {"unknown", "ios"}),
        (("web", "smart_tv"), 2, {"mobileweb", "smarttv"}),
        (("out_of_band",), 1, {"unknown"}),
        (("desktop",), 0, set()),
    ],
)
def test_environments_are_the_platforms(platforms, count, some):
    document = registered(describe_plugin(platforms=platforms))
    found = document["event_processing_registration"]["supported_runtime_environments"]
    assert (len(found), some <= set(found)) == (count, True)


@pytest.mark.parametrize(("ages", "hours"), [((24.0,), 24), ((1.5, 36.2), 37), ((24.0, None), -1), ((None,), -1)])
def test_data_may_be_as_old_as_some_plugin_takes_it(ages, hours):
    plugins = [describe_plugin(f"p{n}", defaults=Defaults(max_age_hours=age)) for n, age in enumerate(ages)]
    assert registered(*plugins)["event_processing_registration"]["max_data_age_hours"] == hours
