from __future__ import annotations

from datetime import UTC, datetime

import pytest

import gateway_sessionm
from gateway.sdk import Attribution, Call, Device, OptOut, OtherEvent, ProductAction, PushMessage, Skip, UnknownEvent
from gateway.testing import batch, custom_event, plan_with, screen_view, session, user

VALUES = {"host": "https://api-acme.stg-sessionm.com", "api_key": "test-key", "api_secret": "test-secret"}


def plan(*events, person=None, **settings) -> list[Call | Skip]:
    return plan_with(gateway_sessionm, batch(*events, user=person), {**VALUES, **settings})


def sent(event, **settings) -> dict:
    (call,) = (item for item in plan(event, **settings) if isinstance(item, Call))
    return call.json["events"]


def body(event) -> dict:
    (inner,) = sent(event).values()
    return inner


def test_r01_a_custom_event_is_posted_under_its_name():
    (call,) = plan(custom_event("Reward Claimed", custom_type="other", attributes={"tier": "Gold"}))
    assert (call.method, call.path) == ("POST", "external/users/7346244611012968789/events")
    assert call.json == {
        "events": {
            "Reward Claimed": {
                "transaction_id": "5b7a3f0e-0000-4000-8000-000000000001",
                "qty": "1",
                "date": "2024-05-01T12:14:56.789Z",
                "context": {"tier": "Gold"},
            }
        }
    }


@pytest.mark.parametrize("name", ["", " ", "\t\n"])
def test_r01_an_event_without_a_name_is_skipped(name):
    assert plan(custom_event(name)) == [Skip(reason="missing_event_name")]


@pytest.mark.parametrize("name", [None, "", " "])
def test_r01_an_attribution_in_an_events_batch_is_a_custom_event(name):
    def planned(name):
        event = Attribution(
            id="1", type="custom_event", name=name, publisher="Radio", attributes={"publisher": "Radio"}
        )
        return plan_with(gateway_sessionm, batch(event, dialect="events"), VALUES)

    (call,) = planned("re-engagement")
    assert call.json == {
        "events": {"re-engagement": {"transaction_id": "1", "qty": "1", "context": {"publisher": "Radio"}}}
    }
    assert planned(name) == [Skip(reason="missing_event_name")]


def test_r02_a_screen_view_is_posted_like_an_event():
    assert sent(screen_view("Home", attributes={"tab": "1"})) == {
        "Home": {
            "transaction_id": "5b7a3f0e-0000-4000-8000-000000000001",
            "qty": "1",
            "date": "2024-05-01T12:14:56.789Z",
            "context": {"tab": "1"},
        }
    }


def test_r02_a_screen_view_without_a_name_is_skipped():
    assert plan(screen_view("")) == [Skip(reason="missing_screen_name")]


@pytest.mark.parametrize(
    "event",
    [
        session(),
        session(started=False),
        ProductAction(id="1", type="commerce_event", action="purchase"),
        PushMessage(id="1", type="push_message", action="opened"),
        OptOut(id="1", type="opt_out", opted_out=True),
        OtherEvent(id="1", type="breadcrumb"),
        UnknownEvent(id="1", type="new_at_mparticle"),
        Attribution(id="1", type="custom_event", name="re-engagement", partner="AdPartner"),
    ],
)
def test_r03_every_other_event_is_skipped(event):
    assert plan(event) == [Skip(reason="unsupported_event_type")]


def test_r03_the_profile_is_written_nevertheless():
    items = plan(session(), person=user(attributes={"a": "1"}))
    assert [item.method if isinstance(item, Call) else item.reason for item in items] == [
        "PUT",
        "unsupported_event_type",
    ]


def test_r06_an_undefined_event_is_rejected_alone(bench):
    here = bench()
    here.vendor.seed({"users": [{"external_id": "7346244611012968789"}]})
    events = (custom_event("Unheard Of", id="1"), custom_event("Reward Claimed", id="2"))
    assert here.deliver(batch(*events)) == ["rejected undefined_event", "delivered"]


def test_r06_an_undefined_event_of_a_user_who_had_to_be_created_is_undefined_too(bench):
    here = bench()
    assert here.deliver(batch(custom_event("Unheard Of"))) == ["rejected undefined_event"]
    assert [entry["method"] for entry in here.vendor.journal] == ["POST", "POST", "POST"]


def test_r08_an_event_without_attributes_has_no_context():
    assert "context" not in body(custom_event())


@pytest.mark.parametrize("count", [0, 1, 10, 11, 25])
def test_r09_the_first_ten_attributes_are_sent_in_the_order_posted(count):
    names = [f"a{number}" for number in range(count, 0, -1)]
    items = plan(custom_event(attributes=dict.fromkeys(names, "v")))
    assert list(items[0].json["events"]["Reward Claimed"].get("context", {})) == names[:10]
    assert items[1:] == [Skip(reason="over_limit", what=name) for name in names[10:]]


def test_r09_attributes_without_a_value_take_no_place():
    attributes = {"n1": None, **{f"a{number}": number for number in range(10)}, "n2": None}
    items = plan(custom_event(attributes=attributes))
    assert items[0].json["events"]["Reward Claimed"]["context"] == {f"a{number}": str(number) for number in range(10)}
    assert items[1:] == [Skip(reason="null_value", what="n1"), Skip(reason="null_value", what="n2")]


def test_r10_an_event_with_too_many_attributes_is_delivered_with_ten(bench):
    here = bench()
    here.vendor.seed({"users": [{"external_id": "7346244611012968789"}]})
    assert here.deliver(batch(custom_event(attributes={f"a{n}": n for n in range(12)}))) == ["delivered"]
    assert len(here.vendor.stored_events[0].context) == 10


def test_r19_event_attributes_are_strings_too():
    values = {"b": True, "n": 1.0, "l": ["x", None, 2], "o": {"a": 1}, "e": ""}
    assert body(custom_event(attributes=values))["context"] == {
        "b": "true",
        "n": "1",
        "l": "x,2",
        "o": '{"a":1}',
        "e": "",
    }


def test_names_of_events_and_of_their_attributes_are_not_normalised():
    (name,) = events = sent(custom_event(" Réward-Claimed ", attributes={"$my key": "v"}))
    assert name == " Réward-Claimed "
    assert events[name]["context"] == {"$my key": "v"}


@pytest.mark.parametrize(
    ("event", "name"),
    [
        (custom_event("Reward Claimed"), "reward"),
        (custom_event("reward claimed"), "reward claimed"),
        (custom_event("Home"), "start"),
        (screen_view("Home"), "start"),
        (screen_view("Away"), "Away"),
    ],
)
def test_r27_mapped_names_are_replaced_exactly_and_others_kept(event, name):
    assert list(sent(event, event_mappings='{"Reward Claimed": "reward", "Home": "start"}')) == [name]


def test_r27_two_events_may_share_a_name_at_sessionm_since_each_is_a_request():
    items = plan(custom_event("A", id="1"), custom_event("B", id="2"), event_mappings={"A": "c", "B": "c"})
    assert [list(item.json["events"]) for item in items] == [["c"], ["c"]]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"source_id": "source", "id": "id"}, "source"),
        ({"source_id": "", "id": "id"}, "id"),
        ({"source_id": " ", "id": "id"}, "id"),
        ({"source_id": None, "id": "5047104322311203892"}, "5047104322311203892"),
    ],
)
def test_the_transaction_id_is_the_first_id_that_says_anything(fields, expected):
    assert body(custom_event(**fields))["transaction_id"] == expected


@pytest.mark.parametrize("blank", ["", " ", "\t"])
def test_an_event_without_any_id_gets_one_from_what_it_is(blank):
    events = (custom_event(id=blank), custom_event(id=blank), custom_event("Home", id=blank))
    first = [item.json["events"] for item in plan(*events)]
    ids = [inner["transaction_id"] for event in first for inner in event.values()]
    assert [item.json["events"] for item in plan(*events)] == first
    assert len(set(ids)) == 3
    assert {len(id) for id in ids} == {32}


@pytest.mark.parametrize(
    ("time_ms", "date"),
    [
        (1_714_565_696_789, "2024-05-01T12:14:56.789Z"),
        (1_714_565_696_000, "2024-05-01T12:14:56.000Z"),
        (1_714_565_696_007, "2024-05-01T12:14:56.007Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (int(datetime(9999, 12, 31, tzinfo=UTC).timestamp() * 1000), "9999-12-31T00:00:00.000Z"),
    ],
)
def test_the_date_is_utc_in_milliseconds(time_ms, date):
    assert body(custom_event(time_ms=time_ms))["date"] == date


def test_an_event_without_a_time_has_no_date():
    assert "date" not in body(custom_event(time_ms=None))


@pytest.mark.parametrize("time_ms", [10**18, -(10**18)])
def test_an_impossible_time_is_left_out_by_name(time_ms):
    call, skip = plan(custom_event(time_ms=time_ms))
    assert "date" not in call.json["events"]["Reward Claimed"]
    assert skip == Skip(reason="bad_time", what="date")


def test_each_event_is_a_request_of_its_own_in_order():
    items = plan(custom_event("A", id="1"), screen_view("B", id="2"), custom_event("A", id="3"))
    assert [(item.method, *item.json["events"]) for item in items] == [("POST", "A"), ("POST", "B"), ("POST", "A")]


@pytest.mark.parametrize("platform", ["ios", "web", "roku", "out_of_band"])
def test_r28_the_platform_changes_nothing(platform):
    somewhere = batch(custom_event(), device=Device(platform=platform))
    assert plan_with(gateway_sessionm, somewhere, VALUES) == plan(custom_event())
