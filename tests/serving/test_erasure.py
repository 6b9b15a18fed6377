"""Somebody who asked to be forgotten: what waits for them is not sent, in whatever lane, and what comes later is."""

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
    assert len(email.people.profiles) == 1
    email.journal.clear()
    email.faults.append(DOWN)
    waiting = message(2, user=MPID, user_identities=IDENTITIES, events=3)
    asked = erasure(3, mpid=mpid)
    assert [gateway.post(one)[0] for one in (waiting, asked)] == [200, 200]
    gateway.wait(lambda: gateway.facts()["email", "in_flight"] == 1)  # what waited is dropped, partner or no partner
    email.faults.clear()
    gateway.wait(lambda: gateway.drained("email"))
    assert (email.people.profiles, writes(email)[-1]) == ({}, "DELETE")
    assert words(gateway, asked["id"], "email") == {("delivered", "")}
    assert words(gateway, waiting["id"], "email") - {("skipped", "unchanged")} == {("skipped", "erased")}


def test_what_waits_while_the_partner_is_down_is_dropped_and_only_the_erasure_is_made(gateway, vendor, message):
    gateway.start()
    gateway.post(message(1, user=MPID))
    gateway.wait(gateway.drained)
    vendor.journal.clear()
    vendor.faults.append(DOWN)
    before, asked, meanwhile = (
        message(2, user=MPID, events=20),
        erasure(3, mpid=MPID),
        message(4, user=MPID),
    )
    for one in (before, asked, meanwhile):
        gateway.post(one)
    vendor.faults.clear()
    gateway.wait(gateway.drained)
    assert writes(vendor) == ["DELETE"]
    assert words(gateway, before["id"], "loyalty") == {("skipped", "erased")}
    assert words(gateway, asked["id"], "loyalty") == {("delivered", "")}
    assert words(gateway, meanwhile["id"], "loyalty") == {("skipped", "erased")}
    assert list(vendor.people) == []


def test_a_user_who_comes_back_later_is_sent_again(gateway, vendor, message):
    gateway.start()
    for one in (message(1, user=MPID), erasure(2, mpid=MPID), message(3, user=MPID)):
        gateway.post(one)
        gateway.wait(gateway.drained)
    assert words(gateway, message(3)["id"], "loyalty") == {("delivered", "")}
    assert len(list(vendor.people)) == 1


def test_nobody_else_is_held_up_or_dropped(gateway, vendor, message):
    gateway.start()
    vendor.faults.append(DOWN)
    for one in (message(1, user=MPID), message(2, user="43"), erasure(3, mpid=MPID)):
        gateway.post(one)
    vendor.faults.clear()
    gateway.wait(gateway.drained)
    assert words(gateway, message(2)["id"], "loyalty") == {("delivered", "")}
