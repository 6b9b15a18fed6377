"""The fake's events and tags."""

from __future__ import annotations

import pytest

ME = "external/users/42"
EVENTS = f"{ME}/events"
TAGS = f"{ME}/tags"
WHOLE = {"transaction_id": "t-1", "qty": "2", "date": "2024-05-01T12:34:56.789Z", "context": {"contest": "camera"}}


@pytest.fixture
def here(fake):
    started = fake(events=["entry", "visit"])
    started.steer("POST", "seed", {"users": [{"id": "u-1", "external_id": "42"}]})
    started.steer("POST", "clock", {"now": 1_714_565_696.5})
    return started


def stored(here) -> list[dict]:
    return here.steer("GET", "state")[1]["events"]


def test_an_event_is_stored_as_it_came_and_answered_with_the_user(here):
    assert here("POST", EVENTS, {"events": {"entry": WHOLE}}) == (
        200,
        {
            "status": "ok",
            "user": {"id": "u-1", "available_points": 0},
            "behaviors": {},
            "notifications": [],
        },
    )
    assert stored(here) == [{"user_id": "u-1", "name": "entry", **WHOLE, "qty": 2}]


def test_an_event_may_be_a_count_and_happens_now_unless_it_says_when(here):
    here("POST", EVENTS, {"auto_claim": True, "events": {"entry": 3, "visit": {}}})
    now = "2024-05-01T12:14:56.500+00:00"
    common = {"user_id": "u-1", "transaction_id": None, "date": now, "context": {}}
    assert stored(here) == [{"name": "entry", "qty": 3, **common}, {"name": "visit", "qty": 1, **common}]


def test_an_unknown_user_has_no_events(here):
    assert here.error("POST", "external/users/7/events", {"events": {"entry": 1}}) == (404, "user_not_found")
    assert here.error("POST", "users/7/events", {"events": {}}) == (404, "user_not_found")


@pytest.mark.parametrize("body", [{}, {"events": {}}, {"events": []}, {"events": None}, {"events": "entry"}])
def test_events_must_be_an_object_that_holds_something(here, body):
    assert here.error("POST", EVENTS, body) == (200, "missing_data")


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (0, "argument_error"),
        (-1, "argument_error"),
        (1.5, "argument_error"),
        (True, "argument_error"),
        (None, "argument_error"),
        ("1", "argument_error"),
        ([], "argument_error"),
        ({"points": 1}, "argument_error"),
        ({"transaction_id": 7}, "argument_error"),
        ({"qty": 0}, "argument_error"),
        ({"qty": "0"}, "argument_error"),
        ({"qty": "one"}, "argument_error"),
        ({"qty": True}, "argument_error"),
        ({"qty": 1.5}, "argument_error"),
        ({"date": "2024-05-01T12:34:56"}, "argument_error"),
        ({"date": "2024-05-01"}, "argument_error"),
        ({"date": "yesterday"}, "argument_error"),
        ({"date": 1_714_565_696}, "argument_error"),
        ({"context": []}, "argument_error"),
        ({"context": "x"}, "argument_error"),
        ({"context": {"a": {}}}, "argument_error"),
        ({"context": {"a": ["x"]}}, "argument_error"),
        ({"context": {f"a{number}": "v" for number in range(11)}}, "validation"),
    ],
)
def test_an_event_of_another_form_is_refused_and_none_of_the_request_stored(here, event, code):
    assert here.error("POST", EVENTS, {"events": {"visit": 1, "entry": event}}) == (200, code)
    assert stored(here) == []


@pytest.mark.parametrize(
    "event",
    [
        {"qty": 2},
        {"qty": "12"},
        {"date": "2024-05-01T12:34:56+02:00"},
        {"context": {"text": "x", "number": 1.5, "flag": True, "nothing": None}},
        {"context": {f"a{number}": "v" for number in range(10)}},
    ],
)
def test_an_event_of_any_allowed_form_is_taken(here, event):
    assert here("POST", EVENTS, {"events": {"entry": event}})[1]["status"] == "ok"


def test_an_undefined_event_is_not_found_and_none_of_the_request_stored(here):
    status, answer = here("POST", EVENTS, {"events": {"entry": 1, "Entry": 1}})
    assert (status, answer["errors"]) == (200, {"code": "not_found", "message": "event Entry is not defined"})
    assert stored(here) == []


def test_an_undefined_event_can_be_ignored_instead(here):
    here.steer("POST", "config", {"undefined_event": "ignore"})
    assert here("POST", EVENTS, {"events": {"entry": 1, "Entry": 1}})[1]["status"] == "ok"
    assert [event["name"] for event in stored(here)] == ["entry"]
    assert here.vendor.journal[-1]["ignored_events"] == ["Entry"]


@pytest.mark.parametrize(("option", "count"), [("ignore", 1), ("store", 2)])
def test_a_repeated_transaction_is_treated_as_the_option_says(here, option, count):
    here.steer("POST", "config", {"duplicate_transaction": option})
    for _ in range(2):
        assert here("POST", EVENTS, {"events": {"entry": WHOLE}})[1]["status"] == "ok"
    assert len(stored(here)) == count
    assert here.vendor.journal[-1].get("duplicate") == (["entry"] if option == "ignore" else None)


def test_a_transaction_is_that_of_one_user_and_one_event(here):
    here.steer("POST", "seed", {"users": [{"external_id": "7"}]})
    for path, name in ((EVENTS, "entry"), (EVENTS, "visit"), ("external/users/7/events", "entry")):
        here("POST", path, {"events": {name: WHOLE}})
    here("POST", EVENTS, {"events": {"entry": 1}})
    here("POST", EVENTS, {"events": {"entry": 1}})
    assert len(stored(here)) == 5


def test_the_number_of_context_keys_can_be_set(here):
    here.steer("POST", "config", {"max_context": 1})
    assert here.error("POST", EVENTS, {"events": {"entry": {"context": {"a": "1", "b": "2"}}}}) == (200, "validation")


def test_a_tag_counts_each_time_it_is_attached(here):
    here("POST", TAGS, {"tags": ["a", "b"]})
    assert here("POST", TAGS, {"tags": ["a"]}) == (
        200,
        {"status": "ok", "tags": [{"tag": "a", "counter": 2}, {"tag": "b", "counter": 1}]},
    )


def test_a_tag_with_a_ttl_ends(here):
    here("POST", TAGS, {"tags": ["a"], "ttl": 100})
    here.steer("POST", "clock", {"advance": 60})
    assert here("GET", TAGS)[1]["tags"] == [{"tag": "a", "ttl": 40}]
    here("POST", TAGS, {"tags": ["a"], "ttl": 100})
    assert here("GET", TAGS)[1]["tags"] == [{"tag": "a", "ttl": 100}]
    here.steer("POST", "clock", {"advance": 100})
    assert here("GET", TAGS)[1]["tags"] == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "missing_data"),
        ({"tags": []}, "missing_data"),
        ({"tags": "a"}, "missing_data"),
        ({"tags": [""]}, "missing_data"),
        ({"tags": ["a"], "ttl": 0}, "argument_error"),
        ({"tags": ["a"], "ttl": "1"}, "argument_error"),
        ({"tags": ["a"], "ttl": 1, "counter": 1}, "validation"),
        ({"tags": ["counting"], "ttl": 1}, "validation"),
        ({"tags": ["ending"]}, "validation"),
    ],
)
def test_a_tag_counts_or_ends_but_never_both(here, body, code):
    here("POST", TAGS, {"tags": ["counting"]})
    here("POST", TAGS, {"tags": ["ending"], "ttl": 10})
    assert here.error("POST", TAGS, body) == (200, code)


def test_tags_are_of_a_user_that_exists(here):
    assert here.error("GET", "external/users/7/tags") == (404, "user_not_found")
    assert here.error("POST", "external/users/7/tags", {"tags": ["a"]}) == (404, "user_not_found")
