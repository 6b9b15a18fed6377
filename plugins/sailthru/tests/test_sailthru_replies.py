from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gateway_sailthru
from gateway.sdk import Call, Reply, Verdict, delivered, path, refused, rejected, retry
from gateway.testing import batch, custom_event, user
from gateway_sailthru.replies import is_success, seconds_until_reset
from gateway_sailthru.settings import SailthruSettings

VALUES = {"api_key": "test-key", "api_secret": "test-secret"}
JO = "jo@example.com"
NOW_MS = 1_714_565_696_789  # 56.789 s into a minute that ends at 1_714_565_700
RESET = "1714565700"
UNTIL_RESET_S = 60 - 56.789

USER = Call(method="POST", path=path("user"), json={})
EVENT = Call(method="POST", path=path("event"), json={})
PURCHASE = Call(method="POST", path=path("purchase"), json={})
LIST = Call(method="POST", path=path("list"), json={})
DELETE_LIST = Call(method="DELETE", path=path("list"), json={})
CALLS = pytest.mark.parametrize("call", [USER, EVENT, PURCHASE, LIST], ids=lambda call: call.path)


def reply(status: int | None, body: Any = None, **fields) -> Reply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status=status, body=raw, at_ms=NOW_MS, **fields)


def failed(code: Any, message: str = "no", **more) -> dict:
    return {"error": code, "errormsg": message, **more}


def answer(call: Call, told: Reply, **settings) -> Verdict | None:
    return gateway_sailthru.on_reply(call, told, SailthruSettings.model_validate({**VALUES, **settings}))


@CALLS
@pytest.mark.parametrize("body", [{"ok": True}, {}, {"purchase": {}}, {"list": "Gold", "list_id": "1"}])
def test_an_answer_without_an_error_is_left_to_its_status(call, body):
    assert answer(call, reply(200, body)) is None


TABLE = [
    (1, 405, rejected("method_not_permitted")),
    (2, 400, rejected("missing_parameter")),
    (3, 401, refused("api_key")),
    (4, 403, refused("ip_address")),
    (5, 401, refused("signature")),
    (6, 400, rejected("invalid_utf8")),
    (42, 400, rejected("invalid_utf8")),
    (9, 500, retry("error_9")),
    (11, 400, rejected("invalid_email")),
    (12, 404, rejected("unknown_send")),
    (13, 404, rejected("unknown_blast")),
    (14, 404, rejected("unknown_template")),
    (15, 404, rejected("unknown_list")),
    (16, 400, rejected("error_16")),
    (17, 400, rejected("error_17")),
    (18, 400, rejected("invalid_time")),
    (21, 403, refused("not_approved")),
    (22, 403, refused("not_entitled")),
    (32, 400, delivered("suppressed_32")),
    (33, 400, delivered("suppressed_33")),
    (34, 400, delivered("suppressed_34")),
    (35, 400, delivered("suppressed_35")),
    (37, 400, delivered("suppressed_37")),
    (36, 400, rejected("unverified_sender")),
    (41, 403, rejected("already_sent")),
    (43, 429, retry("too_many_requests", after_s=UNTIL_RESET_S, holds="scope")),
    (99, 400, rejected("error_99")),
    (99, 404, rejected("error_99")),
    (99, 409, rejected("error_99")),
    (99, 403, rejected("error_99")),
    (1234, 400, rejected("error_1234")),
]


def rounded(verdict: Verdict | None) -> Any:
    """A verdict with its wait as seconds until the minute ends, if it is no more than two beyond that."""
    assert verdict is not None
    wait = verdict.after_s
    if wait is not None and -0.001 < wait - UNTIL_RESET_S < 2.001:
        wait = UNTIL_RESET_S
    return (verdict.word, verdict.reason, wait, verdict.holds)


@CALLS
@pytest.mark.parametrize(("code", "status", "verdict"), TABLE)
def test_each_error_has_its_meaning_with_the_status_that_it_usually_has(call, code, status, verdict):
    assert rounded(answer(call, reply(status, failed(code)))) == rounded(verdict)
    assert rounded(answer(call, reply(status, failed(str(code), third="key")))) == rounded(verdict)


@CALLS
@pytest.mark.parametrize(("code", "status", "verdict"), TABLE)
def test_an_error_inside_a_good_status_means_the_same(call, code, status, verdict):
    assert rounded(answer(call, reply(200, failed(code)))) == rounded(verdict)


@pytest.mark.parametrize("status", [200, 404])
def test_a_list_that_is_unknown_when_it_is_to_be_deleted_is_gone(status):
    assert answer(DELETE_LIST, reply(status, failed(15))) == delivered("already_gone")


@CALLS
@pytest.mark.parametrize("status", [401, 403])
def test_an_unknown_error_that_is_a_matter_of_permission_pauses_the_connection(call, status):
    assert answer(call, reply(status, failed(1234))) == refused("error_1234")


@CALLS
@pytest.mark.parametrize("status", [500, 502, 503])
@pytest.mark.parametrize("code", [2, 11, 99, 1234])
def test_a_failure_of_the_server_outweighs_the_error_in_the_body(call, status, code):
    assert answer(call, reply(status, failed(code))) == retry(f"error_{code}")


@CALLS
@pytest.mark.parametrize("body", [failed(99), failed(5), {}, None, b"<html>"])
def test_too_many_requests_outweighs_whatever_the_body_says(call, body):
    assert rounded(answer(call, reply(429, body))) == ("retry", "too_many_requests", UNTIL_RESET_S, "scope")


@CALLS
@pytest.mark.parametrize("code", ["XX", "²", "9a", "", None, [], {}, 1.5])
def test_an_error_that_is_no_number_is_a_dead_letter(call, code):
    assert answer(call, reply(400, failed(code))) == rejected("error_0")


@CALLS
@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"<html>ok</html>", b'{"ok": tr', b"true", b"\xff"])
def test_what_is_no_json_object_is_no_success_and_tried_again(call, body):
    assert answer(call, reply(200, body)) == retry("no_json")


@CALLS
@pytest.mark.parametrize("status", [300, 302, 400, 404, 405, 408, 500, 502, 503, 504])
def test_a_status_without_an_error_in_the_body_is_left_to_the_gateway(call, status):
    assert answer(call, reply(status, b"<html>")) is None


@pytest.mark.parametrize(
    ("ok", "is_taken"),
    [(True, True), ("true", True), (1, True), (False, False), ("false", False), (0, False), (None, False), ([], False)],
)
def test_an_ok_that_is_not_true_is_no_success(ok, is_taken):
    assert is_success(reply(200, {"ok": ok})) is is_taken


@CALLS
@pytest.mark.parametrize("body", [failed(99), {"error": "moved"}, {"errormsg": "moved"}, {"ok": False}])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_body_of_a_redirect_is_not_sailthrus_and_left_to_the_gateway(call, status, body):
    assert answer(call, reply(status, body)) is None


UNSURE = [
    reply(200, b"<html>"),
    reply(500, b"<html>"),
    reply(502, b"<html>"),
    reply(504, b""),
    Reply(status=None, failure="timeout", sent=True),
    Reply(status=None, failure="closed", sent=True),
]


@pytest.mark.parametrize("call", [EVENT, PURCHASE], ids=lambda call: call.path)
@pytest.mark.parametrize("told", UNSURE)
def test_a_doubtful_event_or_purchase_is_a_dead_letter_where_the_settings_say_at_most_once(call, told):
    assert answer(call, told, at_least_once=False) == rejected("maybe_delivered")
    assert answer(call, told) in (None, retry("no_json"))


@pytest.mark.parametrize("call", [USER, LIST, DELETE_LIST], ids=lambda call: f"{call.method} {call.path}")
@pytest.mark.parametrize("told", UNSURE)
def test_what_can_be_repeated_is_tried_again_whatever_the_settings_say(call, told):
    assert answer(call, told, at_least_once=False) == answer(call, told)
    assert answer(call, told) in (None, retry("no_json"))


@pytest.mark.parametrize(
    ("told", "verdict"),
    [
        (Reply(status=None, failure="connect", sent=False), None),
        (reply(500, failed(9)), retry("error_9")),
        (reply(429, failed(43)), retry("too_many_requests", after_s=UNTIL_RESET_S, holds="scope")),
    ],
)
def test_an_event_that_sailthru_cannot_have_taken_is_tried_again_even_at_most_once(told, verdict):
    got = answer(EVENT, told, at_least_once=False)
    assert (got and rounded(got)) == (verdict and rounded(verdict))


def limits(reset: str | None) -> Reply:
    return Reply(status=429, headers={} if reset is None else {"x-rate-limit-reset": reset}, at_ms=NOW_MS)


@pytest.mark.parametrize(
    ("reset", "wait"),
    [
        (RESET, 3.211),
        ("1714565760", 63.211),
        ("1714565816", 119.211),
        ("1714565817", 3.211),
        (None, 3.211),
        ("", 3.211),
        ("soon", 3.211),
        ("nan", 3.211),
        ("inf", 3.211),
        ("0", 3.211),
        ("1714565696", 3.211),
        ("1714569300", 3.211),
    ],
)
def test_the_wait_is_until_the_minute_ends_by_the_header_or_by_the_clock(reset, wait):
    assert seconds_until_reset(limits(reset)) == pytest.approx(wait)


def test_a_minute_that_has_just_ended_is_waited_for_whole():
    told = Reply(status=429, headers={"x-rate-limit-reset": RESET}, at_ms=int(RESET) * 1000)
    assert seconds_until_reset(told) == 60.0


def test_those_who_wait_for_one_reset_do_not_all_come_at_once():
    calls = [msgspec.structs.replace(USER, id=f"{number:032x}") for number in range(100)]
    waits = [answer(call, limits(RESET)).after_s for call in calls]
    assert waits == [answer(call, limits(RESET)).after_s for call in calls]
    assert len(set(waits)) == 100
    assert UNTIL_RESET_S - 0.001 < min(waits) < UNTIL_RESET_S + 0.2
    assert UNTIL_RESET_S + 1.8 < max(waits) < UNTIL_RESET_S + 2.001


@given(st.integers(0, 2**42), st.none() | st.text(max_size=12) | st.integers(0, 2**33).map(str))
def test_the_wait_is_never_negative_nor_longer_than_two_minutes(at_ms, reset):
    told = Reply(status=429, headers={} if reset is None else {"x-rate-limit-reset": reset}, at_ms=at_ms)
    assert 0 < seconds_until_reset(told) <= 120


@given(st.none() | st.integers(100, 599), st.binary(max_size=12) | st.builds(json.dumps, st.text()).map(str.encode))
def test_no_answer_at_all_is_too_strange_to_be_judged(status, body):
    verdicts = [answer(call, Reply(status=status, body=body)) for call in (USER, EVENT, DELETE_LIST)]
    assert all(verdict is None or isinstance(verdict, Verdict) for verdict in verdicts)


SAID = batch(custom_event(), user=user(email=JO))


def test_a_full_minute_is_waited_out_and_then_the_event_is_taken(bench):
    here = bench(limits={"POST event": 1})
    here.vendor.clock.set(NOW_MS / 1000)
    here.deliver(SAID)
    assert here.deliver(SAID) == ["retry too_many_requests"]
    here.vendor.clock.advance(60)
    assert here.deliver(SAID) == ["delivered"]
    assert len(here.vendor.events) == 2


def test_a_rotated_secret_pauses_the_connection(bench):
    here = bench(rotated_at=0)
    assert here.deliver(SAID) == ["refused signature"]
    assert here.vendor.events == []


def test_a_forbidden_address_pauses_the_connection(bench):
    assert bench(allowed_ips=[]).deliver(SAID) == ["refused ip_address"]


@pytest.mark.parametrize(("name", "verdict"), [("api_key", "refused api_key"), ("api_secret", "refused signature")])
def test_wrong_credentials_pause_the_connection(bench, name, verdict):
    assert bench().deliver(SAID, **{name: "wrong"}) == [verdict]


@pytest.mark.parametrize(
    ("fault", "at_least_once", "verdict", "taken"),
    [
        ({"close": True, "after": True}, True, "retry closed", 1),
        ({"close": True, "after": True}, False, "rejected maybe_delivered", 1),
        ({"close": True}, False, "rejected maybe_delivered", 0),
        ({"truncate": True}, True, "retry closed", 1),
        ({"status": 502, "body": "<html>"}, True, "retry status_502", 0),
        ({"status": 200, "body": ""}, True, "retry no_json", 0),
        ({"status": 200, "body": "", "after": True}, False, "rejected maybe_delivered", 1),
        ({"error_code": "9"}, False, "retry error_9", 0),
        ({"error_code": "43"}, False, "retry too_many_requests", 0),
    ],
)
def test_an_event_whose_answer_was_spoilt_is_repeated_or_not(bench, fault, at_least_once, verdict, taken):
    here = bench()
    here.fault(path="event", **fault)
    assert here.deliver(SAID, at_least_once=at_least_once) == [verdict]
    assert len(here.vendor.events) == taken
