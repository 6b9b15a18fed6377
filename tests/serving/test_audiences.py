"""Audiences: whoever enters one waits until it has been set up, and nobody else waits for that."""

import json
from pathlib import Path

import pytest

from gateway.testing.vendor import Action, Fault, Match

FIXTURES = Path(__file__).parent.parent / "fixtures"


@pytest.fixture
def posted(gateway, email):
    """Start a gateway to both, and post fixtures to it: ``posted(name, **changes)``."""
    gateway.start(more=email.connection)

    def post(name, **changes):
        message = {**json.loads((FIXTURES / f"{name}.json").read_text()), **changes}
        assert gateway.post(message)[0] == 200

    return post


def taken(email):
    """What Sailthru took, in order: the endpoint and the list or the lists."""
    return [
        (entry["path"], entry["json"].get("list") or entry["json"].get("lists"))
        for entry in email.journal
        if entry["status"] == 200
    ]


def test_members_enter_a_list_only_once_it_has_been_made(gateway, email, posted, message):
    email.faults.append(Fault(match=Match(path_regex="/list$"), action=Action(status=503), times=3))
    posted("firehose-subscription", action="add")
    posted("firehose-membership")
    gateway.wait(lambda: gateway.drained("email"))
    assert taken(email)[0] == ("/list", "Regulars")
    (member,) = email.users.profiles.values()
    assert "Regulars" in member.lists
    assert [each.name for each in email.lists.all] == ["Regulars"]


def test_whoever_is_in_no_audience_does_not_wait_for_one(gateway, email, posted, message):
    fault = Fault(match=Match(path_regex="/list$"), action=Action(status=503), times=10**6)
    email.faults.append(fault)
    posted("firehose-subscription", action="add")
    posted("firehose-membership")
    identities = [{"type": "email", "encoding": "raw", "value": "noor@example.com"}]
    gateway.post(message(1, user=77, user_identities=identities))
    gateway.wait(lambda: email.events)
    assert [path for path, _ in taken(email)] == ["/user", "/event"]
    email.faults.clear()
    gateway.wait(lambda: gateway.drained("email"), seconds=40)
    assert ("/list", "Regulars") in taken(email)


def test_a_member_who_asks_to_be_forgotten_does_not_wait_for_the_audience(gateway, email, posted):
    email.faults.append(Fault(match=Match(path_regex="/list$"), action=Action(status=503), times=10**6))
    posted("firehose-subscription", action="add")
    posted("firehose-membership")
    posted("firehose-erasure")
    erasure = json.loads((FIXTURES / "firehose-erasure.json").read_text())["id"]

    def word():
        (row,) = [row for row in gateway.explain(erasure) if row["connection"] == "email"]
        return row["facts"] and row["facts"][0]["word"]

    assert gateway.wait(word) == "delivered"


def test_an_audience_is_not_taken_away_ahead_of_those_who_entered_it_before(gateway, email):
    gateway.start(more=email.connection + 'removed_audience = "delete"\n')

    def post(name, **changes):
        assert gateway.post({**json.loads((FIXTURES / f"{name}.json").read_text()), **changes})[0] == 200

    post("firehose-subscription", action="add")
    gateway.wait(lambda: taken(email))
    email.faults.append(Fault(match=Match(path_regex="/user$"), action=Action(status=503), times=4))
    post("firehose-membership")
    post("firehose-subscription", action="remove", id="3f2b6c1e-0000-4000-8000-000000000906")
    gateway.wait(lambda: gateway.drained("email"))
    assert [path for path, _ in taken(email)] == ["/list", "/user", "/list"]
    assert "Regulars" not in [each.name for each in email.lists.all]
