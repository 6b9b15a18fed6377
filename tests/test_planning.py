"""Planning turns facts into calls and skips, all of them or none."""

import pytest

from gateway import plan
from gateway.facts import iter_facts
from gateway.plan import PluginFault
from gateway.sdk import (
    AttributeChange,
    Audience,
    Call,
    Destination,
    Erasure,
    File,
    Memory,
    Remember,
    Settings,
    Skip,
    hookimpl,
    path,
)
from gateway.testing import batch, connection, custom_event, membership, plan_with, session, user


class Nothing(Settings):
    pass


class Plugin:
    """Answers every event as ``answer`` says."""

    def __init__(self, answer=None, reasons=None):
        self.answer, self.reasons = answer, reasons

    @hookimpl
    def destination(self):
        return Destination(
            title="Post", settings=Nothing, base_url=lambda _: "https://post.example", reasons=self.reasons
        )

    @hookimpl
    def on_event(self, event):
        return self.answer(event) if callable(self.answer) else self.answer


def call(where="events", **fields):
    return Call(method="POST", path=where, **fields)


def raises(_):
    raise ValueError("hush-hush")


FILE = File(field="rows", name="rows.csv", content=b"a,b")
CIRCLE = []
CIRCLE.append(CIRCLE)


def fails_late(_):
    yield call()
    raise KeyError("hush-hush")


@pytest.mark.parametrize(
    ("answer", "planned"),
    [
        (None, [Skip(reason="nothing_to_send")]),
        (call(), [call()]),
        (call(file=FILE), [call(file=FILE)]),
        (call(form={"a": "b"}, file=FILE), [call(form={"a": "b"}, file=FILE)]),
        (Skip(reason="late"), [Skip(reason="late")]),
        (
            [call("a"), Skip(reason="late", what="$City"), call("b")],
            [call("a"), call("b"), Skip(reason="late", what="$City")],
        ),
        (lambda event: (call(event.name) for _ in range(2)), [call("Signup"), call("Signup")]),
        ([Remember(key="seen", value=1)], [Skip(reason="nothing_to_send"), Remember(key="seen", value=1)]),
    ],
)
def test_a_hook_may_answer_in_many_ways(answer, planned):
    assert plan_with(Plugin(answer), batch(custom_event("Signup")), {}) == planned


def nested(levels):
    value = []
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (raises, "test 0 on_event: ValueError at line"),
        (fails_late, "test 0 on_event: KeyError at line"),
        ("a string", "expected calls and skips, got str"),
        ({"a": 1}, "expected calls and skips, got dict"),
        (7, "expected calls and skips, got int"),
        ([call(), "x"], "expected a Call, a Skip or a Remember, got str"),
        (call("/absolute"), "the path must be relative"),
        (call("a//b"), "the path must be relative"),
        (call("a/../b"), "the path must be relative"),
        (call("a?b"), "the path must be relative"),
        (call("https://evil.example/x"), "the path must be relative"),
        (Call(method="TRACE", path="x"), "'TRACE' is not a method; use one of DELETE, GET, PATCH, POST, PUT"),
        (call(json={}, form={}), "a call has one body: json, or a form with or without a file"),
        (call(json=0, file=FILE), "a call has one body: json, or a form with or without a file"),
        (call(json={"a": object()}), "a Call holds what it cannot: Encoding objects of type object is unsupported"),
        (call(json="hush-hush \ud83d"), "a Call holds what it cannot: UnicodeEncodeError"),
        (call(json=CIRCLE), "a Call holds what it cannot: RecursionError"),
        (call(json=nested(65)), "a Call is nested more than 64 levels deep"),
        (Remember(key="a", value=nested(65)), "a Remember is nested more than 64 levels deep"),
        (call(memo=object()), "a Call holds what it cannot: Encoding objects of type object is unsupported"),
        (call(params={"a": 1}), "a Call holds what it cannot: not the declared type at `$.params[...]`"),
        (call(form={"a": ["hush-hush"]}), "a Call holds what it cannot: not the declared type at `$.form[...]`"),
        (call(7), "a Call holds what it cannot: not the declared type at `$.path`"),
        (call(headers={"x-name": "hush-hush Zoë"}), "headers must be plain ASCII, each on one line"),
        (call(headers={"x-name": "a\r\nhush-hush: b"}), "headers must be plain ASCII, each on one line"),
        (call(headers={"hush-hush: x": "a"}), "headers must be plain ASCII, each on one line"),
        (Skip(reason=None), "a Skip holds what it cannot: not the declared type at `$.reason`"),
        (Remember(key="a", value={1, object()}), "a Remember holds what it cannot: Encoding objects of type object"),
    ],
)
def test_a_plugins_fault_discards_the_plan_and_names_the_hook_but_no_value(answer, problem):
    with pytest.raises(PluginFault) as fault:
        plan_with(Plugin(answer), batch(custom_event("a"), custom_event("b")), {})
    assert problem in str(fault.value)
    assert str(fault.value).startswith("test 0 on_event: ")
    assert "hush-hush" not in str(fault.value)


def test_a_reason_that_the_plugin_does_not_declare_is_other():
    made_up = [Skip(reason="late"), Skip(reason="e-4711 of hush-hush", what="$City")]
    planned = plan_with(Plugin(made_up, ("late",)), batch(custom_event("Signup")), {})
    assert planned == [Skip(reason="late"), Skip(reason="other", what="$City")]


def test_a_hook_that_a_plugin_lacks_is_a_skip():
    said = batch(session(), user=user(email="jo@example.com", attributes={"a": 1}))
    assert plan_with(Plugin(), said, {}) == [Skip(reason="not_supported")] * 3


def test_call_ids_are_equal_on_every_planning_and_differ_by_fact_position_connection_and_part():
    plugin = Plugin(lambda _: [call(), call()])
    said = batch(custom_event("a", id="e1"), custom_event("b", id="e2"))

    def ids(name="test", **fields):
        one = connection(plugin, {}, name=name)
        changed = batch(*said.events, **fields)
        return [c.id for planned in plan.plan(changed, one, iter_facts(changed)) for c in planned.calls]

    assert ids() == ids()
    every = [*ids(), *ids("other"), *ids(part=1), *ids(id="another message")]
    assert (len(set(every)), {len(one) for one in every}) == (16, {32})


def test_facts_come_in_the_order_in_which_they_must_take_effect():
    said = batch(
        session(id="s"),
        custom_event(id="e"),
        user=user(email="jo@example.com", attributes={"a": 1}),
        memberships=(membership(), membership(action="attribute_update")),
    )
    assert [(fact.id, fact.hook) for fact in iter_facts(said)] == [
        ("identities", "on_identity"),
        ("attributes", "on_attributes"),
        ("membership:1234:add", "on_membership"),
        ("membership:1234:attribute_update", "on_membership"),
        ("s", "on_session"),
        ("e", "on_event"),
    ]


def test_an_erasure_is_the_only_fact_of_its_batch():
    said = batch(custom_event(), user=user(email="jo@example.com"), erasure=Erasure(request_id="r1"))
    assert [fact.id for fact in iter_facts(said)] == ["erasure:r1"]


def test_an_audience_is_a_fact_without_a_user():
    said = batch(user=user(None), audience=Audience(id="7", name="Gold", action="add"))
    assert [(fact.id, fact.hook) for fact in iter_facts(said)] == [("audience:7", "on_audience")]


def test_changes_alone_are_facts():
    said = batch(user=user(), attribute_changes=(AttributeChange(name="a", removed=True),))
    assert [fact.id for fact in iter_facts(said)] == ["attributes"]
    assert [fact.id for fact in iter_facts(batch(user=user(removed=("a",))))] == ["attributes"]


def test_facts_with_one_id_are_told_apart():
    said = batch(custom_event(id="e"), custom_event(id="e"), custom_event(id="e"))
    assert [fact.id for fact in iter_facts(said)] == ["e", "e#2", "e#3"]


def test_a_hook_may_ask_for_what_was_remembered():
    class Remembering(Plugin):
        @hookimpl
        def on_session(self, session, memory):
            return call(memory.user["where"])

    memory = Memory(user={"where": "there"})
    assert plan_with(Remembering(), batch(session()), {}, memory=memory) == [call("there")]


@pytest.mark.parametrize(
    ("segments", "joined"),
    [
        (("users", "42"), "users/42"),
        (("users", "a/b?c#d%e f@g"), "users/a%2Fb%3Fc%23d%25e%20f%40g"),
        (("ü", "..."), "%C3%BC/..."),
    ],
)
def test_path_quotes_every_segment(segments, joined):
    assert path(*segments) == joined


@pytest.mark.parametrize("segment", ["", ".", ".."])
def test_path_refuses_segments_that_would_lead_elsewhere(segment):
    with pytest.raises(ValueError, match="cannot be a path segment"):
        path("users", segment)


@pytest.mark.parametrize(("segment", "kind"), [(None, "NoneType"), (5, "int")])
def test_path_names_the_segment_that_is_not_text(segment, kind):
    with pytest.raises(ValueError, match=f"segment 2 is {kind}, not text"):
        path("users", segment)


def test_a_skip_may_name_the_plugins_setting_behind_it():
    late = Skip(reason="late", what="date", setting="ignored")
    answers = {
        "skipped": [late, Skip(reason="kind_off", setting="kinds")],
        "called": [late, call()],
        "plain": Skip(reason="no_email"),
    }
    said = batch(*(custom_event(name, id=name) for name in answers), session(id="s"))
    joined = connection(Plugin(lambda event: answers[event.name]), {}, name="post")
    assert {one.fact: one.cause for one in plan.plan(said, joined, iter_facts(said))} == {
        "skipped": "connections.post.settings.kinds",
        "called": "",
        "plain": "",
        "s": "connections.post.plugin",
    }
