"""A Firehose message becomes canonical facts, and nothing that it names is lost."""

import json

import pytest
from msgspec.structs import replace

from gateway.sdk import (
    App,
    AppState,
    AttributeChange,
    Attribution,
    Consent,
    ConsentChange,
    ConsentRecord,
    CustomEvent,
    DataPlan,
    Device,
    ErrorReport,
    Identity,
    IdentityChange,
    Impression,
    ImpressionList,
    Location,
    OptOut,
    OtherEvent,
    Product,
    ProductAction,
    Promotion,
    PromotionAction,
    PushMessage,
    PushRegistration,
    Quarantined,
    ScreenView,
    Session,
    UnknownEvent,
    User,
    Workspace,
)

T = 1718000000000
GIVEN = ConsentRecord(consented=True, document="terms-7", time_ms=T - 86400000, location="till 4", hardware_id="hw-1")
REFUSED = ConsentRecord(
    consented=False, document="terms-6", time_ms=T - 86400000, location="till 4", hardware_id="hw-1"
)
BEANS = Product(
    id="bean-250",
    name="House Beans 250 g",
    brand="Kaffeboden",
    category="coffee",
    variant="whole",
    position=1,
    price=11.5,
    quantity=2,
    total_amount=23.0,
    coupon_code="BEANS",
    attributes={"roast": "dark"},
)
MUG = Product(id="mug-1", name="Mug", price=9, quantity=0.5)


@pytest.fixture
def batch(decoded, fixture):
    (one,) = decoded(fixture("firehose-events"))
    return one


def test_the_message_says_where_it_comes_from(batch):
    assert (batch.id, batch.part, batch.dialect) == ("3f2b6c1e-0000-4000-8000-000000000900", 0, "firehose")
    assert (batch.source_id, batch.received_ms) == ("a9d0c4f2-0000-4000-8000-000000000900", T + 20000)
    assert (batch.environment, batch.account_id, batch.channel) == ("development", "48151", "native")
    assert (batch.input_name, batch.device_stamp) == ("iOS app", "5c0e6b1a-3333-4444-8555-333333333333")
    assert batch.data_plan == DataPlan(id="loyalty", name="Loyalty plan", version=4)
    assert batch.integration_attributes == {"Loyalty.version": "2"}
    assert batch.workspace == Workspace(
        account_id="12",
        account_name="Kaffeboden AB",
        workspace_id="9007199254740993",
        workspace_name="Retail",
        app_name="Kaffeboden",
        app_version="3.1.0",
    )


def test_the_message_says_who_the_user_is(batch):
    assert batch.user == User(
        mpid="-7346244611012968789",
        identities=(
            Identity(type="customer_id", value="C-2001"),
            Identity(type="email", value="mara@example.com"),
            Identity(type="other_id_2", value="card-77"),
            Identity(type="mobile_number", value="+46700000000"),
        ),
        partner_identities=(Identity(type="Kaffeboden_card", value="77"),),
        attributes={
            "$FirstName": "Mara",
            "favourite_drink": "Cortado",
            "visits": "12",
            "stores": ["Söder", "Vasastan"],
        },
        removed_attributes=("trial_member",),
        consent=Consent(gdpr={"marketing": GIVEN}, ccpa={"data_sale_opt_out": REFUSED}),
    )
    assert batch.consent_changes == (
        ConsentChange(regulation="gdpr", purpose="marketing", old=REFUSED, new=GIVEN),
        ConsentChange(regulation="ccpa", purpose="data_sale_opt_out", new=REFUSED),
    )


def test_the_message_says_what_it_ran_on(batch):
    assert batch.app == App(name="Kaffeboden", version="3.1.0", package="example.kaffeboden")
    assert batch.device == Device(
        platform="ios",
        identities=(
            Identity(type="ios_advertising_id", value="6d5f1a04-7c11-4d3a-9f9e-111111111111"),
            Identity(type="ios_idfv", value="0a7b9c3d-1111-4222-8333-222222222222"),
            Identity(type="apple_push_notification_token", value="apns-token-1"),
        ),
        is_debug=True,
        user_agent="Kaffeboden/3.1 iOS",
        ip="192.0.2.7",
        sdk_version="8.24.0",
        details={"brand": "Apple", "os_version": "17.5", "screen_height": 2556, "is_dst": True, "timezone_offset": 2},
    )


def test_changes_are_no_events(batch):
    assert tuple(replace(change, event=None) for change in batch.identity_changes) == (
        IdentityChange(
            type="email",
            old=Identity(type="email", value="mara.old@example.com"),
            new=Identity(type="email", value="mara@example.com"),
            time_ms=T + 8000,
        ),
    )
    assert tuple(replace(change, event=None) for change in batch.attribute_changes) == (
        AttributeChange(name="favourite_drink", value="Cortado", time_ms=T + 6000),
        AttributeChange(name="trial_member", removed=True, old="yes", time_ms=T + 7000),
    )
    assert "user_attribute_change" not in [event.type for event in batch.events]


def common(number, type, **fields):
    return {
        "id": f"3f2b6c1e-0000-4000-8000-{number:012d}",
        "type": type,
        "source_id": f"a9d0c4f2-0000-4000-8000-{number:012d}",
        "time_ms": T + number * 1000,
        "session_id": "-4611686018427387905",
        **fields,
    }


HERE = Location(latitude=59.3293, longitude=18.0686, accuracy=12.5)
CLAIMED = {"reward": "Free Cortado", "points": "120", "store": "Söder"}
EVENTS = [
    Session(**common(1, "session_start", location=HERE), started=True),
    CustomEvent(
        **common(2, "custom_event", attributes=CLAIMED, custom_flags={"Loyalty.tier": "gold"}),
        name="Reward Claimed",
        custom_type="transaction",
    ),
    ScreenView(**common(3, "screen_view", attributes={"tab": "offers"}), name="Rewards"),
    ErrorReport(
        **common(4, "crash_report", attributes={"till": "4"}),
        message="card reader timed out",
        stack_trace="at Reader.open\nat Till.pay",
        breadcrumbs=("menu", "till"),
    ),
    OptOut(**common(5, "opt_out"), opted_out=True),
    PushRegistration(**common(9, "push_registration"), registered=True, token="apns-token-1"),
    AppState(**common(10, "application_state_transition"), state="install", launch_referral="kaffeboden://rewards"),
    PushMessage(**common(11, "push_message"), action="received", payload='{"campaign":"july"}'),
    PushMessage(**common(12, "push_message"), action="opened", payload='{"campaign":"july"}'),
    ProductAction(
        **common(13, "commerce_event", attributes={"gift": "false"}, custom_flags={"Till.id": "4"}),
        action="purchase",
        transaction_id="t-889",
        affiliation="Söder",
        total_amount=27.5,
        tax_amount=5.5,
        shipping_amount=0,
        currency_code="SEK",
        coupon_code="JULY",
        products=(BEANS, MUG),
    ),
    ProductAction(**common(14, "commerce_event"), action="remove_from_wishlist", products=(Product(id="mug-1"),)),
    PromotionAction(
        **common(15, "commerce_event", attributes={"season": "summer"}),
        action="click",
        promotions=(Promotion(id="p-1", name="July", creative="banner", position="top"),),
    ),
    Impression(
        **common(16, "commerce_event"),
        lists=(ImpressionList(name="Recommended", products=(Product(id="bean-250", price=11.5),)),),
    ),
    Attribution(
        **common(17, "custom_event", attributes={"publisher": "Radio", "campaign": "Summer"}),
        name="attribution",
        partner="AdPartner",
        publisher="Radio",
        campaign="Summer",
    ),
    Session(**common(18, "session_end"), started=False, length_ms=61000),
]


@pytest.mark.parametrize("expected", EVENTS, ids=lambda event: f"{type(event).__name__} {event.id[-2:]}")
def test_every_type_of_event_is_decoded_whole(batch, expected):
    assert [event for event in batch.events if event.id == expected.id] == [expected]


def test_nothing_else_was_found(batch):
    assert [event.id for event in batch.events] == [event.id for event in EVENTS]
    assert batch.quarantined == ()


def event(type, **fields):
    return {"type": type, "id": "e", "timestamp_ms": T, **fields}


BASE = {"id": "e", "time_ms": T}


@pytest.mark.parametrize(
    ("posted", "expected"),
    [
        (event("custom_event", name="N", custom_event_type="BREWED"), {"name": "N", "custom_type": "brewed"}),
        (event("Custom_Event", name=42), {"name": "42"}),
        (
            event("custom_event", name="N", attributes={"n": 1, "t": True, "z": None}),
            {"name": "N", "attributes": {"n": 1, "t": True, "z": None}},
        ),
        (event("custom_event", name="N", attributes=None, custom_flags=None, location={}), {"name": "N"}),
        (event("custom_event", name="N", session_id=0, source_id=""), {"name": "N", "session_id": "0"}),
        (
            event("custom_event", name="N", cup={"size": 2}, lid=None),
            {"name": "N", "details": {"cup": {"size": 2}, "lid": None}},
        ),
    ],
)
def test_odd_spellings_are_taken(firehose, posted, expected):
    assert firehose(posted).events == (CustomEvent(**BASE, type="custom_event", **expected),)


@pytest.mark.parametrize(
    ("posted", "expected"),
    [
        (event("screen_view"), ScreenView(**BASE, type="screen_view", name="")),
        (event("error", is_crash="True"), ErrorReport(**BASE, type="crash_report", is_crash=True)),
        (
            event("privacy_setting_change", setting="app_data_collection", is_enabled="true"),
            OptOut(**BASE, type="opt_out", opted_out=False),
        ),
        (
            event("privacy_setting_change", setting="microphone", is_enabled=False),
            UnknownEvent(**BASE, type="privacy_setting_change", details={"setting": "microphone", "is_enabled": False}),
        ),
        (
            event("push_subscription", action="unsubscribe", token="t"),
            PushRegistration(**BASE, type="push_registration", registered=False, token="t"),
        ),
        (
            event("push_message_receipt", payload={"aps": {"alert": "hi"}}),
            PushMessage(**BASE, type="push_message", action="received", payload='{"aps":{"alert":"hi"}}'),
        ),
        (
            event(
                "application_state_transition",
                application_state="background",
                source_package="p",
                launch_parameters="l",
                referral_application="r",
            ),
            AppState(
                **BASE,
                type="application_state_transition",
                state="background",
                source_package="p",
                launch_parameters="l",
                referral_application="r",
            ),
        ),
        (event("promotion_action", action="unknown"), PromotionAction(**BASE, type="commerce_event", action="unknown")),
        (
            event(
                "product_action",
                action="checkout",
                products=[None, {"id": 7, "price": "9.90", "quantity": "2", "position": "3"}],
            ),
            ProductAction(
                **BASE,
                type="commerce_event",
                action="checkout",
                products=(Product(id="7", price=9.9, quantity=2, position=3),),
            ),
        ),
        (
            event("stamp_card", stamps=[1, 2]),
            UnknownEvent(
                **BASE,
                type="stamp_card",
                details={"type": "stamp_card", "id": "e", "timestamp_ms": T, "stamps": [1, 2]},
            ),
        ),
        (
            event("session_end", session_length_ms="600"),
            Session(**BASE, type="session_end", started=False, length_ms=600),
        ),
    ],
)
def test_odd_events_are_taken(firehose, posted, expected):
    assert firehose(posted).events == (expected,)


@pytest.mark.parametrize(
    ("posted", "expected"),
    [
        (5, Quarantined(id="m-1:0", problem="events[0]: expected an object, got integer")),
        (None, Quarantined(id="m-1:0", problem="events[0]: expected an object, got null")),
        ({"id": "e"}, Quarantined(id="e", problem="events[0].type: missing")),
        ({"type": {}, "id": "e"}, Quarantined(id="e", problem="events[0].type: expected a string, got object")),
        (
            event("custom_event", name=["N"]),
            Quarantined(id="e", type="custom_event", problem="events[0].name: expected a string, got array"),
        ),
        (
            {"type": "session_start", "id": "e", "timestamp_ms": []},
            Quarantined(id="e", type="session_start", problem="events[0].timestamp_ms: expected a time, got array"),
        ),
        (
            event("custom_event", name="N", location={"latitude": "north"}),
            Quarantined(
                id="e", type="custom_event", problem="events[0].location.latitude: expected a number, got string"
            ),
        ),
        (
            event("product_action", action="purchase", products=[{}, {"attributes": [1]}]),
            Quarantined(
                id="e", type="product_action", problem="events[0].products[1].attributes: expected an object, got array"
            ),
        ),
        (
            event("impression", impressions=[{"products": [{"price": True}]}]),
            Quarantined(
                id="e",
                type="impression",
                problem="events[0].impressions[0].products[0].price: expected a number, got boolean",
            ),
        ),
        (
            event("privacy_setting_change"),
            Quarantined(id="e", type="privacy_setting_change", problem="events[0].is_enabled: missing"),
        ),
        (
            event("push_subscription", action="renew", token="t"),
            Quarantined(
                id="e",
                type="push_subscription",
                problem="events[0].action: expected subscribe or unsubscribe, got another string",
            ),
        ),
        (
            event("user_identity_change", added=[{"type": "email", "value": {}}]),
            Quarantined(
                id="e", type="user_identity_change", problem="events[0].added[0].value: expected a string, got object"
            ),
        ),
    ],
)
def test_an_event_that_cannot_be_read_is_set_aside_and_spoils_nothing(firehose, decoded, posted, expected):
    assert firehose(events=[posted]).quarantined == (expected,)
    message = {"type": "event_processing_request", "id": "m-1", "events": [posted, event("session_start", id="good")]}
    (batch,) = decoded(message)
    assert ([one.id for one in batch.events], len(batch.quarantined)) == (["good"], 1)


def test_a_number_beyond_all_bounds_spoils_its_event_alone(decoded):
    events = f'[{{"type": "session_start", "id": "a", "x": 1e999}}, {json.dumps(event("session_start"))}]'
    (batch,) = decoded(f'{{"type": "event_processing_request", "id": "m", "events": {events}}}'.encode())
    assert batch.quarantined == (
        Quarantined(id="a", type="session_start", problem="events[0].x: a number out of range"),
    )
    assert [one.id for one in batch.events] == ["e"]


def test_events_are_put_in_order_of_time(firehose):
    times = [("a", 5), ("b", None), ("c", 3), ("d", 5), ("e", None), ("f", 1)]
    posted = [{"type": "session_start", "id": id, "timestamp_ms": time} for id, time in times]
    batch = firehose(events=[{"type": "session_start", "id": "z"}, *posted])
    assert "".join(one.id for one in batch.events) == "zfcabde"


def test_changes_take_effect_in_order_of_time(firehose):
    batch = firehose(
        events=[
            {"type": "user_attribute_change", "timestamp_ms": 3, "removed": {"late": "1"}},
            {"type": "user_attribute_change", "timestamp_ms": 2, "added": {"late": "1", "back": "2"}},
            {"type": "user_attribute_change", "timestamp_ms": 1, "removed": {"back": "0", "gone": "0"}},
        ]
    )
    assert [(one.name, one.removed) for one in batch.attribute_changes] == [
        ("back", True),
        ("gone", True),
        ("late", False),
        ("back", False),
        ("late", True),
    ]
    assert batch.user.removed_attributes == ("gone", "late")


@pytest.mark.parametrize(
    ("type", "added"),
    [
        ("user_attribute_change", {"a": "x", "b": "y"}),
        (
            "user_identity_change",
            [{"type": type, "encoding": "raw", "value": "v"} for type in ("customer", "other")],
        ),
    ],
)
def test_the_event_that_states_changes_is_kept(firehose, type, added):
    posted = {"source_id": "s-1", "session_id": "8", "location": {"latitude": 1.5}, "custom_flags": {"f": "1"}}
    batch = firehose(event(type, added=added, attributes={"c": "d"}, **posted))
    told = OtherEvent(
        id="e",
        type=type,
        source_id="s-1",
        time_ms=T,
        session_id="8",
        location=Location(latitude=1.5),
        attributes={"c": "d"},
        custom_flags={"f": "1"},
    )
    assert [change.event for change in (*batch.attribute_changes, *batch.identity_changes)] == [told, told]


def test_an_attribute_both_removed_and_added_was_changed(firehose):
    batch = firehose(event("user_attribute_change", added={"a": "new"}, removed={"a": "old", "b": "x"}))
    assert tuple(replace(change, event=None) for change in batch.attribute_changes) == (
        AttributeChange(name="b", removed=True, old="x", time_ms=T),
        AttributeChange(name="a", value="new", old="old", time_ms=T),
    )


def test_identities_lost_and_gained_are_paired_by_type(firehose):
    def identity(type, value):
        return {"type": type, "encoding": "raw", "value": value}

    batch = firehose(
        event(
            "user_identity_change",
            added=[identity("other", "o"), identity("email", "new"), identity("email", "second")],
            removed=[identity("email", "old"), identity("customer", "c")],
        )
    )
    assert [(one.type, one.old and one.old.value, one.new and one.new.value) for one in batch.identity_changes] == [
        ("customer_id", "c", None),
        ("email", "old", "new"),
        ("email", None, "second"),
        ("other", None, "o"),
    ]


def test_thousands_of_changes_take_no_longer_than_their_number_asks(firehose):
    def identities(value):
        return [{"type": f"t{number}", "encoding": "raw", "value": value} for number in range(9_000)]

    batch = firehose(event("user_identity_change", added=identities("new"), removed=identities("old")))
    assert {(one.old.value, one.new.value) for one in batch.identity_changes} == {("old", "new")}


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("raw", "raw"),
        (None, "raw"),
        ("none", "raw"),
        ("sha256", "sha256"),
        ('"sha-256"', "sha256"),
        ("MD5", "md5"),
        ("crc", "crc"),
    ],
)
def test_a_hash_is_never_taken_for_the_value(firehose, encoding, expected):
    batch = firehose(user_identities=[{"type": "email", "encoding": encoding, "value": "v"}])
    assert batch.user.identities == (Identity(type="email", value="v", encoding=expected),)


@pytest.mark.parametrize(
    ("posted", "expected"),
    [
        ("customer", "customer_id"),
        ("customerId", "customer_id"),
        ("customerid", "customer_id"),
        ("customer_id", "customer_id"),
        ("other", "other"),
        ("other5", "other_id_5"),
        ("other10", "other_id_10"),
        ("other_id_3", "other_id_3"),
        ("phone_number_2", "phone_number_2"),
        ("email_address", "email_address"),
        ("externalId", "externalId"),
    ],
)
def test_identity_types_have_one_spelling(firehose, posted, expected):
    batch = firehose(user_identities=[{"type": posted, "encoding": "raw", "value": "v"}])
    assert batch.user.identities == (Identity(type=expected, value="v"),)


def test_several_identities_of_a_type_are_kept_and_blank_ones_are_none(firehose):
    values = ["a", "", " ", None, 7, "b"]
    batch = firehose(user_identities=[{"type": "email", "encoding": "raw", "value": value} for value in values])
    assert [identity.value for identity in batch.user.identities] == ["a", "7", "b"]


@pytest.mark.parametrize(
    ("type", "channel", "platform"),
    [
        ("ios", None, "ios"),
        ("ios", "partner", "ios"),
        ("mobileweb", None, "web"),
        ("firetv", None, "fire_tv"),
        ("smarttv", None, "smart_tv"),
        ("unknown", "native", "unknown"),
        ("unknown", "partner", "out_of_band"),
        ("unknown", "server_to_server", "out_of_band"),
        ("visionos", None, "visionos"),
        (None, "partner", None),
    ],
)
def test_platforms_have_one_spelling(firehose, type, channel, platform):
    batch = firehose(runtime_environment={"type": type, "build_id": "b"}, source_channel=channel)
    assert batch.device.platform == platform


@pytest.mark.parametrize(
    ("environment", "expected"),
    [(None, None), ({"type": "ios"}, "production"), ({"type": "ios", "is_debug": "True"}, "development")],
)
def test_the_environment_is_told_from_the_build(firehose, environment, expected):
    assert firehose(runtime_environment=environment).environment == expected


def test_the_feed_is_named_by_an_attribute_where_nothing_else_does(firehose):
    feed = event("custom_event", name="N", attributes={"mParticle Source Feed": "tills"})
    assert firehose(feed).input_name == "tills"
    assert firehose(feed, platform_fields={"input_name": "POS"}).input_name == "POS"


def test_a_list_posted_as_null_is_empty(firehose):
    assert firehose(user_attribute_lists={"l": None, "m": ["x"]}).user.attributes == {"a": "b", "l": [], "m": ["x"]}


def test_an_event_without_an_id_is_named_by_its_place(firehose):
    batch = firehose(events=[event("session_start"), {"type": "session_end"}])
    assert [one.id for one in batch.events] == ["e", "m-1:1"]


def test_consent_that_does_not_say_what_was_decided_is_none(firehose):
    batch = firehose(
        consent_state={"gdpr_consent_state": {"ads": None, "mail": {"document": "d"}, "sms": {"consented": "true"}}},
        system_notifications=[{"type": "gdpr_consent_state", "new_gdpr_consent_state": {"consented": True}}, None],
    )
    assert batch.user.consent == Consent(gdpr={"sms": ConsentRecord(consented=True)})
    assert batch.consent_changes == ()
