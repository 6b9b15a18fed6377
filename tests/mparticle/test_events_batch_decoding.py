"""An Events batch becomes canonical facts, and nothing that it names is lost."""

import pytest
from msgspec.structs import replace

from gateway.sdk import (
    App,
    AppState,
    AttributeChange,
    Attribution,
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
    PromotionAction,
    PushMessage,
    PushRegistration,
    Quarantined,
    ScreenView,
    Session,
    UnknownEvent,
)

T = 1718000000000


@pytest.fixture
def batch(decoded, fixture):
    (one,) = decoded(fixture("events-batch-outbound"))
    return one


def test_the_batch_says_where_it_comes_from(batch):
    assert (batch.id, batch.dialect) == ("3f2b6c1e-0000-4000-8000-000000000901", "events")
    assert (batch.source_id, batch.received_ms) == ("a9d0c4f2-0000-4000-8000-000000000900", T + 20000)
    assert (batch.environment, batch.channel, batch.input_name) == ("development", "native", "iOS app")
    assert (batch.is_historical, batch.account_id) == (False, None)
    assert batch.data_plan == DataPlan(id="loyalty", version=4)
    assert batch.integration_attributes == {"Loyalty": {"version": "2"}}
    assert batch.attribution == {"service_provider": "AdPartner", "publisher": "Radio", "campaign": "Summer"}


def test_the_batch_says_what_it_ran_on(batch):
    assert batch.device == Device(
        platform="ios",
        identities=(
            Identity(type="ios_advertising_id", value="6d5f1a04-7c11-4d3a-9f9e-111111111111"),
            Identity(type="ios_idfv", value="0a7b9c3d-1111-4222-8333-222222222222"),
            Identity(type="apple_push_notification_token", value="apns-token-1"),
        ),
        user_agent="Kaffeboden/3.1 iOS",
        ip="192.0.2.7",
        sdk_version="8.24.0",
        details={
            "brand": "Apple",
            "os_version": "17.5",
            "screen_height": 2556,
            "is_dst": True,
            "timezone_offset": 2,
            "supports_telephony": "",
        },
    )
    assert batch.app == App(
        name="Kaffeboden",
        version="3.1.0",
        package="example.kaffeboden",
        details={"os": "IOS", "application_build_number": "310"},
    )


def test_identities_in_an_array_say_since_when(batch):
    assert batch.user.identities[:2] == (
        Identity(type="customer_id", value="C-2001", since_ms=T - 900000000),
        Identity(type="email", value="mara@example.com", since_ms=T + 8000, created_this_batch=True),
    )


def test_changes_say_what_was_before(batch):
    assert tuple(replace(change, event=None) for change in batch.attribute_changes) == (
        AttributeChange(name="favourite_drink", value="Cortado", is_new=True, time_ms=T + 6000),
        AttributeChange(name="trial_member", removed=True, old="yes", is_new=False, time_ms=T + 7000),
    )
    assert [(one.old and one.old.value, one.new and one.new.value) for one in batch.identity_changes] == [
        ("mara.old@example.com", "mara@example.com")
    ]


def test_64_bits_stay_64_bits(batch):
    first = batch.events[0]
    assert (batch.user.mpid, first.id, first.session_id, first.time_ms) == (
        "-7346244611012968789",
        "5000000000000000001",
        "-4611686018427387905",
        T + 1000,
    )


def test_the_inbound_variant_is_as_good(decoded, fixture):
    (batch,) = decoded(fixture("events-batch-inbound"))
    assert batch.user.identities == (
        Identity(type="customer_id", value="C-2002"),
        Identity(type="email", value="noor@example.com"),
        Identity(type="other_id_5", value="17"),
    )
    assert batch.user.attributes == {"$age": 41, "newsletter": True, "stores": ["Vasastan"], "tagged": None}
    assert (batch.user.mpid, batch.device, batch.environment) == (None, Device(), "production")
    times = {"id": f"{batch.id}:0", "time_ms": 1718000100000}
    assert batch.events == (
        CustomEvent(
            **times,
            type="custom_event",
            name="Stamp Collected",
            custom_type="other",
            attributes={"stamps": 9, "full": False},
        ),
        OtherEvent(
            id=f"{batch.id}:1",
            type="breadcrumb",
            time_ms=1718000100001,
            details={"label": "till", "session_number": 3},
        ),
        OtherEvent(id=f"{batch.id}:2", type="uninstall", time_ms=1718000100002),
        UnknownEvent(
            id=f"{batch.id}:3",
            type="stamp_card_torn",
            time_ms=1718000100003,
            details={"timestamp_unixtime_ms": 1718000100003, "sheet": {"row": 2}},
        ),
    )


def event(type, **data):
    return {"event_type": type, "data": {"event_id": 7, **data}}


AST = "application_state_transition"
CUSTOM = {"id": "7", "type": "custom_event"}
COMMERCE = {"id": "7", "type": "commerce_event"}


@pytest.mark.parametrize(
    ("posted", "expected"),
    [
        (
            event("custom_event", event_name="N", custom_event_type="Consent"),
            CustomEvent(**CUSTOM, name="N", custom_type="consent"),
        ),
        (
            {"event_type": "custom_event", "message_id": "x", "data": {"event_id": "7", "event_name": "N", "lid": 1}},
            CustomEvent(**CUSTOM, name="N", details={"message_id": "x", "lid": 1}),
        ),
        (
            event("screen_view", screen_name=None, activity_type="x"),
            ScreenView(id="7", type="screen_view", name="", details={"activity_type": "x"}),
        ),
        (
            event("session_start", location={"latitude": "59.3", "longitude": -18, "city_name": "Stockholm"}),
            Session(
                id="7",
                type="session_start",
                started=True,
                location=Location(latitude=59.3, longitude=-18, details={"city_name": "Stockholm"}),
            ),
        ),
        (
            event("session_start", session_uuid="u", session_start_unixtime_ms=0),
            Session(
                id="7", type="session_start", started=True, session_uuid="u", details={"session_start_unixtime_ms": 0}
            ),
        ),
        (
            event("crash_report", message="m", severity="fatal"),
            ErrorReport(id="7", type="crash_report", message="m", is_crash=True, details={"severity": "fatal"}),
        ),
        (
            event("crash_report", exception_handled=True, breadcrumbs=[{}]),
            ErrorReport(id="7", type="crash_report", breadcrumbs=({},)),
        ),
        (event("opt_out", is_opted_out="False"), OptOut(id="7", type="opt_out", opted_out=False)),
        (
            event("push_registration", register=False, registration_token="t"),
            PushRegistration(id="7", type="push_registration", registered=False, token="t"),
        ),
        (
            event(
                "push_message",
                push_message_type="sent",
                message="m",
                network="apn",
                push_message_token="t",
                push_message_behavior=2,
            ),
            PushMessage(
                id="7",
                type="push_message",
                action="sent",
                message="m",
                network="apn",
                token="t",
                details={"push_message_behavior": 2},
            ),
        ),
        (event("push_message", push_message_type="action"), PushMessage(id="7", type="push_message", action="opened")),
        (
            event(AST, application_transition_type="application_initialized"),
            AppState(id="7", type=AST, state="initialize"),
        ),
        (
            event(AST, application_transition_type="application_initialized", is_first_run=True, is_upgrade=True),
            AppState(id="7", type=AST, state="install", details={"is_first_run": True, "is_upgrade": True}),
        ),
        (
            event(AST, application_transition_type="application_initialized", is_upgrade="true"),
            AppState(id="7", type=AST, state="upgrade", details={"is_upgrade": "true"}),
        ),
        (
            event(AST, application_transition_type="application_background", is_upgrade=True),
            AppState(id="7", type=AST, state="background", details={"is_upgrade": True}),
        ),
        (event(AST, application_transition_type="Application_Exit"), AppState(id="7", type=AST, state="exit")),
        (event("first_run"), OtherEvent(id="7", type="first_run")),
        (
            event("profile", profile_event_type="login"),
            OtherEvent(id="7", type="profile", details={"profile_event_type": "login"}),
        ),
        (event("push_reaction"), OtherEvent(id="7", type="push_reaction")),
        (event("pre_attribution"), OtherEvent(id="7", type="pre_attribution")),
        (event("validation_result"), OtherEvent(id="7", type="validation_result")),
        (
            event("network_performance", response_code="200"),
            OtherEvent(id="7", type="network_performance", details={"response_code": "200"}),
        ),
        (event("unknown", x=1), UnknownEvent(id="7", type="unknown", details={"event_id": 7, "x": 1})),
        ({"event_type": "uninstall"}, OtherEvent(id="m-1:0", type="uninstall")),
        (
            event(
                "commerce_event",
                product_action={
                    "action": "Purchase",
                    "total_amount": "9.5",
                    "checkout_step": "2",
                    "checkout_options": "card",
                    "product_action_list": "l",
                    "product_list_source": "s",
                    "tip": 1,
                    "products": [{"id": 3, "added_to_cart_time_ms": "5", "total_product_amount": 4}],
                },
                promotion_action=None,
                currency_code="SEK",
                screen_name="Till",
                is_non_interactive=False,
            ),
            ProductAction(
                **COMMERCE,
                action="purchase",
                total_amount=9.5,
                checkout_step=2,
                checkout_options="card",
                list_name="l",
                list_source="s",
                currency_code="SEK",
                products=(Product(id="3", added_to_cart_ms=5, total_amount=4),),
                details={
                    "promotion_action": None,
                    "screen_name": "Till",
                    "is_non_interactive": False,
                    "product_action": {"tip": 1},
                },
            ),
        ),
        (
            event("commerce_event", product_action={"action": "remove_from_wishlist"}),
            ProductAction(**COMMERCE, action="remove_from_wishlist"),
        ),
        (
            event("commerce_event", product_action={}, promotion_action={"action": "view"}),
            PromotionAction(**COMMERCE, action="view", details={"product_action": {}}),
        ),
        (
            event("commerce_event", product_action={}, promotion_action=None, product_impressions=[{"products": None}]),
            Impression(**COMMERCE, lists=(ImpressionList(),), details={"product_action": {}, "promotion_action": None}),
        ),
        (
            event(
                "custom_event",
                event_name="re-engagement",
                custom_event_type="attribution",
                custom_attributes={"Publisher": "Radio", "CAMPAIGN": "S", "n": 1},
            ),
            Attribution(
                **CUSTOM,
                name="re-engagement",
                publisher="Radio",
                campaign="S",
                attributes={"Publisher": "Radio", "CAMPAIGN": "S", "n": 1},
            ),
        ),
    ],
)
def test_every_type_of_event_is_decoded_whole(events_batch, posted, expected):
    assert events_batch(posted).events == (expected,)


@pytest.mark.parametrize(
    ("posted", "problem"),
    [
        ([], "events[0]: expected an object, got array"),
        ({"data": {"event_id": 7}}, "events[0].event_type: missing"),
        ({"event_type": "", "data": {"event_id": 7}}, "events[0].event_type: missing"),
        ({"event_type": "session_start", "data": [1]}, "events[0].data: expected an object, got array"),
        (event("custom_event", event_name=["N"]), "events[0].data.event_name: expected a string, got array"),
        (
            event("custom_event", event_name="N", timestamp_unixtime_ms="soon"),
            "events[0].data.timestamp_unixtime_ms: expected a time, got string",
        ),
        (event("opt_out"), "events[0].data.is_opted_out: missing"),
        (
            event("commerce_event", product_action=None),
            "events[0].data: neither a product_action nor a promotion_action nor product_impressions",
        ),
        (event("commerce_event", product_action={"products": []}), "events[0].data.product_action.action: missing"),
        (
            event("commerce_event", product_action={"action": "click", "products": [1]}),
            "events[0].data.product_action.products[0]: expected an object, got integer",
        ),
        (event("user_attribute_change", new="x"), "events[0].data.user_attribute_name: missing"),
        (event("user_identity_change", new={"identity": "x"}), "events[0].data.new.identity_type: missing"),
    ],
)
def test_an_event_that_cannot_be_read_is_set_aside(events_batch, posted, problem):
    batch = events_batch(posted)
    assert batch.events == ()
    assert [one.problem for one in batch.quarantined] == [problem]


def test_a_quarantined_event_keeps_its_id_and_type(events_batch):
    assert events_batch(event("opt_out", event_id="-9007199254740993")).quarantined == (
        Quarantined(id="-9007199254740993", type="opt_out", problem="events[0].data.is_opted_out: missing"),
    )


@pytest.mark.parametrize("name", [{}, {"event_name": None}, {"event_name": ""}])
def test_an_event_without_a_name_is_one_whose_name_is_empty(events_batch, name):
    (custom,) = events_batch(event("custom_event", **name)).events
    assert (type(custom), custom.name) == (CustomEvent, "")


def recorded(value, type="email", **fields):
    return {"identity_type": type, "identity": value, **fields}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"new": recorded("n"), "old": None}, [("email", None, "n")]),
        ({"new": recorded("n"), "old": recorded(None)}, [("email", None, "n")]),
        ({"new": recorded(None), "old": recorded("o")}, [("email", "o", None)]),
        ({"new": recorded("n"), "old": recorded("o")}, [("email", "o", "n")]),
        (
            {"new": recorded("n", "customerid"), "old": recorded("o")},
            [("email", "o", None), ("customer_id", None, "n")],
        ),
        ({"new": None, "old": None}, []),
    ],
)
def test_an_identity_is_gained_lost_or_changed(events_batch, change, expected):
    changes = events_batch(event("user_identity_change", **change)).identity_changes
    assert [(one.type, one.old and one.old.value, one.new and one.new.value) for one in changes] == expected
    assert all(isinstance(one, IdentityChange) for one in changes)


def test_a_batch_says_by_which_replay_it_came_and_all_of_its_ids(events_batch):
    source = {"replay_request_id": "r-1", "replay_job_id": "j-1", "is_historical": True}
    ids = {"batch_id": -5, "unique_id": "u-1", "job_id": "j-2", "origin_mpid": "7"}
    batch = events_batch(source_info=source, **ids)
    assert {name: getattr(batch, name) for name in (*source, *ids)} == {**source, **ids, "batch_id": "-5"}
    assert (batch.is_replayed, events_batch().is_replayed) == (True, False)
    plain = events_batch(source_info=dict.fromkeys(source), **{**dict.fromkeys(ids), "origin_mpid": 0})
    assert plain == events_batch()


@pytest.mark.parametrize(
    ("type", "change"),
    [
        ("user_attribute_change", {"user_attribute_name": "n", "new": "x", "old": "y"}),
        ("user_identity_change", {"new": {"identity_type": "email", "identity": "a@example.com"}}),
    ],
)
def test_the_event_that_states_a_change_is_kept(events_batch, type, change):
    data = {
        "event_id": 9,
        "source_message_id": "s-1",
        "timestamp_unixtime_ms": T,
        "session_id": 8,
        "session_uuid": "u-1",
        "location": {"latitude": 1.5},
        "custom_attributes": {"a": ["b", None]},
        "custom_flags": {"f": 1},
        "event_num": 3,
    }
    batch = events_batch({"event_type": type, "data": {**data, **change}})
    (stated,) = (*batch.attribute_changes, *batch.identity_changes)
    assert stated.event == OtherEvent(
        id="9",
        type=type,
        source_id="s-1",
        time_ms=T,
        session_id="8",
        session_uuid="u-1",
        location=Location(latitude=1.5),
        attributes={"a": ["b"]},
        custom_flags={"f": 1},
        details={"event_num": 3},
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"new": ["x"], "old": None}, AttributeChange(name="n", value=["x"])),
        ({"new": None, "deleted": False}, AttributeChange(name="n")),
        ({"new": "x", "deleted": "True"}, AttributeChange(name="n", removed=True)),
    ],
)
def test_an_attribute_is_set_tagged_or_removed(events_batch, change, expected):
    batch = events_batch(event("user_attribute_change", user_attribute_name="n", **change))
    assert [replace(change, event=None) for change in batch.attribute_changes] == [expected]


@pytest.mark.parametrize(
    ("spelled", "time_ms"),
    [(T, T), (str(T), T), (f" {T} ", T), (float(T), T), ("", None), (" ", None), (None, None)],
)
def test_times_are_taken_however_they_are_spelled(events_batch, spelled, time_ms):
    (event_read,) = events_batch(event("session_start", timestamp_unixtime_ms=spelled)).events
    assert event_read.time_ms == time_ms


@pytest.mark.parametrize(
    ("spelled", "mpid"),
    [(7, "7"), ("7", "7"), (" 7 ", "7"), (7.0, "7"), (0, None), ("0", None), ("", None), (None, None)],
)
def test_mpids_are_taken_however_they_are_spelled(events_batch, spelled, mpid):
    assert events_batch(mpid=spelled).user.mpid == mpid


@pytest.mark.parametrize(
    ("spelled", "price"),
    [(9, 9), (9.5, 9.5), ("9", 9), ("9.50", 9.5), (".5", 0.5), ("-3", -3), ("", None), (None, None)],
)
def test_money_is_taken_however_it_is_spelled(events_batch, spelled, price):
    bought = event("commerce_event", product_action={"action": "purchase", "products": [{"price": spelled}]})
    (purchase,) = events_batch(bought).events
    assert purchase.products == (Product(price=price),)


@pytest.mark.parametrize("spelled", ["nan", "inf", "1e5", "1_000", "٣", "0x1"])
def test_what_only_python_takes_for_a_number_is_none(events_batch, spelled):
    bought = event("commerce_event", product_action={"action": "purchase", "total_amount": spelled})
    batch = events_batch(bought)
    assert [one.problem for one in batch.quarantined] == [
        "events[0].data.product_action.total_amount: expected a number, got string"
    ]


def test_deleted_attributes_and_removals_are_told_together(events_batch):
    gone = event("user_attribute_change", user_attribute_name="n", deleted=True)
    batch = events_batch(gone, deleted_user_attributes=["x", None, "n", ""])
    assert batch.user.removed_attributes == ("x", "n")


@pytest.mark.parametrize(
    ("members", "platform"),
    [
        ({"device_info": {"platform": "tvOS"}}, "tvos"),
        ({"device_info": {"platform": "web"}, "application_info": {"os": "IOS"}}, "web"),
        ({"application_info": {"os": "MobileWeb"}}, "web"),
        ({"application_info": {"os": "FireTV"}}, "fire_tv"),
        ({"application_info": {"os": "SmartTV"}}, "smart_tv"),
        ({"application_info": {"os": "OutOfBand"}}, "out_of_band"),
        ({"application_info": {"os": "Unknown"}, "source_info": {"channel": "partner"}}, "out_of_band"),
        ({"application_info": {"os": "Unknown"}}, None),
        ({"application_info": {"os": "UNKNOWN"}, "source_info": {"channel": "native"}}, None),
        ({"device_info": {"platform": ""}, "application_info": {"os": "Unknown"}}, None),
        ({"device_info": {"platform": "Unknown"}, "application_info": {"os": "IOS"}}, "unknown"),
        ({"device_info": {"platform": "iOS"}, "application_info": {"os": "Unknown"}}, "ios"),
        ({"application_info": {"os": "UnityIOS"}}, "desktop"),
        ({"source_info": {"channel": "partner"}}, None),
    ],
)
def test_the_platform_is_told_by_the_device_or_else_by_its_system(events_batch, members, platform):
    assert events_batch(**members).device.platform == platform


@pytest.mark.parametrize(
    ("platform", "type"),
    [
        ("iOS", "apple_push_notification_token"),
        ("Android", "google_cloud_messaging_token"),
        ("web", "push_token"),
        (None, "push_token"),
    ],
)
def test_a_push_token_is_named_by_its_platform(events_batch, platform, type):
    batch = events_batch(device_info={"platform": platform, "push_token": "t"})
    assert batch.device.identities == (Identity(type=type, value="t"),)


@pytest.mark.parametrize("zero", ["00000000-0000-0000-0000-000000000000", "00000000000000000000000000000000"])
def test_the_id_of_no_device_is_none(events_batch, zero):
    batch = events_batch(mp_deviceid=zero, device_info={"android_uuid": zero, "ios_idfv": zero, "amp_id": "amp"})
    assert (batch.device_stamp, batch.device.identities) == (None, (Identity(type="amp_id", value="amp"),))


def test_a_partner_identity_may_have_no_type(events_batch):
    batch = events_batch(partner_identities={"Kaffeboden_card": 77}, partner_identity="p")
    assert batch.user.partner_identities == (
        Identity(type="Kaffeboden_card", value="77"),
        Identity(type="partner_identity", value="p"),
    )


def test_history_is_told(events_batch):
    assert events_batch(source_info={"is_historical": "true", "partner": "POS"}).is_historical


def test_the_rest_of_the_context_is_kept(events_batch):
    batch = events_batch(context={"data_plan": {"plan_id": "p"}, "location": {"country_code": "SE"}})
    assert batch.context == {"location": {"country_code": "SE"}}
