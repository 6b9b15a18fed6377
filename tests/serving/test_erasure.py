"""Somebody who asked to be forgotten: what waits for them is not sent, in whatever lane, and what comes later is."""

import json
import re
import subprocess
import sys

import pytest

from gateway.testing.vendor import Action, Fault

MPID = "42"
ADDRESS = "mara@example.com"
DOWN = Fault(action=Action(status=503), times=10**6)
IDENTITIES = [{"type": "email", "encoding": "raw", "value": ADDRESS}]


def erasure(number, *, mpid=None):
    extensions = {"opendsr.mparticle.com": {"subject_identities": {"mpid": {"encoding": "raw", "value": mpid}}}}
    return {
        "type": "dsr_processing_request",
        "id": f"00000000-0000-4000-9000-{number:012d}",
        "timestamp_ms": 1_714_565_696_789,
        "firehose_version": "3.2.0",
        "subject_request_id": f"00000000-0000-4000-a000-{number:012d}",
        "subject_request_type": "erasure",
        "subject_identities": {"email": {"encoding": "raw", "value": ADDRESS}},
        **({"extensions": extensions} if mpid else {}),
    }


def words(gateway, id, connection):
    """Every fact's word and reason of a message on a connection."""
    (row,) = [row for row in gateway.explain(id) if row["connection"] == connection]
    return {(fact["word"], fact["reason"]) for fact in row["facts"]}


def writes(vendor):
    return [entry["method"] for entry in vendor.journal if entry["method"] != "GET" and entry["status"] == 200]


@pytest.mark.parametrize("mpid", [MPID, None], ids=["by MPID", "by address alone"])
def test_what_waited_before_an_erasure_is_skipped_and_said_so(gateway, vendor, email, message, mpid):
    gateway.start(more=email.connection)
    change = {"type": "user_attribute_change", "id": "c-1", "added": {"Colour": "red"}}
    gateway.post({**message(1, user=MPID, user_identities=IDENTITIES), "events": [change]})
    gateway.wait(lambda: gateway.drained("email"))
    assert len(email.users.profiles) == 1
    email.journal.clear()
    email.faults.append(DOWN)
    waiting = message(2, user=MPID, user_identities=IDENTITIES, events=3)
    asked = erasure(3, mpid=mpid)
    assert [gateway.post(one)[0] for one in (waiting, asked)] == [200, 200]
    gateway.wait(lambda: gateway.facts()["email", "in_flight"] == 1)  # what waited is dropped, partner or no partner
    email.faults.clear()
    gateway.wait(lambda: gateway.drained("email"))
    assert (email.users.profiles, writes(email)[-1]) == ({}, "DELETE")
    assert words(gateway, asked["id"], "email") == {("delivered", "")}
    assert words(gateway, waiting["id"], "email") - {("skipped", "unchanged")} == {("skipped", "erased")}


def test_what_waits_while_the_partner_is_down_is_dropped_and_only_the_erasure_is_made(gateway, vendor, message):
    gateway.start()
    gateway.post(message(1, user=MPID))
    gateway.wait(gateway.drained)
    vendor.journal.clear()
    vendor.faults.append(DOWN)
    before, asked = message(2, user=MPID, events=20), erasure(3, mpid=MPID)
    meanwhile = happened(message, 4, asked["timestamp_ms"] - 1)
    for one in (before, asked, meanwhile):
        gateway.post(one)
    gateway.wait(lambda: words(gateway, before["id"], "loyalty") == {("skipped", "erased")})
    vendor.faults.clear()
    gateway.wait(gateway.drained)
    assert writes(vendor) == ["DELETE"]
    assert words(gateway, asked["id"], "loyalty") == {("delivered", "")}
    assert words(gateway, meanwhile["id"], "loyalty") == {("skipped", "erased")}
    assert list(vendor.users) == []


def test_a_user_who_comes_back_later_is_sent_again(gateway, vendor, message):
    gateway.start()
    for one in (message(1, user=MPID), erasure(2, mpid=MPID), message(3, user=MPID)):
        gateway.post(one)
        gateway.wait(gateway.drained)
    assert words(gateway, message(3)["id"], "loyalty") == {("delivered", "")}
    assert len(list(vendor.users)) == 1


def test_nobody_else_is_held_up_or_dropped(gateway, vendor, message):
    gateway.start()
    vendor.faults.append(DOWN)
    for one in (message(1, user=MPID), message(2, user="43"), erasure(3, mpid=MPID)):
        gateway.post(one)
    vendor.faults.clear()
    gateway.wait(gateway.drained)
    assert words(gateway, message(2)["id"], "loyalty") == {("delivered", "")}


def happened(message, number, time_ms, **fields):
    """A message with one event, which happened then."""
    made = message(number, user=MPID, **fields)
    made["events"][0]["timestamp_ms"] = time_ms
    return made


def test_what_is_told_too_late_is_skipped_and_what_happened_since_is_sent(gateway, vendor, message):
    gateway.start()
    gateway.post(message(1, user=MPID))
    asked = erasure(2, mpid=MPID)
    gateway.post(asked)
    gateway.wait(gateway.drained)
    vendor.journal.clear()
    late = happened(message, 3, asked["timestamp_ms"] - 1)
    both = message(4, user=MPID, events=2)
    both["events"][0]["timestamp_ms"] = asked["timestamp_ms"] - 1
    for one in (late, both):
        gateway.post(one)
        gateway.wait(gateway.drained)
    assert words(gateway, late["id"], "loyalty") == {("skipped", "erased")}
    (row,) = gateway.explain(late["id"])
    assert row["document"] == "removed"
    (row,) = gateway.explain(both["id"])
    assert {fact["fact"]: fact["reason"] for fact in row["facts"]} == {"attributes": "", "e-4-0": "erased", "e-4-1": ""}
    assert [one["body"]["events"]["Signup"]["transaction_id"] for one in vendor.events()] == ["e-4-1"]


@pytest.mark.parametrize("mpid", [MPID, None], ids=["by MPID", "by address alone"])
def test_lateness_is_of_the_user_meant_and_no_other(gateway, vendor, email, message, mpid):
    """Who shares an address is meant only where the erasure names nothing else."""
    gateway.start(more=email.connection)
    asked = erasure(1, mpid=mpid)
    gateway.post(asked)
    gateway.wait(lambda: gateway.drained("email"))
    before_ms = asked["timestamp_ms"] - 1
    other = {**happened(message, 2, before_ms, user_identities=IDENTITIES), "mpid": "43"}
    unknown = happened(message, 3, before_ms, user_identities=IDENTITIES)
    del unknown["mpid"]
    for one in (other, unknown):
        gateway.post(one)
    gateway.wait(lambda: gateway.drained("email"))
    assert ("skipped", "erased") in words(gateway, unknown["id"], "email")
    assert (("skipped", "erased") in words(gateway, other["id"], "email")) is (mpid is None)


@pytest.mark.parametrize("engine", ["sqlite"])
def test_an_erased_profile_is_not_made_anew_by_older_data_in_another_spelling(gateway, vendor, email, message):
    gateway.start(more=email.connection)
    asked = erasure(1)
    gateway.post(asked)
    gateway.wait(lambda: gateway.drained("email"))
    spelled = [{**IDENTITIES[0], "value": f"\u200b{ADDRESS.title()} \ufeff"}]
    late = happened(message, 2, asked["timestamp_ms"] - 1, user_identities=spelled)
    gateway.post(late)
    gateway.wait(lambda: gateway.drained("email"))
    assert words(gateway, late["id"], "email") - {("skipped", "unchanged")} == {("skipped", "erased")}
    assert email.users.profiles == {}


@pytest.mark.parametrize("engine", ["sqlite"])
def test_an_erasure_that_reached_nobody_is_listed(gateway, vendor, message):
    gateway.start()
    gateway.post(message(1, user=MPID))
    asked = {MPID: erasure(2, mpid=MPID), "43": erasure(3, mpid="43"), "nobody": erasure(4)}
    for one in asked.values():
        gateway.wait(gateway.drained)
        gateway.post(one)
    gateway.wait(gateway.drained)
    command = [sys.executable, "-m", "gateway", "erasures", "-c", str(gateway.config), "--json"]
    listed = {}
    for more in ((), ("--all",)):
        done = subprocess.run([*command, *more], capture_output=True, text=True, check=True)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        listed[more] = [(row["message"], row["word"], row["reason"], row["answers"]) for row in rows]
    unknown = (asked["43"]["id"], "delivered", "", ["DELETE was answered 404"])
    nameless = (asked["nobody"]["id"], "skipped", "no_mpid", [])
    reached = (asked[MPID]["id"], "delivered", "", ["DELETE was answered 200"])
    assert listed == {(): [unknown, nameless], ("--all",): [reached, unknown, nameless]}


def test_identities_of_an_extension_reach_what_was_posted_under_them_alone(gateway, vendor, message):
    gateway.start()
    card = [{"type": "other6", "encoding": "raw", "value": "card-77"}]
    known = {**message(1), "user_identities": card}
    del known["mpid"]
    gateway.post(known)
    gateway.wait(gateway.drained)
    asked = erasure(2, mpid=MPID)
    asked["extensions"]["opendsr.mparticle.com"]["subject_identities"]["other6"] = {"value": "card-77"}
    gateway.post(asked)
    gateway.wait(gateway.drained)
    assert [row["document"] for row in gateway.explain(known["id"])] == ["removed"]
    late = {**known, "id": message(3)["id"]}
    late["events"][0]["timestamp_ms"] = asked["timestamp_ms"] - 1
    gateway.post(late)
    gateway.wait(gateway.drained)
    assert ("delivered", "") not in words(gateway, late["id"], "loyalty")


def test_the_receipt_tells_what_each_partner_answered_and_everything_that_was_removed(
    gateway, vendor, email, message, stored
):
    gateway.start(more=email.connection)
    gateway.post(message(1, user=MPID, user_identities=IDENTITIES, user_attributes={"Colour": "cerulean"}))
    gateway.wait(lambda: gateway.drained("email") and gateway.drained())
    email.faults.append(DOWN)
    gateway.post(message(2, user=MPID, user_identities=IDENTITIES))
    asked = {**erasure(3, mpid=MPID), "submitted_time": "2024-05-01T12:00:00Z"}
    gateway.post(asked)
    gateway.wait(gateway.drained)
    email.faults.clear()
    gateway.wait(lambda: gateway.drained("email"))
    rows = {row["connection"]: row for row in gateway.explain(asked["id"])}
    answers = {name: row["receipt"]["answers"] for name, row in rows.items()}
    assert answers["loyalty"][-1] == "DELETE was answered 200"
    assert answers["email"] == ["GET was answered 200", "DELETE was answered 200", "GET was answered 400"]
    for row in rows.values():
        touched = {one["message"]: one for one in row["receipt"]["touched"]}
        assert set(touched) == {message(1)["id"], message(2)["id"]}
        assert row["receipt"]["memories_forgotten"] > 0
    assert rows["email"]["receipt"]["touched"][1]["withheld"] is True
    assert {row["document"] for id in (asked["id"], MPID) for row in gateway.explain(id)} == {"removed"}
    command = [sys.executable, "-m", "gateway", "explain", asked["id"], "-c", str(gateway.config)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env={"COLUMNS": "300"}).stdout
    assert re.search(r"email: receipt of the erasure, documents removed: \d", shown)
    assert "DELETE was answered 200" in shown
    assert gateway.stop() == 0
    kept = stored()
    assert [word for word in (ADDRESS, "cerulean") if word.encode() in kept] == []
