"""Preparation decodes an item, looks up what the journal knows of it, and plans it."""

import json
from dataclasses import dataclass, field

import pytest

from gateway.clock import Clock
from gateway.deliver.executor import Wait
from gateway.dispatch.planner import make_planner
from gateway.dispatch.prepare import NoLookup, prepare
from gateway.govern.rewrite import load_rewriter
from gateway.journal.replays import ReplayOrigin
from gateway.journal.types import Item, Outcome
from gateway.journal.wait_reasons import WaitReason
from gateway.plugins.watchdog import Watchdog
from gateway.settings import RulesSettings

pytestmark = pytest.mark.anyio

EVENTS = [
    {"type": "custom_event", "id": f"e{number}", "timestamp_ms": 1_714_565_696_789 + number, "name": name}
    for number, name in enumerate(["a", "b", "skips"])
]
BODY = json.dumps({"type": "event_processing_request", "id": "m1", "mpid": "42", "events": EVENTS}).encode()
ORIGIN = ReplayOrigin(replay="r1", of=1, accepted_ms=0, dialect="firehose", facts=("e1", "e2", "e9"))


@dataclass
class Lookup:
    """Answers as a test says."""

    erased: tuple[Outcome, ...] | None = ()
    withdrawn: str = ""
    wait: Wait | None = None
    shared: dict[str, str] = field(default_factory=dict)
    user: int = 42

    async def drop_erased(self, item, batch):
        return batch, self.erased

    async def find_withdrawal(self, item, batch, *, is_erased):
        return "erased" if is_erased else self.withdrawn

    async def find_wait(self, item, batch):
        return self.wait

    async def read_shared_memory(self):
        return self.shared


@pytest.fixture
def prepared(post):
    """Prepare an item: ``prepared(lookup, again=...)``."""
    planner = make_planner(post, load_rewriter(RulesSettings()), Watchdog(2.0), Clock())

    async def make(lookup, *, remembered=None, **fields):
        item = Item(
            **{"seq": 1, "message": "m1", "part": 0, "dialect": "firehose", "received_ms": 0, "facts": 3, **fields},
            body=BODY,
        )
        return await prepare(item, remembered or {}, planner, lookup)

    return make


def open_paths(made):
    return [call.path for call in made.progress.open_calls()]


def outcomes(made):
    return [(one.fact, one.state, one.reason) for one in made.progress.unsent()]


async def test_an_item_is_planned_with_what_is_remembered(prepared):
    made = await prepared(Lookup(), remembered={"seen": 1})
    assert (open_paths(made), outcomes(made)) == (["events/a", "events/b"], [("e2", "skipped", "not_wanted")])
    assert next(made.progress.open_calls()).json == {"remembered": {"seen": 1}}


async def test_a_message_without_a_journal_is_planned_alike(prepared):
    made, shown = await prepared(Lookup()), await prepared(NoLookup())
    assert (shown.plan, shown.batch) == (made.plan, made.batch)


async def test_an_item_waits_for_older_work(prepared):
    wait = Wait(seconds=1.0, reason=WaitReason("other_lanes"))
    assert await prepared(Lookup(wait=wait)) == wait


@pytest.mark.parametrize(
    ("lookup", "reason"), [(Lookup(erased=None), "erased"), (Lookup(withdrawn="replay_aborted"), "replay_aborted")]
)
async def test_a_withdrawn_item_waits_for_nothing_and_begins_no_call(prepared, lookup, reason):
    lookup.wait = Wait(seconds=1.0, reason=WaitReason("other_lanes"))
    made = await prepared(lookup)
    assert open_paths(made) == []
    assert outcomes(made) == [("e0", "skipped", reason), ("e1", "skipped", reason), ("e2", "skipped", "not_wanted")]
    assert list(made.plan.expected_memories()) == []


async def test_erased_events_keep_their_outcomes(prepared):
    erased = (Outcome(fact="e7", state="skipped", reason="erased"),)
    assert ("e7", "skipped", "erased") in outcomes(await prepared(Lookup(erased=erased)))


async def test_a_replayed_item_has_an_outcome_for_each_fact_asked_for_and_no_other(prepared):
    made = await prepared(Lookup(erased=(Outcome(fact="e8", state="skipped", reason="erased"),)), again=ORIGIN)
    assert open_paths(made) == ["events/b"]
    assert outcomes(made) == [("e9", "skipped", "not_in_document"), ("e2", "skipped", "not_wanted")]


@pytest.mark.parametrize(("crashed_in", "calls_made"), [("plan", ""), ("sign", "; calls of it had been made before")])
async def test_an_item_that_processes_died_of_is_dead_but_for_what_was_recorded(prepared, crashed_in, calls_made):
    first = next((await prepared(Lookup())).progress.open_calls()).id
    progress = {first: {"word": "delivered"}} if calls_made else {}
    made = await prepared(Lookup(), crashes=3, crashed_in=crashed_in, progress=progress)
    detail = f"post 0 {crashed_in}: the process died of it 3 times{calls_made}"
    assert open_paths(made) == []
    dead = {one.fact: one.detail for one in made.progress.unsent() if one.state == "dead"}
    assert dead == dict.fromkeys(["e1"] if calls_made else ["e0", "e1", "e2"], detail)


async def test_two_deaths_are_no_reason_to_set_an_item_aside(prepared):
    assert open_paths(await prepared(Lookup(), crashes=2, crashed_in="plan")) == ["events/a", "events/b"]
