"""Memberships of many users as few calls, through a gateway that may be killed at any time."""

import pytest

from gateway.testing.vendor import Action, Fault, Match

SETTINGS = "bulk_from = 10\n"


def membership(user, action="add"):
    return {
        "mpid": str(user),
        "user_identities": [{"type": "email", "encoding": "raw", "value": f"u{user}@example.com"}],
        "audiences": [{"audience_id": 5150, "audience_name": "Regulars", "action": action}],
    }


@pytest.fixture
def posted(gateway, email):
    """Start a gateway that makes jobs of ten memberships, and post some: ``posted(number, users)``."""
    gateway.start(more=email.connection + SETTINGS)

    def post(number, users, action="add"):
        message = {
            "type": "audience_membership_change_request",
            "id": f"00000000-0000-4000-8000-{number:012d}",
            "timestamp_ms": 1_718_000_000_000,
            "firehose_version": "3.2.0",
            "account": {"account_id": 7, "account_settings": {}},
            "user_profiles": [membership(user, action) for user in users],
        }
        assert gateway.post(message)[0] == 200

    return post


def made(email, method, path):
    return [one for one in email.journal if (one["method"], one["path"], one["status"]) == (method, path, 200)]


def members(email):
    return sorted(one.keys["email"] for one in email.users.profiles.values() if "Regulars" in one.lists)


def test_memberships_of_many_users_are_one_job_that_is_asked_after_to_its_end(gateway, email, posted):
    email.configure({"job_polls": 0})
    users = range(100, 160)
    posted(1, users)
    gateway.wait(lambda: gateway.drained("email"), seconds=60)
    assert members(email) == [f"u{user}@example.com" for user in users]
    assert [len(made(email, *kind)) for kind in (("POST", "/job"), ("POST", "/user"))] == [1, 0]
    assert (len(made(email, "GET", "/job")), email.users.flow_entries) == (2, [])
    (one,) = [row for row in gateway.explain("100") if row["connection"] == "email"]
    assert [fact["word"] for fact in one["facts"]].count("delivered") == 1


def test_a_killed_gateway_goes_on_asking_after_the_job_that_it_began(gateway, email, posted):
    email.configure({"job_polls": 10**6})
    posted(1, range(100, 130))
    gateway.wait(lambda: made(email, "GET", "/job"), seconds=30)
    gateway.kill_all()
    email.configure({"job_polls": 0})
    gateway.start()
    gateway.wait(lambda: gateway.drained("email"), seconds=60)
    assert (len(made(email, "POST", "/job")), len(members(email))) == (1, 30)


def test_a_job_that_fails_becomes_calls_of_their_own_and_a_bad_one_costs_nobody_else(gateway, email, posted):
    email.configure({"job_fails": 1, "job_polls": 0})
    email.faults.append(Fault(match=Match(path_regex="/user$"), action=Action(error_code="11"), times=1))
    posted(1, range(100, 120))
    gateway.wait(lambda: gateway.drained("email"), seconds=60)
    assert (len(made(email, "POST", "/job")), len(members(email))) == (1, 19)
    assert gateway.facts()["email", "dead"] == 1
