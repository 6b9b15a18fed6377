"""A time more than a day ahead of its message is replaced by that of receipt, and the ledger says so."""

import json

import pytest

from gateway.dispatch.future_times import DAY_MS, clamp_future
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
    clamped, facts = clamp_future(said, NOW)
    assert (clamped.events[0].time_ms, clamped.attribute_changes[0].time_ms) == (expected, expected)
    assert facts == ({"e", "attributes"} if is_clamped else frozenset())


def test_the_event_that_states_a_change_has_the_same_time():
    stating = OtherEvent(id="e", type="user_attribute_change", time_ms=NOW + 2 * DAY_MS)
    change = AttributeChange(name="a", time_ms=stating.time_ms, event=stating)
    clamped, _ = clamp_future(batch(attribute_changes=(change,)), NOW)
    (found,) = clamped.attribute_changes
    assert (found.time_ms, found.event.time_ms, found.event.id) == (NOW, NOW, "e")


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
