"""What a reply means where the plugin does not say."""

import pytest

from gateway.deliver import verdicts
from gateway.sdk import Reply, delivered, refused, rejected, retry

NOW_MS = 1_714_565_696_000  # Wed, 01 May 2024 12:14:56 GMT

TABLE = [
    (200, {}, delivered()),
    (204, {}, delivered()),
    (301, {}, refused("an answer that is not the destination's: HTTP 301")),
    (
        302,
        {"location": "https://login.example.com:8443/in?next=/users/jo%40example.com"},
        refused("an answer that is not the destination's: HTTP 302 to https://login.example.com:8443"),
    ),
    (308, {"location": "/elsewhere"}, refused("an answer that is not the destination's: HTTP 308")),
    (400, {}, rejected("status_400")),
    (401, {}, refused("status_401")),
    (403, {}, refused("status_403")),
    (404, {}, rejected("status_404")),
    (408, {}, retry("status_408")),
    (425, {}, retry("status_425")),
    (429, {}, retry("status_429", holds="scope")),
    (429, {"retry-after": "7"}, retry("status_429", after_s=7.0, holds="scope")),
    (429, {"retry-after": "Wed, 01 May 2024 12:15:06 GMT"}, retry("status_429", after_s=10.0, holds="scope")),
    (429, {"retry-after": "Wed, 01 May 2024 12:00:00 GMT"}, retry("status_429", after_s=0.0, holds="scope")),
    (
        429,
        {"retry-after": "Wed, 01 May 2024 09:00:10 GMT", "date": "Wed, 01 May 2024 09:00:00 GMT"},  # by its own clock
        retry("status_429", after_s=10.0, holds="scope"),
    ),
    (
        429,
        {"retry-after": "Wed, 01 May 2024 12:15:06 GMT", "date": "yesterday"},
        retry("status_429", after_s=10.0, holds="scope"),
    ),
    (429, {"retry-after": "soon"}, retry("status_429", holds="scope")),
    (429, {"retry-after": "inf"}, retry("status_429", holds="scope")),
    (429, {"retry-after": "nan"}, retry("status_429", holds="scope")),
    (429, {"retry-after": "Wed, 01 May 99999999999999999999 12:15:06 GMT"}, retry("status_429", holds="scope")),
    (500, {}, retry("status_500")),
    (408, {"retry-after": "30"}, retry("status_408", after_s=30.0)),
    (500, {"retry-after": "30"}, retry("status_500", after_s=30.0)),
    (504, {"retry-after": "30"}, retry("status_504", after_s=30.0)),
    (503, {}, retry("status_503")),
    (503, {"retry-after": "30"}, retry("status_503", after_s=30.0, holds="scope")),
]


@pytest.mark.parametrize(("status", "headers", "verdict"), TABLE)
def test_the_status_decides(status, headers, verdict):
    assert verdicts.default_verdict(Reply(status=status, headers=headers, at_ms=NOW_MS)) == verdict


@pytest.mark.parametrize("status", [404, 405, 406, 410, 451])
@pytest.mark.parametrize(
    ("headers", "body"),
    [({"content-type": "Text/HTML; charset=utf-8"}, b"Not here"), ({}, b"\n <!DOCTYPE html>"), ({}, b"<html>")],
)
def test_a_page_in_the_place_of_an_answer_is_a_fault_of_the_setup(status, headers, body):
    reply = Reply(status=status, headers=headers, body=body)
    expected = refused(f"an answer that is not Loyalty's: HTTP {status}")
    assert (reply.is_foreign, verdicts.default_verdict(reply, "Loyalty")) == (True, expected)


@pytest.mark.parametrize("status", [404, 405, 406, 410, 451])
@pytest.mark.parametrize("body", [b"", b"{}", b'{"error": "<b>"}'])
def test_the_same_status_with_an_answer_of_the_destinations_own_is_about_the_call(status, body):
    reply = Reply(status=status, headers={"content-type": "application/json"}, body=body)
    assert (reply.is_foreign, verdicts.default_verdict(reply)) == (False, rejected(f"status_{status}"))


def test_no_answer_is_retried_and_holds_the_connection_only_if_nothing_was_sent():
    assert verdicts.default_verdict(Reply(status=None, failure="timeout", sent=True)) == retry("timeout")
    assert verdicts.default_verdict(Reply(status=None, failure="connect", sent=False)) == retry(
        "connect", holds="connection"
    )


@pytest.mark.parametrize(
    ("after_s", "wait"),
    [
        (None, None),
        (0, 0.0),
        (30, 30.0),
        (-5.0, 0.0),
        (3_601, 3_600.0),
        (1_714_565_696, 3_600.0),
        (float("inf"), None),
        (float("-inf"), None),
        (float("nan"), None),
    ],
)
def test_no_wait_is_longer_than_an_hour_or_makes_no_sense(after_s, wait):
    assert verdicts.asked_wait_s(retry("later", after_s=after_s)) == wait
