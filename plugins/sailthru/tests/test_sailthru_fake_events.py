"""The fake's events and purchases, and the fake as a program."""

from __future__ import annotations

import subprocess
import sys

import pytest

import gateway_sailthru
from gateway.testing import batch, connection, custom_event, drive, plan_with, user

JO = "jo@example.com"
ITEM = {"qty": 2, "title": "Latte", "price": 450, "id": "p-1", "url": "https://shop.example.com/p-1"}


def error(status: int, code: int, message: str) -> tuple[int, dict]:
    return status, {"error": code, "errormsg": message}


@pytest.mark.parametrize(
    ("data", "refusal"),
    [
        ({"event": "x"}, error(400, 2, "Missing required parameter: id")),
        ({"id": JO}, error(400, 2, "Missing required parameter: event")),
        ({"id": "nonsense", "event": "x"}, error(400, 11, "Invalid email: nonsense")),
        *(
            ({"id": JO, "event": name}, error(400, 99, f"Reserved event name: {name}"))
            for name in ("send", "cancel", "open", "click", "purchase", "daily")
        ),
    ],
)
def test_an_event_that_sailthru_would_not_take_is_refused(bench, data, refusal):
    here = bench()
    assert here.ask("POST", "event", data) == refusal
    assert here.vendor.events == []


def test_an_event_is_stored_with_when_it_came_and_how_the_profile_was(bench):
    here = bench()
    here.vendor.clock.set(1000)
    here.ask("POST", "user", {"id": JO, "vars": {"a": 1}})
    assert here.ask("POST", "event", {"id": JO, "event": "x", "vars": {"b": 2}}) == (200, {"ok": True})
    here.ask("POST", "user", {"id": JO, "vars": {"a": 2}})
    (event,) = here.vendor.events
    assert (event["event"], event["vars"], event["received"], event["profile"]["vars"]) == (
        "x",
        {"b": 2},
        1000,
        {"a": 1},
    )


@pytest.mark.parametrize(
    ("option", "answer", "events", "emails"),
    [
        ("ok", (200, {"ok": True}), 1, []),
        ("error99", error(400, 99, f"User not found with email: {JO}"), 0, []),
        ("create", (200, {"ok": True}), 1, [JO]),
    ],
)
def test_an_event_of_nobody_is_a_matter_of_an_option(bench, option, answer, events, emails):
    here = bench(event_unknown_user=option)
    assert here.ask("POST", "event", {"id": JO, "key": "email", "event": "x"}) == answer
    assert (len(here.vendor.events), here.emails()) == (events, emails)


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"email": "nonsense"}, error(400, 11, "Invalid email: nonsense")),
        ({"items": []}, error(400, 99, "No items in purchase")),
        *(({"items": [{**ITEM, name: None}]}, error(400, 99, f"Item without {name}")) for name in ITEM),
        ({"items": [{**ITEM, "price": 4.5}]}, error(400, 99, "Quantities and prices are whole numbers")),
    ],
)
def test_a_purchase_with_a_piece_missing_is_refused(bench, fields, refusal):
    assert bench().ask("POST", "purchase", {"email": JO, "items": [ITEM], **fields}) == refusal


def test_a_purchase_is_added_up_and_kept_with_the_profile(bench):
    here = bench()
    here.vendor.clock.set(1000)
    status, answer = here.ask("POST", "purchase", {"email": "JO@example.com", "items": [ITEM, {**ITEM, "qty": 1}]})
    made = answer["purchase"]
    assert (status, made["qty"], made["price"], made["time"], made["channel"]) == (200, 3, 1350, 1000, "online")
    assert set(made) == {"_id", "unique_id", "items", "qty", "price", "time", "channel"}
    assert here.ask("GET", "user", {"id": JO, "fields": {"purchases": 1}})[1] == {"purchases": [made]}


def test_a_cart_is_replaced_and_empty_once_it_is_paid(bench):
    here = bench()

    def cart() -> object:
        told = here.ask("GET", "user", {"id": JO, "fields": {"purchase_incomplete": 1}})[1]["purchase_incomplete"]
        return told and told["qty"]

    for qty in (1, 2):
        here.ask("POST", "purchase", {"email": JO, "items": [{**ITEM, "qty": qty}], "incomplete": 1})
        assert cart() == qty
    here.ask("POST", "purchase", {"email": JO, "items": [ITEM]})
    assert (cart(), len(here.vendor.purchases)) == (None, 1)


@pytest.mark.parametrize(("deduplicated", "count"), [(False, 2), (True, 1)])
def test_a_purchase_made_twice_counts_once_where_the_option_says_so(bench, deduplicated, count):
    here = bench(purchases_deduplicated=deduplicated)
    sold = {"email": JO, "items": [ITEM], "purchase_keys": {"extid": "t-1"}}
    answers = [here.ask("POST", "purchase", sold)[1]["purchase"]["unique_id"] for _ in range(2)]
    assert (len(here.vendor.purchases), len(set(answers))) == (count, count)


@pytest.mark.process
def test_the_fake_stands_alone_as_a_program():
    program = [sys.executable, "-m", "gateway_sailthru.fake", "--port", "0", "--api-key", "k", "--api-secret", "s"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().removeprefix("listening on ").strip()
            values = {"base_url": url, "api_key": "k", "api_secret": "s"}
            calls = plan_with(gateway_sailthru, batch(custom_event(), user=user(email=JO)), values)[1:]
            good, bad = (connection(gateway_sailthru, {**values, "api_secret": secret}) for secret in ("s", "x"))
            verdicts = [drive(each, calls)[0] for each in (good, bad)]
        finally:
            process.terminate()
    assert [verdict.word for verdict in verdicts] == ["delivered", "refused"]
