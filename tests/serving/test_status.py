"""``gateway status``, ``pause``, ``resume`` and ``drop``: what waits, what is held back, and what is given up."""

import json
import os
import subprocess
import sys
import time

import pytest

from gateway.testing.vendor import Action, Fault, Match

ALWAYS = 10**6
EVERYTHING = ("connection", "configured", "facts_waiting", "batches_waiting", "lanes_waiting", "caught_up")


def run(gateway, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments, "-c", str(gateway.config)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )


def status(gateway):
    said = run(gateway, "status", "--json", "--over", "0.2")
    assert (said.returncode, said.stderr) == (0, "")
    return {row["connection"]: row for row in map(json.loads, said.stdout.splitlines())}


def caught_up(shown):
    """When the connection is caught up, by the first table."""
    return next(words[-1] for words in map(str.split, shown.stdout.splitlines()) if words[:1] == ["loyalty"])


def test_a_connection_is_never_caught_up_only_where_nothing_is_in_its_way(gateway, message):
    gateway.start(role="ingest")
    gateway.post(message(1))
    assert caught_up(run(gateway, "status", "--over", "0.2")) == "never"
    assert caught_up(run(gateway, "status", "--over", "0")) == "–"
    assert run(gateway, "pause", "loyalty").returncode == 0
    assert caught_up(run(gateway, "status", "--over", "0.2")) == "–"


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
    assert (shown.returncode, caught_up(shown)) == (0, "–")
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
    assert caught_up(run(gateway, "status", "--over", "0.2")) == "–"
    assert 'gateway_oldest_waiting_seconds{connection="loyalty"}' in gateway.get("/metrics")[1].decode()


def test_a_connection_whose_plugin_cannot_be_loaded_says_so_and_keeps_its_work(gateway, message):
    gateway.start(more='[connections.lost]\nplugin = "nowhere"\n')
    gateway.post(message(1))
    gateway.wait(lambda: gateway.facts().get(("lost", "in_flight")) == 2)
    row = status(gateway)["lost"]
    assert (row["facts_waiting"], row["trouble"].startswith("connections.lost.plugin: ")) == (2, True)
    assert status(gateway)["loyalty"]["trouble"] == ""
    shown = " ".join(run(gateway, "status", "--over", "0").stdout.split())
    assert ("connections.lost.plugin" in shown, "their turn" in shown) == (True, False)


def test_what_waits_for_a_removed_connection_is_shown_and_dropped_by_command_alone(gateway, email, vendor, message):
    email.faults.append(Fault(action=Action(status=500), times=ALWAYS))
    gateway.start(more=email.connection)
    ann = {"type": "email", "encoding": "raw", "value": "ann@example.com"}
    gateway.post(message(1, user_identities=[ann]))
    gateway.wait(gateway.drained)
    assert run(gateway, "drop", "email", "--yes").stderr.startswith("gateway: 'email' is configured")
    assert gateway.stop() == 0
    gateway.start(more="")
    kept = "connection not configured; its work is kept"
    gateway.wait(lambda: kept in gateway.log)
    (told,) = [json.loads(line) for line in gateway.log.splitlines() if kept in line]
    assert (told["level"], told["connection"], told["facts"]) == ("warning", "email", 3)
    (row,) = [row for name, row in status(gateway).items() if name == "email"]
    assert [row[key] for key in EVERYTHING] == ["email", False, 3, 1, 1, None]
    assert "email is not configured" in run(gateway, "status", "--over", "0").stdout
    (row,) = [row for row in gateway.explain(message(1)["id"]) if row["connection"] == "email"]
    assert (row["state"], row["configured"], row["due"]) == ("waiting", False, None)
    shown = " ".join(run(gateway, "explain", message(1)["id"]).stdout.split())
    assert (
        "email is not configured: its work waits until you configure it again or run gateway drop" in shown,
        "goes on from" in shown,
    ) == (True, False)
    assert run(gateway, "drop", "email").stdout == "3 facts would be dropped; run it again with --yes to drop them\n"
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
    assert run(gateway, "drop", "email").stdout == "0 facts would be dropped\n"
    unknown = "gateway: no connection named 'nope' is configured; configured: loyalty; no longer configured: email\n"
    for arguments in (("drop", "nope"), ("drop", "nope", "--yes"), ("replay", "--connection", "nope")):
        said = run(gateway, *arguments)
        assert (said.returncode, said.stdout, said.stderr) == (1, "", unknown)


def sent(vendor):
    return [one["body"]["events"]["Signup"]["transaction_id"] for one in vendor.events()]


def test_a_paused_connection_sends_nothing_keeps_everything_and_goes_on_in_order(gateway, vendor, message):
    gateway.start()
    gateway.post(message(1))
    gateway.wait(gateway.drained)
    assert run(gateway, "pause", "loyalty").stdout.startswith("loyalty is paused until gateway resume loyalty")
    time.sleep(1.5)
    for number in range(2, 5):
        gateway.post(message(number))
    time.sleep(1)
    assert (sent(vendor), gateway.drained()) == (["e-1-0"], False)
    row = status(gateway)["loyalty"]
    assert row["closed"] == [{"scope": None, "reason": "paused", "until": None}]
    assert [one["attempts"] for one in row["waiting"]] == [0]
    shown = run(gateway, "status", "--over", "0").stdout
    assert ("an operator has paused the connection" in shown, "their turn" in shown) == (True, False)
    (row,) = gateway.explain(message(2)["id"])
    assert (row["state"], row["rests"]) == ("waiting", {"reason": "paused", "until": None})
    shown = " ".join(run(gateway, "explain", message(2)["id"]).stdout.split())
    assert "nothing of the connection is sent: an operator has paused" in shown
    assert gateway.stop() == 0
    gateway.start_as_it_is()
    time.sleep(1.5)
    assert sent(vendor) == ["e-1-0"]
    assert run(gateway, "resume", "loyalty").stdout == "loyalty is not paused any more, within a second\n"
    assert run(gateway, "resume", "loyalty").stdout == "loyalty is not paused\n"
    gateway.wait(gateway.drained)
    assert sent(vendor) == [f"e-{number}-0" for number in range(1, 5)]
    assert status(gateway)["loyalty"]["closed"] == []


def test_a_pause_holds_back_what_waits_its_turn_inside_a_lane_too_and_ends_by_itself(gateway, vendor, message):
    vendor.faults.append(Fault(action=Action(delay_ms=300), times=ALWAYS))
    gateway.start()
    gateway.post(message(1, events=20))
    gateway.wait(lambda: vendor.events())
    assert run(gateway, "pause", "loyalty", "--for", "4s").returncode == 0
    time.sleep(1.5)
    before = len(vendor.events())
    time.sleep(1)
    assert (len(vendor.events()), before < 20) == (before, True)
    gateway.wait(gateway.drained, seconds=30)
    assert sent(vendor) == [f"e-1-{number}" for number in range(20)]


def test_a_scope_that_no_user_has_come_to_since_it_was_closed_is_shown(gateway, vendor, message):
    too_many = Action(status=429, headers={"Retry-After": "60"})
    vendor.faults.append(Fault(action=too_many, times=1))
    gateway.start()
    gateway.post(message(1))
    (gate,) = gateway.wait(lambda: status(gateway)["loyalty"]["closed"])
    assert (gate["reason"], gate["scope"] is not None, gate["until"] is not None) == ("status_429", True, True)


def test_how_long_a_pause_lasts_is_told_as_people_say_it(gateway):
    gateway.start()
    for span, said in (("2h", "2 hours"), ("90m", "1 hour 30 minutes"), ("86461s", "1 day 1 minute 1 second")):
        shown = run(gateway, "pause", "loyalty", "--for", span).stdout
        assert shown == f"loyalty is paused for {said}, within a second\n"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("pause", "nobody"), "no connection named 'nobody' is configured; configured: loyalty"),
        (("pause", "loyalty/7"), "'loyalty' has no accounts"),
        (("resume", "nobody"), "no connection named 'nobody'"),
        (("pause", "loyalty", "--for", "2 hours"), "'2 hours' is not a span of time; give 1s to 365d"),
        (("pause", "loyalty", "--for", "0s"), "'0s' is not a span of time"),
        (("pause", "loyalty", "--for", "366d"), "'366d' is not a span of time"),
    ],
)
def test_a_pause_that_makes_no_sense_is_named(gateway, arguments, problem):
    gateway.start()
    said = run(gateway, *arguments)
    assert (said.returncode != 0, problem in said.stderr) == (True, True)


def test_errors_that_a_partner_invents_are_counted_as_one_and_told_apart_by_the_ledger(gateway, vendor, message):
    for number in range(3):
        fault = Fault(match=Match(path_regex="/events$"), action=Action(error_code=f"made_up_{number}"), times=1)
        vendor.faults.append(fault)
    gateway.start()
    for number in range(3):
        assert gateway.post(message(number, user=number + 1))[0] == 200
    gateway.wait(gateway.drained)
    metrics = gateway.get("/metrics")[1].decode()
    dead = [line for line in metrics.splitlines() if 'word="dead"' in line]
    assert dead == ['gateway_facts_total{connection="loyalty",reason="other",word="dead"} 3.0']
    details = {
        fact["detail"].partition(";")[0]
        for number in range(3)
        for batch in gateway.explain(f"mpid:{number + 1}")
        for fact in batch["facts"]
        if fact["word"] == "dead"
    }
    assert details == {"made_up_0", "made_up_1", "made_up_2"}


def test_a_long_id_makes_no_long_line_in_the_log(gateway, message):
    gateway.start()
    assert gateway.post({**message(1), "id": "i" * 500_000})[0] == 200
    gateway.wait(gateway.drained)
    assert max(map(len, gateway.log.splitlines())) < 2_000
