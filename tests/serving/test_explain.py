"""``gateway explain``: found by every id a batch has, and why it waits, in sentences."""

import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from gateway.testing.vendor import Action, Fault

JSON_KEYS = (Path(__file__).parents[2] / "docs" / "explain.md").read_text().partition("## `--json`")[2]
ADDRESS = "Mara@Example.com"
IDENTITIES = [
    {"type": "email", "encoding": "raw", "value": ADDRESS},
    {"type": "customer", "encoding": "raw", "value": "C-9"},
]


def told(gateway, id):
    """What people are told: standard output, and standard error."""
    command = [sys.executable, "-m", "gateway", "explain", id, "-c", str(gateway.config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"COLUMNS": "300"})
    return done.stdout, done.stderr


def test_a_batch_is_found_by_each_of_its_ids_and_an_address_by_its_hash_alone(gateway, vendor, message):
    gateway.start()
    gateway.post(message(1, user_identities=IDENTITIES))
    gateway.post(message(2, user=43))
    gateway.wait(gateway.drained)
    ids = {"e-1-0": "id", message(1)["id"]: "id", "42": "mpid#", "C-9": "customer_id#", ADDRESS.lower(): "email#"}
    for id, found_by in ids.items():
        (row,) = gateway.explain(id)
        assert (row["message"], row["found_by"].startswith(found_by)) == (message(1)["id"], True)
    (row,) = gateway.explain(f" {ADDRESS.upper()}")
    assert re.fullmatch("email#[0-9a-f]{16}", row["found_by"])
    assert gateway.explain(row["found_by"]) == [row]
    documented = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`[a-z_`, ]+) \|", JSON_KEYS, re.MULTILINE)))
    assert set(documented) == set(row)
    shown, _ = told(gateway, row["found_by"])
    assert row["found_by"] in shown
    assert "example" not in shown.lower()


@pytest.mark.parametrize("engine", ["sqlite"])
def test_a_batch_is_found_by_a_negative_mpid_and_the_id_that_the_input_gave_an_event(gateway, vendor, message):
    gateway.start()
    posted = message(1, user=-5227515829034156637)
    posted["events"][0]["source_id"] = "from-the-input"
    gateway.post(posted)
    gateway.wait(gateway.drained)
    for id in ("-5227515829034156637", "from-the-input"):
        assert [row["message"] for row in gateway.explain(id)] == [posted["id"]]
    assert "No such option '--five'" in told(gateway, "--five")[1]


@pytest.mark.parametrize("engine", ["sqlite"])
def test_what_became_of_a_batch_is_told_even_where_its_document_cannot_be_read(gateway, vendor, message, tmp_path):
    gateway.start()
    gateway.post(message(1))
    gateway.wait(gateway.drained)
    assert gateway.stop() == 0
    with closing(sqlite3.connect(tmp_path / "gateway.db")) as database, database:
        database.execute("UPDATE batches SET body = x'7b'")
    (row,) = gateway.explain("e-1-0")
    assert [(fact["fact"], fact["title"], fact["word"]) for fact in row["facts"]] == [
        ("attributes", "", "delivered"),
        ("e-1-0", "", "delivered"),
    ]


def test_who_is_not_known_is_named_by_the_hash_too(gateway, vendor, message):
    gateway.start()
    gateway.post(message(1))
    shown, problem = told(gateway, ADDRESS)
    assert shown == ""
    assert re.search(r"nothing is known of 'Mara@Example.com' \(email#[0-9a-f]{16}\)", problem)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Action(status=503), r"waiting +status_503 +tried \d+ times?; goes on from 20"),
        (Action(status=429, headers={"retry-after": "60"}), r"waiting +status_429 +goes on from 20"),
        (Action(status=401), r"waiting +refused: status_401 +nothing .* until 20\S+: its calls are refused"),
    ],
    ids=["a failing partner", "a limit", "refused"],
)
def test_why_something_waits_is_a_sentence(gateway, vendor, message, fault, expected):
    vendor.faults.append(Fault(action=fault, times=10**6))
    gateway.start(pause_s=60)
    gateway.post(message(1))
    shown = gateway.wait(lambda: found if re.search(expected, (found := told(gateway, "42")[0])) else "")
    assert "after 0 attempts" not in shown


def test_a_message_that_holds_nothing_to_send_is_found_with_the_reason(gateway, vendor, message):
    gateway.start()
    withdrawn = {"type": "gdpr_consent_state", "purpose": "Email", "new_gdpr_consent_state": {"consented": False}}
    bare = message(1, user_attributes={}, events=0)
    consent = message(2, user_attributes={}, events=0, system_notifications=[withdrawn])
    for body in (bare, consent):
        assert gateway.post(body)[0] == 200
    gateway.wait(gateway.drained)
    outcomes = [
        [(fact["fact"], fact["word"], fact["reason"]) for fact in gateway.explain(body["id"])[0]["facts"]]
        for body in (bare, consent)
    ]
    assert outcomes == [[("message", "skipped", "nothing_to_send")], [("consent", "skipped", "consent_off")]]
