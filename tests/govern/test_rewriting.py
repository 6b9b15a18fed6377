"""Rule packages: what they may change, how long they may run, and what happens to a batch on which one fails."""

import time

import pytest
from msgspec.structs import replace

from gateway.clock import Clock
from gateway.dispatch.planner import Planner
from gateway.facts import iter_facts
from gateway.govern.governor import Governor
from gateway.govern.rewrite import RewriteFault, Rewriter
from gateway.journal.types import Item, Outcome
from gateway.plugins.watchdog import Watchdog
from gateway.sdk import Call, Destination, Erasure, Memory, Settings, hookimpl
from gateway.testing import batch, connection, custom_event, user

SAID = batch(custom_event("a", id="a"), custom_event("b", id="b"), user=user("42", attributes={"x": 1}))


def rewriter(*hooks, seconds=5.0, passes=False):
    named = tuple((f"rule{number}", hook) for number, hook in enumerate(hooks))
    return Rewriter(hooks=named, guard=Watchdog(seconds), passes_on_failure=passes)


def renamed(batch):
    return replace(batch, user=replace(batch.user, attributes={**batch.user.attributes, "y": 2}))


def raising(batch):
    raise ValueError("jo@example.com")


def looping(batch):
    end = time.monotonic() + 20
    while time.monotonic() < end:
        pass


def test_packages_are_applied_in_turn_and_none_leaves_the_batch_as_it_is():
    assert rewriter(lambda batch: None, renamed).rewrite(SAID) == renamed(SAID)


@pytest.mark.parametrize(
    ("hook", "problem"),
    [
        (raising, "rule0 rewrite: ValueError"),
        (looping, "rule0 rewrite: took too long, twice"),
        (lambda batch: "nonsense", "rule0 rewrite: expected a Batch, got str"),
        (lambda batch: replace(batch, id="other"), "rule0 rewrite: a batch's id may not be changed"),
        (lambda batch: replace(batch, part=7), "rule0 rewrite: a batch's part may not be changed"),
        (lambda batch: replace(batch, user=user("43")), "rule0 rewrite: a batch's user.mpid may not be changed"),
        (
            lambda batch: replace(batch, erasure=Erasure(request_id="r")),
            "rule0 rewrite: a batch's erasure may not be changed",
        ),
    ],
)
def test_a_failure_discards_or_passes_unchanged_and_names_no_value(hook, problem):
    with pytest.raises(RewriteFault) as caught:
        rewriter(hook, renamed, seconds=0.1).rewrite(SAID)
    assert str(caught.value) == problem
    assert rewriter(hook, renamed, seconds=0.1, passes=True).rewrite(SAID) == renamed(SAID)


def test_no_package_may_rewrite_an_erasure():
    said = replace(SAID, erasure=Erasure(request_id="r"))
    assert rewriter(raising).rewrite(said) is said


class Post:
    @hookimpl
    def destination(self):
        return Destination(title="Post", settings=Settings, base_url=lambda _: "https://post.example")

    @hookimpl
    def on_event(self, event):
        return Call(method="POST", path="events", json=event.name)


def planned_by(rules):
    post = connection(Post(), {}, name="post")
    planner = Planner(connection=post, governor=Governor(post), rewriter=rules, guard=Watchdog(2.0), clock=Clock())
    item = Item(seq=1, message=SAID.id, part=0, dialect="firehose", received_ms=0, facts=3, body=b"")
    return planner.plan_item(item, SAID, Memory(), user=1)


def test_what_a_rule_removes_has_an_outcome_and_what_it_adds_is_sent():
    def swapped(batch):
        events = (batch.events[0], custom_event("c", id="c"))
        return replace(batch, events=events, user=replace(batch.user, attributes={}))

    done = planned_by(rewriter(swapped))
    assert [call.json for fact in done.planned for call in fact.calls] == ["a", "c"]
    assert list(done.settled) == [
        Outcome(fact="attributes", state="skipped", reason="dropped", cause="rules.packages"),
        Outcome(fact="b", state="skipped", reason="dropped", cause="rules.packages"),
    ]


def test_a_batch_on_which_a_rule_fails_is_dead_with_the_rules_name():
    done = planned_by(rewriter(raising))
    assert [(one.fact, one.state, one.reason, one.detail, one.cause) for one in done.settled] == [
        (fact.id, "dead", "rule_error", "rule0 rewrite: ValueError", "rules.packages") for fact in iter_facts(SAID)
    ]
