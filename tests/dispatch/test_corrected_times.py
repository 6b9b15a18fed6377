"""A time more than a day ahead, or in seconds, is corrected, and the ledger says so."""

import json

import pytest

from gateway.dispatch.corrected_times import DAY_MS, FUTURE_TIME, TIME_IN_SECONDS, correct_times
from gateway.sdk import AttributeChange, OtherEvent
from gateway.testing import batch, custom_event

pytestmark = pytest.mark.anyio
NOW = 1_796_000_000_000


@pytest.mark.parametrize(
    ("posted", "expected", "is_clamped"),
    [
        (None, None, False),
        (NOW - DAY_MS, NOW - DAY_MS, False),
        (NOW + DAY_MS, NOW + DAY_MS, False),
        (NOW + DAY_MS + 1, NOW, True),
        (253_402_300_799_999, NOW, True),
    ],
)
def test_only_a_time_over_a_day_ahead_is_clamped(posted, expected, is_clamped):
    said = batch(custom_event(id="e", time_ms=posted), attribute_changes=(AttributeChange(name="a", time_ms=posted),))
    clamped, notes = correct_times(said, b"", NOW)
    assert (clamped.events[0].time_ms, clamped.attribute_changes[0].time_ms) == (expected, expected)
    assert notes == (dict.fromkeys(("e", "attributes"), FUTURE_TIME) if is_clamped else {})


def test_the_event_that_states_a_change_has_the_same_time():
    stating = OtherEvent(id="e", type="user_attribute_change", time_ms=NOW + 2 * DAY_MS)
    change = AttributeChange(name="a", time_ms=stating.time_ms, event=stating)
    clamped, _ = correct_times(batch(attribute_changes=(change,)), b"", NOW)
    (found,) = clamped.attribute_changes
    assert (found.time_ms, found.event.time_ms, found.event.id) == (NOW, NOW, "e")


@pytest.mark.parametrize(
    ("written", "is_noted"),
    [
        (b'"timestamp_ms":1718000000', True),
        (b'"timestamp_ms" : 1718000000 ', True),
        (b'"timestamp_ms":"1718000000"', True),
        (b'"timestamp_ms":1718000000.0', True),
        (b'"timestamp_unixtime_ms":1718000000,', True),
        (b'"timestamp_ms":1718000000000', False),
        (b'"timestamp_ms":1718000001', False),
        (b'"other_ms":1718000000', False),
        (b"", False),
    ],
)
def test_a_fact_whose_time_was_given_in_seconds_is_noted(written, is_noted):
    said = batch(custom_event(id="e", time_ms=1_718_000_000_000), custom_event(id="f", time_ms=1_718_000_009_000))
    corrected, notes = correct_times(said, b'{"events":[{"data":{%b}}]}' % written, NOW)
    assert corrected is said
    assert notes == ({"e": TIME_IN_SECONDS} if is_noted else {})


def test_an_early_time_in_milliseconds_is_not_taken_for_seconds():
    said = batch(custom_event(id="e", time_ms=900_000_000))
    assert correct_times(said, b'{"timestamp_ms":900000000}', NOW) == (said, {})


@pytest.mark.parametrize("dialect", ["firehose", "events"])
async def test_the_ledger_shows_a_time_in_seconds_in_either_dialect(bench, dialect):
    here = bench()
    seconds = here.clock.now_ms() // 1000
    if dialect == "firehose":
        event = {"type": "custom_event", "id": "e", "name": "a", "timestamp_ms": seconds}
        message = {"type": "event_processing_request", "id": "m1", "mpid": "42", "events": [event]}
    else:
        data = {"event_id": "5", "event_name": "a", "timestamp_unixtime_ms": seconds, "custom_event_type": "other"}
        message = {"mpid": "42", "batch_id": "m1", "events": [{"event_type": "custom_event", "data": data}]}
    await here.post(message)
    await here.work()
    (one,) = (await here.status("m1")).outcomes
    assert (one.state, one.left_out) == ("delivered", (("time", "time_in_seconds"),))


async def test_the_ledger_names_the_time_that_was_left_out(bench):
    here = bench()
    now_ms = here.clock.now_ms()
    events = [
        {"type": "custom_event", "id": "near", "name": "a", "timestamp_ms": now_ms},
        {"type": "custom_event", "id": "far", "name": "b", "timestamp_ms": now_ms + 2 * DAY_MS},
    ]
    await here.post({"type": "event_processing_request", "id": "m1", "mpid": "42", "events": events})
    await here.work()
    outcomes = (await here.status("m1")).outcomes
    assert {one.fact: (one.state, one.left_out) for one in outcomes} == {
        "near": ("delivered", ()),
        "far": ("delivered", (("time", "future_time"),)),
    }
    assert json.loads(here.body) == {"remembered": {}}
