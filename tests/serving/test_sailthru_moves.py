"""Changes of address end to end: the profile and its history survive whatever happens on the way."""

import pytest

from gateway.testing.vendor import Action, Fault, Match


def email_of(value):
    return {"type": "email", "encoding": "raw", "value": value}


@pytest.fixture
def moves(gateway, email, message):
    """A gateway and a user, at a@example.com and on a list: ``moves(number, old, new)`` posts a change of address."""
    gateway.start(more=email.connection)
    email.seed({"users": [{"id": "a@example.com", "vars": {"Since": "2019"}, "lists": {"Regulars": 1}}]})
    gateway.post(message(1, user_identities=[email_of("a@example.com")]))
    gateway.wait(lambda: gateway.drained("email"))

    def post(number, old, new):
        change = {
            "type": "user_identity_change",
            "id": f"e-{number}",
            "timestamp_ms": 1_714_565_700_000 + number,
            "added": [email_of(new)],
            "removed": [email_of(old)],
        }
        said = message(number, user_identities=[email_of(new)], user_attributes={"Colour": new})
        assert gateway.post({**said, "events": [change, *said["events"]]})[0] == 200

    return post


def profiles(email):
    return [(one.keys["email"], one.sid, one.vars, dict(one.lists)) for one in email.users.profiles.values()]


def test_an_address_changed_twice_while_the_partner_was_down_leaves_one_profile_with_its_history(gateway, email, moves):
    ((_, sid, _, lists),) = profiles(email)
    email.faults.append(Fault(match=Match(), action=Action(status=503), times=10**6))
    moves(2, "a@example.com", "b@example.com")
    moves(3, "b@example.com", "c@example.com")
    gateway.wait(lambda: [one for one in email.journal if one["status"] == 503])
    email.faults.clear()
    gateway.wait(lambda: gateway.drained("email"))
    attributes = {"Since": "2019", "Colour": "c@example.com"}
    assert profiles(email) == [("c@example.com", sid, attributes, lists)]
    assert [(one["event"], one["id"]) for one in email.events[-2:]] == [
        ("Signup", "b@example.com"),
        ("Signup", "c@example.com"),
    ]
    assert all(one["profile"]["sid"] == sid for one in email.events if "sid" in (one["profile"] or {}))


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_address_change_whose_answer_was_lost_is_repeated_without_harm(gateway, email, moves, method):
    ((_, sid, _, lists),) = profiles(email)
    lost = Fault(match=Match(method=method, path_regex="/user$"), action=Action(close=True, after=True), times=1)
    email.faults.append(lost)
    moves(2, "a@example.com", "b@example.com")
    moves(3, "b@example.com", "c@example.com")
    gateway.wait(lambda: gateway.drained("email"))
    assert [(address, known, joined) for address, known, _, joined in profiles(email)] == [
        ("c@example.com", sid, lists)
    ]
    assert email.faults == []


def test_a_killed_gateway_finishes_a_change_of_address(gateway, email, moves):
    ((_, sid, _, lists),) = profiles(email)
    email.configure({"latency_ms": 300})
    moves(2, "a@example.com", "b@example.com")
    gateway.wait(lambda: [one for one in email.journal if one["method"] == "GET"])
    gateway.kill_all()
    email.configure({"latency_ms": 0})
    gateway.start()
    gateway.wait(lambda: gateway.drained("email"))
    assert [(address, known, joined) for address, known, _, joined in profiles(email)] == [
        ("b@example.com", sid, lists)
    ]
