"""The fake's faults, its inspection, and the fake as a command of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from http.client import HTTPException, IncompleteRead
from urllib.request import Request, urlopen

import pytest

ME = "external/users/42"


@pytest.fixture
def here(fake):
    started = fake(events=["entry"], undefined_attribute="accept")
    started.steer("POST", "seed", {"users": [{"id": "u-1", "external_id": "42", "first_name": "Jo"}]})
    return started


def spoil(here, action: dict, **more) -> None:
    assert here.steer("POST", "faults", {"action": action, **more}) == (200, {"ok": True})


def name(here) -> str:
    (user,) = here.steer("GET", "state")[1]["users"]
    return user["first_name"]


RENAME = ("PUT", ME, {"user": {"first_name": "Al"}})


def test_a_fault_answers_instead_of_the_fake(here):
    spoil(here, {"status": 503, "headers": {"retry-after": "7"}, "body": "busy"})
    assert here(*RENAME) == (503, b"busy")
    assert here.headers["retry-after"] == "7"
    assert name(here) == "Jo"
    assert here(*RENAME)[0] == 200


def test_a_fault_lasts_for_as_many_requests_as_it_says(here):
    spoil(here, {"status": 503}, times=2)
    assert [here("GET", ME)[0] for _ in range(3)] == [503, 503, 200]


@pytest.mark.parametrize(
    ("match", "statuses"),
    [
        ({}, [503, 200, 200]),
        ({"method": "PUT"}, [200, 503, 200]),
        ({"path_regex": "/events$"}, [200, 200, 503]),
        ({"nth": 2}, [200, 503, 200]),
        ({"method": "POST", "path_regex": "users/42"}, [200, 200, 503]),
        ({"method": "DELETE"}, [200, 200, 200]),
    ],
)
def test_a_fault_is_for_the_requests_that_it_matches(here, match, statuses):
    spoil(here, {"status": 503}, match=match)
    calls = [("GET", ME), RENAME, ("POST", f"{ME}/events", {"events": {"entry": 1}})]
    assert [here(*call)[0] for call in calls] == statuses


def test_a_fault_may_delay(here):
    spoil(here, {"delay_ms": 150})
    before = time.monotonic()
    assert here(*RENAME)[0] == 200
    assert time.monotonic() - before >= 0.15


@pytest.mark.parametrize(("after", "stored"), [(False, "Jo"), (True, "Al")])
def test_a_fault_may_close_the_connection_before_or_after_the_effect(here, after, stored):
    spoil(here, {"close": True, "after": after})
    with pytest.raises((HTTPException, ConnectionError)):
        here(*RENAME)
    assert name(here) == stored
    assert here.vendor.journal[-1]["status"] == (200 if after else None)


def test_a_fault_may_cut_the_answer_short(here):
    spoil(here, {"truncate": True})
    with pytest.raises(IncompleteRead) as caught:
        here(*RENAME)
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        json.loads(caught.value.partial)
    assert name(here) == "Al"


def test_a_fault_may_be_an_error_of_sessionms(here):
    spoil(here, {"error_code": "internal_server_error"})
    assert here.error(*RENAME) == (500, "internal_server_error")
    assert name(here) == "Jo"


def test_the_journal_tells_every_request_without_a_credential(here):
    here(*RENAME, Accept="application/json", X_Own="1")
    here.error("GET", "external/users/7?show_identifiers=true")
    status, (first, second) = here.steer("GET", "journal")
    headers = first.pop("headers")
    assert (status, headers["x-own"], headers["content-type"]) == (200, "1", "application/json")
    assert "authorization" not in headers
    assert first == {
        "method": "PUT",
        "path": f"/priv/v1/apps/KEY/{ME}",
        "query": {},
        "status": 200,
        "error": None,
        "body": {"user": {"first_name": "Al"}},
    }
    del second["headers"]
    assert second == {
        "method": "GET",
        "path": "/priv/v1/apps/KEY/external/users/7",
        "query": {"show_identifiers": "true"},
        "status": 404,
        "error": "user_not_found",
        "body": None,
    }
    assert "test-key" not in repr(here.vendor.journal)
    assert "test-secret" not in repr(here.vendor.journal)


def test_a_body_that_is_not_json_is_in_the_journal_as_text(here):
    here("PUT", ME, b"\xffnonsense")
    assert here.vendor.journal[-1]["body"] == "\ufffdnonsense"


def test_the_state_is_everything_stored(here):
    here("POST", f"{ME}/events", {"events": {"entry": {"transaction_id": "t", "date": "2024-05-01T12:00:00Z"}}})
    here("POST", f"{ME}/tags", {"tags": ["a"]})
    status, state = here.steer("GET", "state")
    (user,) = state.pop("users")
    assert (status, user["id"], user["first_name"]) == (200, "u-1", "Jo")
    assert user["identifiers"] == [{"external_id": "42", "external_id_type": None}]
    assert user["user_profile"] == {"_version": 1}
    assert state == {
        "events": [
            {
                "user_id": "u-1",
                "name": "entry",
                "transaction_id": "t",
                "qty": 1,
                "date": "2024-05-01T12:00:00Z",
                "context": {},
            }
        ],
        "tags": {"u-1": [{"tag": "a", "counter": 1}]},
    }


def test_users_events_and_definitions_can_be_put_in(here):
    seed = {"users": [{"external_id": "7", "user_profile": {"_version": 1, "a": "1"}}], "events": ["visit"]}
    assert here.steer("POST", "seed", {**seed, "attributes": {"b": {"type": "integer"}}}) == (200, {"ok": True})
    assert here("POST", "external/users/7/events", {"events": {"visit": 1}})[1]["status"] == "ok"
    assert here.error("PUT", "external/users/7", {"user": {"user_profile": {"b": "x"}}}) == (200, "validation")
    assert here("PUT", "external/users/7", {"user": {}})[1]["user"]["user_profile"] == {"_version": 1, "a": "1"}


def test_a_reset_goes_back_to_the_configuration(here):
    here.steer("POST", "config", {"latency_ms": 1, "events": ["visit"]})
    here.steer("POST", "seed", {"events": ["entry"], "attributes": {"b": {}}})
    here.steer("POST", "clock", {"now": 1})
    spoil(here, {"status": 503})
    here(*RENAME)
    assert here.steer("POST", "reset") == (200, {"ok": True})
    assert here.steer("GET", "state")[1] == {"users": [], "events": [], "tags": {}}
    assert here.steer("GET", "journal")[1] == []
    here("POST", "users", {"user": {"external_id": "42"}})
    assert here.error("POST", f"{ME}/events", {"events": {"entry": 1}}) == (200, "not_found")
    assert here("POST", f"{ME}/events", {"events": {"visit": 1}})[1]["status"] == "ok"
    assert here("GET", "models/user_profiles")[1]["model"]["attributes"] == {}


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("config", {"no_such_option": 1}),
        ("config", {"error_transport": "loud"}),
        ("seed", {"no_such_thing": []}),
        ("faults", {"action": {"status": "x"}}),
        ("nonsense", {}),
    ],
)
def test_steering_that_cannot_be_meant_is_answered_400(here, what, body):
    status, answer = here.steer("POST", what, body)
    assert (status, list(answer)) == (400, ["error"])


@pytest.mark.parametrize("options", [{"rate": {"per_second": 1}}, {"colour": "red"}, {"undefined_event": "maybe"}])
def test_options_that_do_not_exist_are_refused_at_the_start(fake, options):
    with pytest.raises(ValueError, match=r"Object|Invalid"):
        fake(**options)


def test_every_answer_waits_for_the_latency(fake):
    here = fake(latency_ms=100)
    before = time.monotonic()
    here("GET", ME)
    assert time.monotonic() - before >= 0.1


@pytest.mark.process
def test_the_fake_runs_as_a_command_of_its_own():
    command = [sys.executable, "-m", "gateway_sessionm.fake", "--port", "0", "--api-key", "own", "--api-secret", "test"]
    options = {"FAKE_SESSIONM": json.dumps({"events": ["entry"], "error_transport": "strict"})}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **options})
    try:
        url = process.stdout.readline().removeprefix("listening on ").strip()
        body = json.dumps({"user": {"external_id": "42"}}).encode()
        headers = {"Authorization": "Basic b3duOnRlc3Q=", "Content-Type": "application/json"}
        with urlopen(Request(f"{url}/priv/v1/apps/own/users", body, headers)) as answer:
            assert json.load(answer)["user"]["external_id"] == "42"
        with urlopen(f"{url}/__fake__/journal") as answer:
            (entry,) = json.load(answer)
        assert (entry["path"], entry["status"]) == ("/priv/v1/apps/KEY/users", 200)
    finally:
        process.terminate()
        process.communicate(timeout=10)
