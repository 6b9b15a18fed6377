"""``gateway replay``: what has had its word is sent again: once, in order, and not where it was asked not to be."""

import json
import re
import signal
import subprocess
import sys

import pytest
from serving.test_erasure import erasure

from gateway.testing.vendor import Action, Fault, Match

REJECTS = Fault(action=Action(status=400), match=Match(path_regex="/events$"), times=10**6)
DOWN = Fault(action=Action(status=503), times=10**6)
COUNTED = ("received", "delivered", "skipped", "dead", "in_flight")


def command(gateway, *arguments):
    return [sys.executable, "-m", "gateway", "replay", *arguments, "-c", str(gateway.config)]


def run(gateway, *arguments):
    done = subprocess.run(command(gateway, *arguments), capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def told(gateway, *arguments):
    """What a command says in JSON: its last line."""
    status, said, problems = run(gateway, *arguments, "--json")
    assert (status, problems) == (0, "")
    return json.loads(said.splitlines()[-1])


def counted(gateway, connection="loyalty"):
    facts = gateway.facts()
    return {word: facts.get((connection, word), 0) for word in COUNTED}


def rejected(gateway, vendor, *messages):
    """Have these messages' events be dead letters, and mend the partner."""
    vendor.faults.append(REJECTS)
    for one in messages:
        assert gateway.post(one)[0] == 200
    gateway.wait(gateway.drained)
    vendor.faults.clear()
    vendor.journal.clear()


def sent(vendor):
    """The events that were taken, in order."""
    return [one["body"]["events"]["Signup"]["transaction_id"] for one in vendor.events()]


def words(gateway, id):
    """What became of a message, each time that it was sent: by whether that was a replay."""
    return [
        (row["replay"] is not None, {fact["fact"]: (fact["word"], fact["reason"]) for fact in row["facts"]})
        for row in gateway.explain(id)
    ]


def test_dead_letters_are_sent_again_once_in_order_when_the_partner_is_mended(gateway, vendor, message):
    gateway.start()
    rejected(gateway, vendor, message(1, events=2), message(2))
    before = counted(gateway)
    assert (before["delivered"], before["dead"]) == (2, 3)
    survey = told(gateway, "--connection", "loyalty")
    assert [survey[name] for name in ("selected", "cannot", "unsent", "after_newer")] == [
        [{"connection": "loyalty", "word": "dead", "reason": "status_400", "facts": 3}],
        [],
        [],
        [{"connection": "loyalty", "facts": 2}],  # the attributes of the second message were taken
    ]
    assert (sum(row["calls"] for row in survey["calls"]), vendor.journal) == (3, [])
    done = told(gateway, "--connection", "loyalty", "--yes")
    assert done == {"replay": done["replay"], "state": "done", "facts": 3, "cannot": 0, "waits_for": ""}
    gateway.wait(gateway.drained)
    assert sent(vendor) == ["e-1-0", "e-1-1", "e-2-0"]
    assert counted(gateway) == {**before, "received": before["received"] + 3, "delivered": 5}
    first, again = words(gateway, message(1)["id"])
    dead, delivered = ("dead", "status_400"), ("delivered", "")
    assert first == (False, {"attributes": delivered, "e-1-0": dead, "e-1-1": dead})
    assert again == (True, {"e-1-0": delivered, "e-1-1": delivered})
    assert {row["replay"]["id"] for row in gateway.explain("e-2-0") if row["replay"]} == {done["replay"]}
    assert told(gateway, "--connection", "loyalty")["selected"] == []
    assert told(gateway, "--connection", "loyalty", "--yes")["facts"] == 0
    assert gateway.post(message(1, events=2))[0] == 200  # mParticle repeats it: that is still known
    assert (counted(gateway)["in_flight"], len(sent(vendor))) == (0, 3)


def test_a_survey_tells_of_everything_and_no_secret(gateway, vendor, message):
    gateway.start()
    rejected(gateway, vendor, message(1), message(2, user=43))
    gateway.post(message(3))
    gateway.wait(gateway.drained)
    survey = told(gateway, "--since", "1h", "--reason", "status_400")
    (first, *_) = survey["first_calls"]
    assert (first["connection"], first["method"], first["json"]["events"]["Signup"]["transaction_id"]) == (
        "loyalty",
        "POST",
        "e-1-0",
    )
    paths = [(row["method"], re.sub(r"\d+", "N", row["path"]), row["calls"]) for row in survey["calls"]]
    assert {method for method, _, _ in paths} == {"POST"}
    assert sum(calls for *_, calls in paths) == 2
    assert survey["after_newer"] == [{"connection": "loyalty", "facts": 1}]
    status, said, problems = run(gateway, "--since", "1h")
    assert (status, "2 facts would be redelivered; run it again with --yes to redeliver" in said) == (0, True)
    assert problems == "gateway: loyalty: 1 fact would be sent after newer ones of the same users\n"
    assert "test-secret" not in json.dumps(survey) + said
    assert run(gateway, "--message", message(2)["id"])[1].endswith(
        "1 fact would be redelivered; run it again with --yes to redeliver\n"
    )
    assert run(gateway, "--connection", "loyalty", "--until", "1h") == (0, "0 facts would be redelivered\n", "")
    assert told(gateway, "--until", "1h")["selected"] == []
    assert told(gateway, "--message", message(2)["id"])["selected"] == [
        {"connection": "loyalty", "word": "dead", "reason": "status_400", "facts": 1}
    ]


def test_a_survey_counts_what_todays_settings_would_not_send(gateway, vendor, message):
    gateway.start()
    rejected(gateway, vendor, message(1))
    gateway.config.write_text(gateway.config.read_text() + '[connections.loyalty.filter.events]\n"Signup" = false\n')
    survey = told(gateway, "--since", "1h")
    assert (survey["calls"], survey["unsent"]) == (
        [],
        [{"connection": "loyalty", "word": "skipped", "reason": "filtered", "facts": 1}],
    )


def test_what_has_been_delivered_is_sent_again_on_demand_with_another_id(gateway, vendor, message):
    gateway.start()
    gateway.post(message(1))
    gateway.wait(gateway.drained)
    assert told(gateway, "--message", message(1)["id"], "--word", "delivered", "--yes")["facts"] == 2
    gateway.wait(gateway.drained)
    assert sent(vendor) == ["e-1-0", "e-1-0"]
    first, again = words(gateway, message(1)["id"])
    assert (first[0], again[0], first[1]["e-1-0"], again[1]["e-1-0"]) == (
        False,
        True,
        ("delivered", ""),
        ("delivered", ""),
    )


def _minds_interrupts():
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has what it starts in the background ignore them


def test_a_replay_that_is_killed_is_gone_on_with_and_sends_each_once(gateway, vendor, message):
    gateway.start()
    rejected(gateway, vendor, *(message(number, user=1 + number % 7) for number in range(60)))
    running = subprocess.Popen(command(gateway, "--reason", "status_400", "--rate", "20", "--yes"))
    gateway.wait(lambda: len(sent(vendor)) >= 5)
    running.send_signal(signal.SIGKILL)
    running.wait(10)
    (paused,) = [json.loads(line) for line in run(gateway, "--list", "--json")[1].splitlines()]
    assert (paused["state"], 5 <= paused["facts"] < 60) == ("open", True)
    gateway.wait(gateway.drained)
    before = len(sent(vendor))
    interrupted = subprocess.Popen(
        command(gateway, "--resume", paused["id"]),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_minds_interrupts,  # noqa: PLW1509  # the child does nothing else
    )
    gateway.wait(lambda: len(sent(vendor)) > before)
    interrupted.send_signal(signal.SIGINT)
    assert f"continue it with gateway replay --resume {paused['id']}" in interrupted.communicate(timeout=10)[1]
    assert told(gateway, "--resume", paused["id"], "--rate", "1000")["state"] == "done"
    gateway.wait(gateway.drained)
    by_user = {user: [id for id in sent(vendor) if int(id.split("-")[1]) % 7 == user] for user in range(7)}
    assert by_user == {user: [f"e-{number}-0" for number in range(user, 60, 7)] for user in range(7)}
    assert run(gateway, "--resume", paused["id"])[2] == f"gateway: replay {paused['id']} is done\n"


def test_an_aborted_replay_sends_nothing_more(gateway, vendor, message):
    gateway.start()
    rejected(gateway, vendor, *(message(number, user=number) for number in range(1, 6)))
    before = counted(gateway)
    vendor.faults.append(DOWN)
    id = told(gateway, "--reason", "status_400", "--yes")["replay"]
    gateway.wait(lambda: counted(gateway)["in_flight"] == 5)
    assert run(gateway, "--abort", id)[:2] == (
        0,
        f"replay {id} is aborted; its facts that are not in flight are skipped, reason replay_aborted\n",
    )
    gateway.wait(gateway.drained)
    vendor.faults.clear()
    after = counted(gateway)
    assert after == {**before, "received": before["received"] + 5, "skipped": before["skipped"] + 5}
    assert words(gateway, message(3)["id"])[1] == (True, {"e-3-0": ("skipped", "replay_aborted")})
    assert sent(vendor) == []
    assert run(gateway, "--resume", id)[2] == f"gateway: replay {id} is aborted\n"
    assert told(gateway, "--reason", "status_400", "--yes")["facts"] == 5
    gateway.wait(gateway.drained)
    assert sorted(sent(vendor)) == [f"e-{number}-0" for number in range(1, 6)]


def test_nothing_is_sent_again_of_somebody_who_asked_to_be_forgotten(gateway, vendor, message):
    gateway.start()
    rejected(gateway, vendor, message(1, user=42), message(2, user=43))
    vendor.faults.append(DOWN)
    assert told(gateway, "--reason", "status_400", "--yes")["facts"] == 2
    gateway.wait(lambda: counted(gateway)["in_flight"] == 2)
    gateway.post(erasure(3, mpid="42"))  # between what was selected and what is sent
    gateway.wait(lambda: words(gateway, message(1)["id"])[1][1])
    vendor.faults.clear()
    gateway.wait(gateway.drained)
    assert sent(vendor) == ["e-2-0"]
    assert words(gateway, message(1)["id"])[1] == (True, {"e-1-0": ("skipped", "erased")})
    survey = told(gateway, "--since", "1h", "--word", "dead", "--word", "skipped", "--reason", "erased")
    assert (survey["calls"], [row["why"] for row in survey["cannot"]]) == ([], ["document_removed"])


def test_an_erasure_that_failed_can_be_sent_again(gateway, vendor, message):
    gateway.start()
    gateway.post(message(1, user=42))
    gateway.wait(gateway.drained)
    vendor.faults.append(Fault(action=Action(status=400), match=Match(method="DELETE"), times=10**6))
    gateway.post(erasure(3, mpid="42"))
    gateway.wait(lambda: counted(gateway)["dead"] == 1)
    vendor.faults.clear()
    assert told(gateway, "--reason", "status_400")["calls"][0]["calls"] == 1
    assert told(gateway, "--reason", "status_400", "--yes")["facts"] == 1
    gateway.wait(gateway.drained)
    assert vendor.journal[-1]["method"] == "DELETE"
    (_, first), (is_again, again) = words(gateway, erasure(3)["id"])
    assert ([word for word, _ in first.values()], is_again, [word for word, _ in again.values()]) == (
        ["dead"],
        True,
        ["delivered"],
    )


def test_a_replay_is_stored_while_no_gateway_runs_and_sent_by_the_next(gateway, vendor, message):
    gateway.start()
    rejected(gateway, vendor, message(1))
    assert gateway.stop() == 0
    assert told(gateway, "--connection", "loyalty", "--yes")["facts"] == 1
    gateway.start()
    gateway.wait(lambda: sent(vendor) == ["e-1-0"])


def test_what_is_for_a_removed_connection_is_counted_and_not_sent(gateway, vendor, email, message):
    email.faults.append(Fault(action=Action(status=400), times=10**6))
    gateway.start(more=email.connection)
    ann = {"type": "email", "encoding": "raw", "value": "ann@example.com"}
    gateway.post(message(1, user_identities=[ann]))
    gateway.wait(lambda: gateway.drained("email"))
    dead = counted(gateway, "email")["dead"]
    assert gateway.stop() == 0
    gateway.start(more="")
    assert told(gateway, "--since", "1h")["cannot"] == [{"connection": "email", "why": "not_configured", "facts": dead}]
    done = told(gateway, "--since", "1h", "--yes")
    assert (dead > 0, done["facts"], done["cannot"]) == (True, 0, dead)


@pytest.mark.parametrize("engine", ["sqlite"])
def test_what_cannot_be_meant_is_refused(gateway, vendor, message):
    gateway.start()
    for arguments in ([], ["--yes"], ["--word", "dead"], ["--list", "--since", "1h"], ["--since", "soon"]):
        status, said, problem = run(gateway, *arguments)
        assert (status, said, "Error: " in problem) == (2, "", True)
    assert run(gateway, "--resume", "nosuch")[0::2] == (
        1,
        "gateway: there is no replay 'nosuch'; gateway replay --list lists them\n",
    )


def test_what_waits_to_be_sent_again_on_a_removed_connection_is_dropped_for_those_facts_alone(
    gateway, email, vendor, message
):
    gateway.start(more=email.connection)
    rejected(gateway, vendor, message(1, events=2))
    vendor.faults.append(DOWN)
    assert told(gateway, "--connection", "loyalty", "--yes")["facts"] == 2
    assert gateway.stop() == 0
    kept = gateway.config.read_text()
    gateway.config.write_text(kept.replace("[connections.loyalty", "[connections.other"))
    drop = [sys.executable, "-m", "gateway", "drop", "loyalty", "--yes", "-c", str(gateway.config)]
    assert subprocess.run(drop, capture_output=True, text=True, check=False).stdout == "2 facts dropped\n"
    first, again = [row for row in gateway.explain(message(1)["id"]) if row["connection"] == "loyalty"]
    assert len(first["facts"]) == 3
    assert {fact["fact"]: (fact["word"], fact["reason"]) for fact in again["facts"]} == dict.fromkeys(
        ("e-1-0", "e-1-1"), ("skipped", "connection_removed")
    )
