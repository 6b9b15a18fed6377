from __future__ import annotations

import pytest

import gateway_sessionm
from gateway.sdk import Call, Consent, ConsentChange, ConsentRecord, Skip, User
from gateway.testing import batch, plan_with, user

VALUES = {"host": "https://api-acme.stg-sessionm.com", "api_key": "test-key", "api_secret": "test-secret"}
GIVEN, WITHDRAWN = ConsentRecord(consented=True), ConsentRecord(consented=False)


def plan(said, purpose):
    return [
        item.json["user"] if isinstance(item, Call) else item
        for item in plan_with(gateway_sessionm, said, {**VALUES, "opted_in_consent": purpose})
    ]


def change(new, regulation="gdpr", purpose="Loyalty"):
    return batch(user=user(), consent_changes=(ConsentChange(regulation=regulation, purpose=purpose, new=new),))


@pytest.mark.parametrize(
    ("said", "purpose", "planned"),
    [
        (change(GIVEN), "gdpr:loyalty", {"opted_in": True}),
        (change(WITHDRAWN), "gdpr:loyalty", {"opted_in": False}),
        (change(GIVEN, "ccpa"), "ccpa:loyalty", {"opted_in": False}),
        (change(GIVEN), "", Skip(reason="consent_off")),
        (change(GIVEN), "gdpr:email", Skip(reason="other_purpose")),
        (change(GIVEN), "ccpa:loyalty", Skip(reason="other_purpose")),
        (change(None), "gdpr:loyalty", Skip(reason="other_purpose")),
        (
            batch(user=User(mpid="1", consent=Consent(gdpr={"LOYALTY ": WITHDRAWN})), is_bare=True),
            "gdpr:loyalty",
            {"opted_in": False},
        ),
    ],
)
def test_consent_decides_about_opted_in_if_a_setting_names_its_purpose(said, purpose, planned):
    assert planned in plan(said, purpose)


def test_an_opt_out_reaches_the_profile(bench):
    sessionm = bench()
    for record, is_in in ((GIVEN, True), (WITHDRAWN, False)):
        sessionm.deliver(change(record), opted_in_consent="gdpr:loyalty")
        assert sessionm.user("7346244611012968789")["opted_in"] is is_in
