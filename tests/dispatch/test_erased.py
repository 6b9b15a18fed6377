"""Data about a user that is older than the user's erasure, and arrives after it."""

import pytest

from gateway.dispatch.erased import drop_events, is_older
from gateway.facts import iter_facts
from gateway.sdk import AttributeChange, IdentityChange
from gateway.testing import batch, custom_event

ASKED = 5_000


def made(*times, received_ms=None, attributes=(), identities=()):
    events = [custom_event("Signup", id=f"e{number}", time_ms=time) for number, time in enumerate(times)]
    return batch(
        *events,
        received_ms=received_ms,
        attribute_changes=tuple(AttributeChange(name="Colour", time_ms=time) for time in attributes),
        identity_changes=tuple(IdentityChange(type="email", time_ms=time) for time in identities),
    )


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (made(4_000, 4_999, received_ms=9_000), True),
        (made(4_000, 5_000, received_ms=9_000), False),
        (made(4_000, attributes=[6_000], received_ms=9_000), False),
        (made(4_000, identities=[4_000], received_ms=9_000), True),
        (made(received_ms=4_000), True),
        (made(received_ms=6_000), False),
        (made(None, received_ms=4_000), True),
        (made(None, 4_000, received_ms=6_000), False),
        (made(None), False),
        (made(), False),
    ],
)
def test_a_batch_is_older_if_nothing_in_it_happened_since(said, expected):
    assert is_older(said, ASKED) is expected


def test_older_events_are_dropped_and_named():
    kept, late = drop_events(made(4_000, 6_000, None, 1), ASKED)
    assert ([event.id for event in kept.events], late) == (["e1", "e2"], ["e0", "e3"])
    twice = batch(*(custom_event("Signup", id="e", time_ms=time) for time in (1, 6_000, 2, 7_000)))
    kept, late = drop_events(twice, ASKED)
    assert ([fact.id for fact in iter_facts(kept)], late) == (["e", "e#2"], ["e#3", "e#4"])
    same = made(6_000)
    assert drop_events(same, ASKED) == (same, [])
