"""What may be sent, as operators see it: the catalog of a gateway that serves, and its filter changed by command."""

import json
import subprocess
import sys


def command(gateway, *words):
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *words, "-c", str(gateway.config)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def data_points(gateway):
    return [json.loads(line) for line in command(gateway, "datapoints", "--json").splitlines()]


def shown(rows):
    return {(row["kind"], row["name"], row["attribute"]): row["times"] for row in rows}


def test_what_was_seen_is_in_the_catalog_even_if_the_gateway_is_stopped_at_once(gateway, vendor, email, message):
    gateway.start(more=email.connection)
    for number in (1, 2):
        gateway.post(message(number))
    gateway.post(message(3), path="/mparticle/email")
    gateway.post(message(1))  # again
    gateway.wait(lambda: gateway.drained() and gateway.drained("email"))
    assert gateway.stop() == 0
    rows = data_points(gateway)
    assert shown(rows) == {
        ("events", "Signup", ""): 3,
        ("events", "Signup", "n"): 3,
        ("user_attributes", "Colour", ""): 3,
    }
    assert {input: seen["times"] for input, seen in rows[0]["inputs"].items()} == {"unknown": 3}
    assert rows[1]["connections"] == {
        "email": {"sent": True, "decided": False, "setting": "connections.email.filter.new_data_points"},
        "loyalty": {"sent": True, "decided": False, "setting": "connections.loyalty.filter.new_data_points"},
    }
    gateway.start_as_it_is()
    gateway.post(message(4))
    gateway.wait(lambda: shown(data_points(gateway))["events", "Signup", ""] == 4)


def test_a_name_is_forgotten_by_command(gateway, vendor, message):
    gateway.start()
    gateway.post(message(1))
    gateway.wait(gateway.drained)
    assert gateway.stop() == 0
    assert command(gateway, "datapoints", "forget", "Signup") == "forgotten: Signup (2 rows)\n"
    assert shown(data_points(gateway)) == {("user_attributes", "Colour", ""): 1}


def test_what_is_switched_off_by_command_is_not_sent_and_explained_by_that_setting(gateway, vendor, message):
    gateway.start()
    gateway.stop()
    command(gateway, "filter", "set", "loyalty", "events", "Signup", "off")
    gateway.start_as_it_is()
    gateway.post(message(1))
    gateway.wait(gateway.drained)
    (row,) = gateway.explain("e-1-0")
    assert [(fact["title"], fact["word"], fact["reason"], fact["cause"]) for fact in row["facts"]] == [
        ('custom_event "Signup"', "skipped", "filtered", 'connections.loyalty.filter.events."Signup"'),
        ("", "delivered", "", ""),
    ]
    assert vendor.events() == []
