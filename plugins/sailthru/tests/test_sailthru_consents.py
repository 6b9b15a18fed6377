from __future__ import annotations

import pytest

import gateway_sailthru
from gateway.sdk import Call, ConsentChange, ConsentRecord, Skip
from gateway.testing import batch, plan_with, user

VALUES = {"api_key": "test-key", "api_secret": "test-secret"}
JO = "jo@example.com"
GIVEN, WITHDRAWN = ConsentRecord(consented=True), ConsentRecord(consented=False)
BOTH = {"email_consent": "gdpr:email", "pixel_consent": "gdpr:tracking"}


def change(purpose, new, regulation="gdpr"):
    return ConsentChange(regulation=regulation, purpose=purpose, new=new)


def plan(*changes, who=None, **settings):
    """The fields written beside the address, and the reasons."""
    said = batch(user=who or user(email=JO), consent_changes=changes)
    beside = {"id", "key", "keysconflict"}
    return [
        {name: value for name, value in item.json.items() if name not in beside}
        if isinstance(item, Call)
        else item.reason
        for item in plan_with(gateway_sailthru, said, {**VALUES, **settings})
        if item not in (Skip(reason="unchanged"),) and not (isinstance(item, Call) and "vars" in item.json)
    ]


@pytest.mark.parametrize(
    ("changes", "settings", "planned"),
    [
        ([change("email", WITHDRAWN)], {}, ["consent_off"]),
        ([change("Email ", WITHDRAWN)], BOTH, [{"optout_email": "all"}]),
        ([change("email", WITHDRAWN)], {**BOTH, "email_optout": "basic"}, [{"optout_email": "basic"}]),
        ([change("email", GIVEN)], BOTH, ["optout_kept"]),
        ([change("tracking", GIVEN)], BOTH, [{"pixel_tracking_consent": "opt-in"}]),
        (
            [change("tracking", WITHDRAWN), change("email", WITHDRAWN)],
            BOTH,
            [{"optout_email": "all", "pixel_tracking_consent": "opt-out"}],
        ),
        ([change("email", WITHDRAWN), change("email", GIVEN)], BOTH, ["optout_kept"]),
        ([change("email", GIVEN, "ccpa")], {"email_consent": "ccpa:email"}, [{"optout_email": "all"}]),
        ([change("other", WITHDRAWN)], BOTH, ["other_purpose"]),
    ],
)
def test_decisions_about_the_purposes_that_the_settings_name_are_sent(changes, settings, planned):
    assert plan(*changes, **settings) == planned


def test_nobody_is_addressed_without_an_address():
    assert "no_email" in plan(change("email", WITHDRAWN), who=user(), **BOTH)
