"""``gateway status`` and ``gateway drop``: what waits, and what is given up."""

import json
import subprocess
import sys

from gateway.testing.vendor import Action, Fault

ALWAYS = 10**6
EVERYTHING = ("connection", "configured", "facts_waiting", "batches_waiting", "lanes_waiting", "caught_up")


def run(gateway, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments, "-c", str(gateway.config)],
        capture_output=True,
        text=True,
        check=False,
    )


def status(gateway):
    said = run(gateway, "status", "--json", "--over", "0.2")
    assert (said.returncode, said.stderr) == (0, "")
    return {row["connection"]: row for row in map(json.loads, said.stdout.splitlines())}


def test_status_says_what_waits_for_what_since_when_and_how_often_it_was_tried(gateway, vendor, message):
    vendor.faults.append(Fault(action=Action(status=500), times=ALWAYS))
    gateway.start()
    for number in range(3):
        gateway.post(message(number, user=1 + number % 2))
    gateway.wait(lambda: sum(one["attempts"] for one in status(gateway)["loyalty"]["waiting"]) > 1)
    row = status(gateway)["loyalty"]
    assert [row[key] for key in EVERYTHING] == ["loyalty", True, 6, 3, 2, None]
    assert {one["reason"] for one in row["waiting"]} <= {"", "status_500"}
    assert all(one["failing_since"] >= row["oldest"] for one in row["waiting"] if one["failing_since"])
    shown = run(gateway, "status", "--over", "0")
    assert (shown.returncode, "never" in shown.stdout) == (0, True)
    metrics = gateway.get("/metrics")[1].decode()
    assert 'gateway_lanes_waiting{connection="loyalty"' in metrics
    vendor.faults.clear()
    gateway.wait(gateway.drained)
    assert [status(gateway)["loyalty"][key] for key in EVERYTHING] == ["loyalty", True, 0, 0, 0, None]


def test_a_call_that_is_always_told_to_wait_is_kept_and_its_age_is_shown(gateway, vendor, message):
    too_many = Action(status=429, headers={"Retry-After": "60"})
    vendor.faults.append(Fault(action=too_many, times=ALWAYS))
    gateway.start()
    gateway.post(message(1))
    gateway.wait(lambda: any(one["reason"] == "status_429" for one in status(gateway)["loyalty"]["waiting"]))
    (one,) = status(gateway)["loyalty"]["waiting"]
    assert (one["attempts"], one["failing_since"], one["until"] is not None) == (0, None, True)
    assert 'gateway_oldest_waiting_seconds{connection="loyalty"}' in gateway.get("/metrics")[1].decode()


def test_what_waits_for_a_removed_connection_is_shown_and_dropped_by_command_alone(gateway, email, vendor, message):
    email.faults.append(Fault(action=Action(status=500), times=ALWAYS))
    gateway.start(more=email.connection)
    ann = {"type": "email", "encoding": "raw", "value": "ann@example.com"}
    gateway.post(message(1, user_identities=[ann]))
    gateway.wait(gateway.drained)
    assert run(gateway, "drop", "email", "--yes").stderr.startswith("gateway: 'email' is configured")
    assert gateway.stop() == 0
    gateway.start(more="")
    (row,) = [row for name, row in status(gateway).items() if name == "email"]
    assert [row[key] for key in EVERYTHING] == ["email", False, 3, 1, 1, None]
    assert "email is not configured" in run(gateway, "status", "--over", "0").stdout
    assert run(gateway, "drop", "email").stdout == "3 facts would be dropped; do it with --yes\n"
    assert gateway.facts()["email", "in_flight"] == 3
    assert run(gateway, "drop", "email", "--yes").stdout == "3 facts dropped\n"
    assert gateway.facts()["email", "in_flight"] == 0
    words = [
        (fact["word"], fact["reason"])
        for row in gateway.explain(message(1)["id"])
        if row["connection"] == "email"
        for fact in row["facts"]
    ]
    assert words == [("skipped", "connection_removed")] * 3
    assert "email" not in status(gateway)
