"""The fake's door: what it checks, in which order, and how it counts."""

from __future__ import annotations

import json

import pytest

from gateway_sailthru.fake import FakeSailthru

JO = "jo@example.com"
MULTIPART = "multipart/form-data; boundary=edge"


def error(status: int, code: int, message: str) -> tuple[int, dict]:
    return status, {"error": code, "errormsg": message}


def test_checks_come_in_sailthrus_order_and_the_first_that_fails_is_told(bench):
    here = bench(allowed_ips=["192.0.2.1"], limits={"POST nowhere": 0})

    def ask(method: str = "POST", endpoint: str = "nowhere", data: str = "[]", **changed) -> tuple[int, dict]:
        return here.ask(method, endpoint, data, **changed)

    assert ask(api_key=None, sig=None) == error(400, 2, "Missing required parameter: api_key")
    assert ask(api_key="", sig=None) == error(400, 2, "Missing required parameter: api_key")
    assert ask(api_key="other", sig=None) == error(401, 3, "Invalid API key: other")
    assert ask(sig=None) == error(403, 4, "Disallowed IP: 127.0.0.1")
    here.steer("config", {"allowed_ips": ["127.0.0.1"]})
    assert ask(sig=None) == error(400, 2, "Missing required parameter: sig")
    assert ask(sig="0" * 32) == error(401, 5, "Signature hash does not match")
    assert ask() == error(429, 43, "Too many POST requests this minute to /nowhere API")
    here.steer("config", {"limits": "recorded"})
    assert ask() == error(400, 99, "json is not an object")
    assert ask(data="{}") == error(404, 99, "404 Not Found")
    assert ask("GET", "event", "{}") == error(405, 1, "Unsupported HTTP method: GET")


@pytest.mark.parametrize("text", ["", "[]", "null", "7", '"x"', "{", "{'a': 1}"])
def test_json_that_is_no_object_is_refused(bench, text):
    assert bench().ask("POST", "user", text) == error(400, 99, "json is not an object")


def test_a_signature_counts_every_field_but_itself(bench):
    here = bench()
    assert here.ask("GET", "settings", {}, extra="x") == (200, {"from_emails": []})
    signed = here.fields({})
    assert here.send("GET", "settings", {**signed, "extra": "x"})[1]["error"] == 5


@pytest.mark.parametrize(
    ("method", "endpoint"),
    [
        ("DELETE", "event"),
        ("GET", "event"),
        ("GET", "purchase"),
        ("DELETE", "job"),
        ("PUT", "user"),
        ("POST", "settings"),
    ],
)
def test_a_method_that_an_endpoint_does_not_know_is_refused(bench, method, endpoint):
    assert bench().ask(method, endpoint) == error(405, 1, f"Unsupported HTTP method: {method}")


def test_get_and_delete_read_the_query_and_post_reads_the_form(bench):
    here = bench()
    fields = here.fields({"id": JO, "key": "email"})
    assert here.send("POST", "user", fields)[:2] == (200, {"ok": True})
    assert here.send("GET", "user", fields)[0] == 200
    assert here.send("DELETE", "user", fields)[:2] == (200, {"ok": True})


def test_a_multipart_form_is_read_and_its_file_has_no_part_in_the_signature(bench):
    here = bench(job_polls=0)
    fields = here.fields({"job": "update", "file": "/home/jo/list.json"})
    parts = [f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}' for name, value in fields.items()]
    parts.append(f'Content-Disposition: form-data; name="file"; filename="f"\r\n\r\n{{"id": "{JO}"}}')
    body = "".join(f"--edge\r\n{part}\r\n" for part in parts) + "--edge--\r\n"
    status, reply, _ = here.raw("POST", "/job", body.encode(), {"Content-Type": MULTIPART})
    assert (status, reply["status"]) == (200, "pending")
    here.ask("GET", "job", {"job_id": reply["job_id"]})
    assert here.emails() == [JO]


def test_a_body_that_is_no_utf_8_is_refused(bench):
    head = {"Content-Type": "application/x-www-form-urlencoded"}
    assert bench().raw("POST", "/user", b"api_key=\xff", head)[:2] == error(400, 6, "Invalid UTF-8")


def test_blank_fields_are_kept_and_count_for_the_signature(bench):
    assert bench().ask("GET", "settings", {}, extra="")[0] == 200


HEADERS = ("x-rate-limit-limit", "x-rate-limit-remaining", "x-rate-limit-reset")


def limit(here, method: str, endpoint: str, data=None) -> tuple:
    status, _, headers = here.send(method, endpoint, here.fields({} if data is None else data))
    return (status, *(int(headers[name]) for name in HEADERS))


def test_each_method_of_each_endpoint_has_a_count_of_its_own(bench):
    here = bench()
    here.vendor.clock.set(90.0)
    assert limit(here, "GET", "list") == (200, 36000, 35999, 120)
    assert limit(here, "GET", "list") == (200, 36000, 35998, 120)
    assert limit(here, "GET", "settings") == (200, 36000, 35999, 120)
    assert limit(here, "POST", "user", {"id": JO}) == (200, 36000, 35999, 120)
    assert limit(here, "POST", "list", {"list": "a"}) == (200, 4800, 4799, 120)
    assert limit(here, "DELETE", "list", {"list": "a"}) == (200, 4800, 4799, 120)


@pytest.mark.parametrize(
    ("method", "endpoint", "published"),
    [
        ("GET", "user", 18000),
        ("POST", "user", 18000),
        ("POST", "event", 2400),
        ("DELETE", "user", 2400),
        ("POST", "send", 12000),
    ],
)
def test_the_published_limits_can_be_had_too(bench, method, endpoint, published):
    assert limit(bench(limits="published"), method, endpoint)[1] == published


def test_errors_count_too_but_not_what_was_too_many(bench):
    here = bench(limits={"GET user": 2})
    here.vendor.clock.set(119.0)
    assert limit(here, "GET", "user", {"id": JO}) == (400, 2, 1, 120)
    assert limit(here, "GET", "user") == (400, 2, 0, 120)
    assert limit(here, "GET", "user") == limit(here, "GET", "user") == (429, 2, 0, 120)
    here.vendor.clock.advance(1)
    assert limit(here, "GET", "user") == (400, 2, 1, 180)


def test_a_limit_lowered_in_the_middle_of_a_minute_leaves_nothing_and_no_less(bench):
    here = bench()
    here.vendor.clock.set(90.0)
    for _ in range(3):
        limit(here, "GET", "settings")
    here.steer("config", {"limits": {"GET settings": 1}})
    assert limit(here, "GET", "settings") == (429, 1, 0, 120)


def test_what_is_not_let_in_is_not_counted_and_told_no_limit(bench):
    here = bench()
    _, _, headers = here.send("GET", "user", here.fields({}, sig="wrong"))
    assert [name for name in HEADERS if name in headers] == []
    assert limit(here, "GET", "user")[2] == 35999


def test_the_journal_tells_what_was_asked_and_answered_in_the_clear(bench):
    here = bench()
    here.ask("POST", "user", {"id": JO})
    here.ask("POST", "user", {"id": "nonsense"}, sig="wrong")
    first, second = here.vendor.journal
    assert first == {"method": "POST", "path": "/user", "status": 200, "json": {"id": JO}, "reply": {"ok": True}}
    assert (second["status"], second["error"]) == (401, 5)
    assert "test-secret" not in json.dumps(here.vendor.journal)


@pytest.mark.parametrize(
    ("fault", "status", "body"),
    [
        ({"status": 502, "body": '"<html>"'}, 502, "<html>"),
        ({"status": 200, "body": ""}, 200, None),
        ({"status": 200, "body": "[]"}, 200, []),
        ({"status": 200, "body": '{"error": 99, "errormsg": "x"}'}, *error(200, 99, "x")),
        ({"status": 400, "body": '{"error": 2, "errormsg": "x", "z": 1}'}, 400, {"error": 2, "errormsg": "x", "z": 1}),
        ({"error_code": "9"}, *error(500, 9, "Internal error")),
        ({"error_code": "43"}, *error(429, 43, "Too many requests this minute")),
        ({"error_code": "5"}, *error(401, 5, "Signature hash does not match")),
        ({"error_code": "34"}, *error(400, 34, "Error 34")),
    ],
)
def test_a_fault_spoils_as_many_requests_as_it_is_for(bench, fault, status, body):
    here = bench()
    here.fault(path="user", times=2, **fault)
    assert here.ask("POST", "list", {"list": "a"})[0] == 200
    assert here.ask("POST", "user", {"id": JO}) == here.ask("POST", "user", {"id": JO}) == (status, body)
    assert here.emails() == []
    assert here.ask("POST", "user", {"id": JO}) == (200, {"ok": True})


def test_a_write_can_be_taken_and_its_answer_lost(bench):
    here = bench()
    here.fault(path="user", close=True, after=True)
    with pytest.raises(OSError, match=r"without response|reset"):
        here.ask("POST", "user", {"id": JO})
    assert here.emails() == [JO]


def test_a_fault_tells_the_limit_and_too_many_leaves_nothing_of_it(bench):
    here = bench()
    for code, left in (("9", 36000), ("43", 0)):
        here.fault(error_code=code)
        assert limit(here, "POST", "user", {"id": JO})[1:3] == (36000, left)


def test_wrong_credentials_are_told_before_any_fault(bench):
    here = bench()
    here.fault(error_code="9")
    assert here.ask("POST", "user", {"id": JO}, sig="wrong")[1]["error"] == 5
    assert here.ask("POST", "user", {"id": JO})[1]["error"] == 9


def test_a_secret_stops_being_right_when_it_is_rotated(bench):
    here = bench(rotated_at=1000)
    here.vendor.clock.set(999)
    assert here.ask("GET", "settings")[0] == 200
    here.vendor.clock.set(1000)
    assert here.ask("GET", "settings") == error(401, 5, "Signature hash does not match")


@pytest.mark.parametrize("options", [{"colour": "red"}, {"limits": "none"}, {"event_unknown_user": "maybe"}])
def test_an_option_that_does_not_exist_is_refused(options):
    with pytest.raises(ValueError, match=r"colour|limits|event_unknown_user"):
        FakeSailthru().configure(options)


def test_a_reset_forgets_everything_but_the_options(bench):
    here = bench(job_polls=0)
    here.ask("POST", "user", {"id": JO, "lists": {"Gold": 1}})
    here.ask("POST", "event", {"id": JO, "event": "x"})
    here.steer("reset", {})
    assert here.vendor.state() == {
        "users": [],
        "lists": [],
        "events": [],
        "purchases": [],
        "jobs": [],
        "flow_entries": [],
    }
    assert (here.vendor.journal, here.vendor.options.job_polls) == ([], 0)
