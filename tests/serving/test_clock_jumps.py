"""The clock is set while the gateway runs: nothing is lost by it, and nothing waits for the time it told."""

import time

import pytest
from support.planted_clock import PlantedClock

from gateway.testing.vendor import Action, Fault, Match


@pytest.fixture
def clock(tmp_path, monkeypatch):
    return PlantedClock(tmp_path, monkeypatch)


def events(vendor):
    return [entry["body"]["events"]["Signup"]["transaction_id"] for entry in vendor.events()]


def words(gateway, number):
    """Whether the journal still has a message, and what became of it."""
    rows = gateway.explain(f"00000000-0000-4000-8000-{number:012d}")
    return {fact["word"] for row in rows for fact in row["facts"]} if rows else None


def failing(vendor, after_s):
    """From now on the vendor takes no event, and wants to be asked again after so many seconds."""
    told = Action(status=500, headers={"Retry-After": str(after_s)})
    vendor.faults.append(Fault(match=Match(path_regex="/events$"), times=10**6, action=told))


def refusals(vendor):
    return sum(entry["status"] == 500 for entry in vendor.journal)


def test_what_waits_when_the_clock_is_set_back_is_tried_at_once(gateway, vendor, message, clock):
    gateway.start()
    failing(vendor, 60)
    for number in (1, 2, 3):
        assert gateway.post(message(number, user=42 if number < 3 else 43))[0] == 200
    gateway.wait(lambda: refusals(vendor) == 2)
    vendor.faults.clear()
    clock.set(-9)
    assert gateway.post(message(4))[0] == 200
    gateway.wait(gateway.drained, seconds=90)  # what is put off just afterwards waits for the minute asked
    assert [event for event in events(vendor) if event != "e-3-0"] == ["e-1-0", "e-2-0", "e-4-0"]
    assert "e-3-0" in events(vendor)
    assert '"event":"the clock was set"' in gateway.log


def test_what_a_clock_put_off_that_was_ahead_is_tried_once_a_new_dispatcher_looks(gateway, vendor, message, clock):
    clock.set(9)
    gateway.start()
    failing(vendor, 60)
    assert gateway.post(message(1))[0] == 200
    gateway.wait(lambda: refusals(vendor) == 1)
    gateway.kill_all()
    vendor.faults.clear()
    clock.set(0)
    gateway.start()
    gateway.wait(gateway.drained)
    assert events(vendor) == ["e-1-0"]


def test_a_clock_that_is_set_forward_gives_nothing_up_and_forgets_nothing(gateway, vendor, message, clock):
    gateway.start()
    assert gateway.post(message(1))[0] == 200
    gateway.wait(gateway.drained)
    failing(vendor, 1)
    assert gateway.post(message(2))[0] == 200
    gateway.wait(lambda: refusals(vendor) == 1)
    clock.set(10_000)
    gateway.wait(lambda: refusals(vendor) >= 3)
    time.sleep(1)  # time to forget
    assert words(gateway, 1) == {"delivered"}
    vendor.faults.clear()
    assert gateway.post(message(3))[0] == 200
    gateway.wait(gateway.drained)
    assert events(vendor) == ["e-1-0", "e-2-0", "e-3-0"]
    assert ("loyalty", "dead") not in gateway.facts()
