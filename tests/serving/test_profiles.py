"""Profiles at Sailthru: what nobody said had changed arrives all the same, after an outage too."""

import pytest

from gateway.testing.vendor import Action, Fault


@pytest.mark.parametrize("colours", [["red", "blue", "red"], ["red", "blue", "green"]])
def test_the_last_of_several_values_that_waited_is_the_one_that_stays(gateway, email, message, colours):
    gateway.start(more=email.connection)
    identities = [{"type": "email", "encoding": "raw", "value": "mara@example.com"}]

    def post(number, colour):
        attributes = {"Colour": colour}
        gateway.post(message(number, user=7, user_identities=identities, user_attributes=attributes))

    post(0, colours[0])
    gateway.wait(lambda: gateway.drained("email"))
    email.faults.append(Fault(action=Action(status=503), times=10**6))
    for number, colour in enumerate(colours[1:], 1):
        post(number, colour)
    gateway.wait(lambda: gateway.facts()["loyalty", "in_flight"] == 0)
    email.faults.clear()
    gateway.wait(lambda: gateway.drained("email"))
    (profile,) = email.users.profiles.values()
    assert profile.vars == {"Colour": colours[-1]}
