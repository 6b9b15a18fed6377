from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gateway_sessionm
from gateway.sdk import Call, Remember, Reply, Verdict, delivered, refused, rejected, retry
from gateway.testing import batch, custom_event, plan_with, user
from gateway_sessionm.replies import find_error_code, read_reply
from gateway_sessionm.settings import SessionMSettings

VALUES = {"host": "https://api-acme.stg-sessionm.com", "api_key": "test-key", "api_secret": "test-secret"}
SETTINGS = SessionMSettings.model_validate(VALUES)


def planned(*events, **person) -> Call:
    return plan_with(gateway_sessionm, batch(*events, user=user(**person)), VALUES)[0]


WRITE = planned(attributes={"a": "1"})
POST = planned(custom_event())


def reply(status: int | None, body: Any = None, **fields) -> Reply:
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return Reply(status=status, body=raw, **fields)


def failed(code: str, **more) -> dict:
    return {"status": "error", "errors": {"code": code, **more}}


def answer(call: Call, reply: Reply) -> Any:
    return gateway_sessionm.on_reply(call, reply, SETTINGS)


@pytest.mark.parametrize("call", [WRITE, POST])
@pytest.mark.parametrize("status", ["ok", "OK", "Ok"])
def test_ok_by_status_and_by_body_is_delivered(call, status):
    assert answer(call, reply(200, {"status": status, "user": {"id": "u"}})) == delivered()


CODES = [
    ("internal_server_error", retry("internal_server_error")),
    ("https_only", refused("https_only")),
    ("invalid_auth_token", refused("invalid_auth_token")),
    ("invalid_api_key", refused("invalid_api_key")),
    ("access_denied", refused("access_denied")),
    ("missing_data", rejected("missing_data")),
    ("validation", rejected("validation")),
    ("argument_error", rejected("argument_error")),
    ("not_available", rejected("not_available")),
    ("no_active_campaign_found", rejected("no_active_campaign_found")),
]


@pytest.mark.parametrize("status", [200, 201, 400, 409, 422])
@pytest.mark.parametrize(("code", "verdict"), CODES)
@pytest.mark.parametrize("call", [WRITE, POST])
def test_an_error_inside_any_answer_counts_by_its_code(call, code, verdict, status):
    assert answer(call, reply(status, failed(code))) == verdict
    assert answer(call, reply(status, failed(code.upper(), message="no"))) == verdict


@pytest.mark.parametrize("status", [200, 404, 422])
def test_an_event_that_is_not_defined_is_named(status):
    named = "no event named 'Reward Claimed' is defined at SessionM"
    assert answer(POST, reply(status, failed("not_found"))) == rejected("undefined_event", detail=named)
    assert answer(WRITE, reply(status, failed("not_found"))) == rejected("not_found")


@pytest.mark.parametrize("call", [WRITE, POST])
@pytest.mark.parametrize("code", ["user_not_found", "USER_NOT_FOUND", "requires_registered_user"])
@pytest.mark.parametrize("status", [200, 400, 404, 422])
def test_an_unknown_user_is_looked_for_or_created(call, code, status):
    follow_up = answer(call, reply(status, failed(code)))
    assert (follow_up.method, follow_up.path) == ("POST", "users")


STATUSES = [
    (300, refused("status_300")),
    (301, refused("status_301")),
    (302, refused("status_302")),
    (307, refused("status_307")),
    (400, rejected("status_400")),
    (401, refused("status_401")),
    (403, refused("status_403")),
    (404, refused("status_404")),
    (409, rejected("status_409")),
    (413, rejected("status_413")),
    (422, rejected("status_422")),
    (200, retry("unclear_reply")),
    (204, retry("unclear_reply")),
]


@pytest.mark.parametrize(("status", "verdict"), STATUSES)
@pytest.mark.parametrize("body", [b"", b"<html>"])
def test_a_body_that_is_not_json_leaves_the_status_to_judge(status, verdict, body):
    assert answer(WRITE, reply(status, body)) == verdict


@pytest.mark.parametrize("status", [405, 406, 410, 451])
def test_a_page_of_another_servers_is_a_fault_of_the_setup(status):
    assert answer(WRITE, reply(status, b"<html>")) == refused(f"status_{status}")
    assert answer(WRITE, reply(status, b"")) == rejected(f"status_{status}")


@pytest.mark.parametrize(
    "failure",
    [
        reply(None, failure="timeout"),
        reply(None, failure="connect", sent=False),
        *[reply(status) for status in (408, 425, 429, 500, 502, 503, 504)],
        reply(500, failed("internal_server_error")),
        reply(429, failed("rate_limited"), headers={"retry-after": "2"}),
        reply(503, {"status": "ok"}),
    ],
)
def test_what_may_pass_is_left_to_the_gateways_retries(failure):
    assert answer(WRITE, failure) is None


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_tells_its_code_and_never_looks_for_the_user(status):
    assert answer(WRITE, reply(status, failed("access_denied"))) == refused("access_denied")
    assert answer(WRITE, reply(status, failed("user_not_found"))) == refused("user_not_found")


QUOTED = planned(attributes={"a": "1"}, mpid="4/2")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]"])
def test_a_404_that_is_not_sessionms_is_about_the_set_up_whatever_the_id(body):
    assert [answer(call, reply(404, body)) for call in (QUOTED, WRITE)] == [refused("status_404")] * 2


def test_a_404_that_names_another_error_is_about_this_call_alone():
    assert answer(POST, reply(404, {"status": "error"})) == rejected("unnamed_error")
    assert answer(POST, reply(404, {})) == rejected("status_404")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"{}", b'{"status": "queued"}', b'{"user": {"id": "u"}}'])
def test_success_that_does_not_say_so_is_tried_again_however_often_the_call_failed_before(body):
    attempts = [answer(POST, reply(200, body, attempt=attempt)) for attempt in (1, 9, 10, 11, 1000)]
    assert attempts == [retry("unclear_reply")] * 5


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"status": "ok"}, None),
        ({"status": "ok", "errors": {}}, None),
        ({"status": "ok", "errors": []}, None),
        ({"status": "ok", "errors": None}, None),
        ({"status": "ok", "errors": {"code": "validation"}}, "validation"),
        ({"status": "error", "errors": {"code": " Validation "}}, "validation"),
        ({"status": "error", "errors": {"code": "a", "user": {"id": 1}}}, "a"),
        ({"status": "error", "errors": "validation"}, "validation"),
        ({"status": "error", "errors": ["validation"]}, "validation"),
        ({"status": "error", "errors": [{"message": "no"}, {"code": "validation"}]}, "validation"),
        ({"status": "error", "error": {"code": "validation"}}, "validation"),
        ({"errors": {"code": "validation"}}, "validation"),
        ({"status": "ERROR"}, "unnamed_error"),
        ({"status": "error", "errors": {"message": "no"}}, "unnamed_error"),
        ({"status": "error", "errors": {"code": 7}}, "unnamed_error"),
        ({"status": "error", "errors": 7}, "unnamed_error"),
        ({"status": "error", "errors": {"code": "jo@example.com is taken"}}, "unnamed_error"),
        ({"status": "error", "errors": {"code": "x" * 65}}, "unnamed_error"),
        ("error", None),
        (None, None),
    ],
)
def test_errors_are_read_in_whatever_shape_they_come(body, code):
    assert find_error_code(body) == code


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["status", "errors", "code", "user"]), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.sampled_from([WRITE, POST]), st.integers(min_value=100, max_value=599), json_values | st.binary())
def test_no_answer_at_all_makes_the_plugin_fail(call, status, body):
    judged = answer(call, reply(status, body))
    assert judged is None or isinstance(judged, Verdict | Call | Remember)


@given(st.text())
def test_a_reason_never_quotes_what_is_not_a_code(code):
    said = read_reply(reply(200, failed(code)))
    assert said.code == "unnamed_error" or said.code == code.strip().lower()
    assert " " not in said.code
    assert "@" not in said.code
