from __future__ import annotations

import json

import pytest

import gateway_sessionm
from gateway.sdk import Call, Erasure, Remember, Reply, Skip, User, delivered, refused, rejected
from gateway.testing import batch, identity, plan_with, user
from gateway_sessionm.settings import SessionMSettings

VALUES = {"host": "https://api-acme.stg-sessionm.com", "api_key": "test-key", "api_secret": "test-secret"}
MPID = "7346244611012968789"


def erasing(person: User):
    return batch(user=person, erasure=Erasure(request_id="r-1"))


def failed(code: str) -> bytes:
    return json.dumps({"status": "error", "errors": {"code": code}}).encode()


def plan(person: User, **settings) -> list[str]:
    items = plan_with(gateway_sessionm, erasing(person), {**VALUES, **settings})
    return [f"{item.method} {item.path}" if isinstance(item, Call) else repr(item) for item in items]


def test_an_erased_user_is_deleted_by_mpid_and_forgotten():
    items = plan_with(gateway_sessionm, erasing(user()), VALUES)
    assert [(item.method, item.path) for item in items if isinstance(item, Call)] == [
        ("DELETE", f"external/users/{MPID}")
    ]
    assert [item for item in items if not isinstance(item, Call)] == [Remember(key="identifiers", value=None)]


@pytest.mark.parametrize(
    ("person", "settings", "values"),
    [
        (user(customer_id="c-1"), {}, [MPID, "c-1"]),
        (user(None, customer_id="c-1"), {}, ["c-1"]),
        (user("0", customer_id="c-1"), {}, ["c-1"]),
        (user(customer_id=MPID), {}, [MPID]),
        (user(customer_id="c-1", other="o-1", mobile_number="1", email="jo@example.com"), {}, [MPID, "c-1"]),
        (user(other="o-1", customer_id="c-1"), {"erasure_identities": ["other"]}, [MPID, "o-1"]),
        (user(customer_id="c-1"), {"erasure_identities": []}, [MPID]),
        (user(customer_id="c-1"), {"identity_types": {"customer_id": "card"}}, [MPID, "c-1"]),
    ],
)
def test_mpid_and_the_chosen_identities_are_erased(person, settings, values):
    assert plan(person, **settings)[:-1] == [f"DELETE external/users/{value}" for value in values]


def test_every_mpid_of_somebody_who_has_several_is_erased():
    further = User(mpid=MPID, identities=(identity("email", "jo@example.com"), identity("mpid", "-5")))
    assert plan(further, erasure_identities=[])[:-1] == [f"DELETE external/users/{value}" for value in (MPID, "-5")]


@pytest.mark.parametrize(
    "person",
    [
        user(None),
        user("0", email="jo@example.com"),
        user(None, other="o-1"),
        User(mpid=None, identities=(identity("customer_id", "9f86", encoding="sha256"),)),
    ],
)
def test_somebody_who_cannot_be_addressed_is_skipped_and_said_so(person):
    assert plan_with(gateway_sessionm, erasing(person), VALUES) == [Skip(reason="no_mpid")]


def test_the_profile_is_gone_afterwards(bench):
    here = bench()
    here.vendor.seed({"users": [{"external_id": MPID, "first_name": "Jo"}, {"external_id": "other"}]})
    assert here.deliver(erasing(user())) == ["delivered"]
    assert [person.external_id for person in here.vendor.users] == ["other"]


@pytest.mark.parametrize("error_transport", ["documented", "all200", "strict"])
def test_somebody_unknown_counts_as_erased(bench, error_transport):
    here = bench(error_transport=error_transport)
    here.vendor.seed({"users": [{"external_id": "c-1"}]})
    assert here.deliver(erasing(user(customer_id="c-1"))) == ["delivered user_not_found", "delivered"]
    assert list(here.vendor.users) == []


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (204, b"", delivered()),
        (200, b"", delivered()),
        (200, json.dumps({"status": "ok"}).encode(), delivered()),
        (404, b"", refused("status_404")),
        (404, b"{}", delivered("status_404")),
        (404, failed("user_not_found"), delivered("user_not_found")),
        (404, failed("not_found"), delivered("not_found")),
        (200, failed("not_found"), delivered("not_found")),
        (200, failed("REQUIRES_REGISTERED_USER"), delivered("requires_registered_user")),
        (200, failed("validation"), rejected("validation")),
        (200, failed("access_denied"), refused("access_denied")),
        (400, b"", rejected("status_400")),
        (401, b"", refused("status_401")),
        (429, b"", None),
        (503, b"", None),
    ],
)
def test_a_deletion_may_answer_with_nothing_or_find_nobody_but_not_with_a_wrong_address(status, body, expected):
    call = plan_with(gateway_sessionm, erasing(user()), VALUES)[0]
    settings = SessionMSettings.model_validate(VALUES)
    assert gateway_sessionm.on_reply(call, Reply(status=status, body=body), settings) == expected
