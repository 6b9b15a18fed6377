"""What becomes of a fact whose calls end differently, and what the journal keeps of it."""

import itertools

import pytest

from gateway.deliver.progress import CallOutcome, ItemProgress
from gateway.journal.types import Item
from gateway.plan import FactPlan, ItemPlan
from gateway.sdk import Call, Remember, Skip

ITEM = Item(seq=1, message="m", part=0, dialect="firehose", received_ms=0, facts=1, body=b"{}")
STATES = ("dead", "delivered", "skipped")


def progress(*states, skips=(), memories=(), **plan):
    """The progress of an item of one fact, each of whose calls has ended so."""
    calls = tuple(Call(id=f"c{number}", method="POST", path="x") for number in range(len(states)))
    fact = FactPlan(fact="f", calls=calls, skips=skips, memories=memories)
    ends = {
        call.id: CallOutcome(state=state, reason=f"{state} {call.id}")
        for call, state in zip(calls, states, strict=True)
        if state
    }
    return ItemProgress(plan=ItemPlan(item=ITEM, planned=(fact,), **plan), ends=ends)


@pytest.mark.parametrize("states", list(itertools.product(STATES, repeat=2)) + list(itertools.permutations(STATES)))
def test_a_fact_is_dead_if_any_call_is_else_delivered_if_any_is_else_skipped(states):
    (outcome,) = progress(*states).finish("loyalty").outcomes
    expected = next(state for state in STATES if state in states)
    assert (outcome.state, outcome.reason) == (expected, f"{expected} c{states.index(expected)}")


@pytest.mark.parametrize(
    ("skips", "expected"),
    [
        ((), ("skipped", "nothing_to_send", ())),
        ((Skip(reason="no_email"),), ("skipped", "no_email", ())),
        ((Skip(reason="too_long", what="a"), Skip(reason="no_email")), ("skipped", "no_email", (("a", "too_long"),))),
    ],
)
def test_a_fact_without_calls_is_skipped_for_the_reason_that_concerns_all_of_it(skips, expected):
    (outcome,) = progress(skips=skips).finish("loyalty").outcomes
    assert (outcome.state, outcome.reason, outcome.left_out) == expected


@pytest.mark.parametrize(("states", "is_done"), [((), True), (("dead",), True), (("delivered", None), False)])
def test_an_item_is_done_when_every_call_has_ended(states, is_done):
    here = progress(*states)
    assert (here.is_done, len(list(here.open_calls()))) == (is_done, 0 if is_done else 1)


@pytest.mark.parametrize(
    ("states", "remembers"), [(("delivered",), True), (("skipped",), True), (("delivered", "dead"), False)]
)
def test_a_dead_letter_remembers_nothing(states, remembers):
    here = progress(*states, memories=(Remember(key="k", value=1),))
    assert [one.key for one in here.memories()] == (["k"] if remembers else [])


@pytest.mark.parametrize(
    ("states", "withdrawn", "is_wish"),
    [
        (("delivered",), "", True),
        (("skipped",), "", True),
        (("dead",), "", False),
        (("delivered", "dead"), "", False),
        (("delivered",), "replay_aborted", False),
        ((), "", True),
    ],
)
def test_an_erasure_is_done_if_none_of_its_calls_is_dead(states, withdrawn, is_wish):
    finished = progress(*states, erases=True, withdrawn=withdrawn).finish("loyalty")
    assert finished.is_wish == is_wish


def test_the_detail_of_an_erasure_has_every_answer():
    here = progress("delivered", "dead", erases=True)
    here.ends = {
        "c0": CallOutcome(state="delivered", detail="DELETE was answered 200"),
        "c1": CallOutcome(state="dead", reason="rejected", detail="DELETE was answered 400"),
    }
    (outcome,) = here.finish("loyalty").outcomes
    assert outcome.detail == "DELETE was answered 200; DELETE was answered 400"
