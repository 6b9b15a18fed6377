"""What Sailthru is not sent, and the reason that the ledger has for it."""

import time

import pytest

DAY_MS = 24 * 3_600_000


def now_ms(days=0):
    return time.time_ns() // 10**6 + days * DAY_MS


def named(name, days=0, **more):
    return {"type": "custom_event", "id": "e-1", "timestamp_ms": now_ms(days), "name": name, **more}


UNSENT = {
    "too_old": {"events": [named("Signup", -14.01)]},
    "unsupported_platform": {"runtime_environment": {"type": "roku"}},
    "no_email": {"user_identities": []},
    "hashed_email": {"user_identities": [{"type": "email", "encoding": "sha256", "value": "9f1c"}]},
    "invalid_email": {"user_identities": [{"type": "email", "encoding": "raw", "value": "jo at example"}]},
    "loop": {"events": [named("EMAIL_OPEN", custom_event_type="other")]},
    "not_an_app_event": {"events": [{"type": "opt_out", "id": "e-1", "timestamp_ms": now_ms(), "is_opted_out": True}]},
    "kind_not_selected": {"events": [{"type": "screen_view", "id": "e-1", "timestamp_ms": now_ms(), "name": "Home"}]},
    "reserved_name": {"events": [named("click")]},
}


@pytest.fixture
def engine():
    """One engine will do where the journal is not what is tested."""
    return "sqlite"


@pytest.mark.parametrize("reason", UNSENT)
def test_an_event_that_is_not_sent_has_its_reason(gateway, email, message, reason):
    connection = email.connection.replace("max_age_hours = 0\n", "") + 'reserved_event_names = "skip"\n'
    gateway.start(more=connection)
    jo = {"type": "email", "encoding": "raw", "value": "jo@example.com"}
    said = {"user_identities": [jo], "timestamp_ms": now_ms(), "events": [named("Signup")], **UNSENT[reason]}
    assert gateway.post({**message(1), **said})[0] == 200
    gateway.wait(lambda: gateway.drained("email"))
    (row,) = [row for row in gateway.explain("e-1") if row["connection"] == "email"]
    (fact,) = [fact for fact in row["facts"] if fact["fact"] == "e-1"]
    assert (fact["word"], fact["reason"], email.events) == ("skipped", reason, [])


def test_what_is_not_quite_fourteen_days_old_is_sent(gateway, email, message):
    gateway.start(more=email.connection.replace("max_age_hours = 0\n", ""))
    jo = {"type": "email", "encoding": "raw", "value": "jo@example.com"}
    gateway.post({**message(1), "user_identities": [jo], "events": [named("Signup", -13.9)]})
    gateway.wait(lambda: email.events)
