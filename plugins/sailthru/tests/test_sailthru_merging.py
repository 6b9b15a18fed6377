from __future__ import annotations

from collections import Counter
from urllib.parse import urlencode

import msgspec
from hypothesis import given
from hypothesis import strategies as st

import gateway_sailthru
from gateway.sdk import Call, Memory
from gateway.testing import Request, batch, custom_event, plan_with, user
from gateway_sailthru import calls
from gateway_sailthru.fake import FakeSailthru
from gateway_sailthru.settings import SailthruSettings

VALUES = {"api_key": "test-key", "api_secret": "test-secret"}
SETTINGS = SailthruSettings.model_validate(VALUES)
JO, MO = "jo@example.com", "mo@example.com"

values = st.none() | st.integers(0, 3) | st.text("ab", max_size=2)
updates = st.builds(
    calls.upsert,
    st.just(JO) | st.sampled_from([JO, MO]),
    vars=st.dictionaries(st.sampled_from("xyz"), values),
    lists=st.dictionaries(st.sampled_from(["Gold", "Silver"]), st.sampled_from([0, 1])),
    optout_email=st.none() | st.sampled_from(["none", "basic", "all", "blast"]),
)
keyed = st.builds(
    lambda extid, **fields: calls.upsert(JO, keys={"email": JO, "extid": extid}, **fields),
    st.sampled_from(["c-1", "c-2"]),
    vars=st.dictionaries(st.sampled_from("xyz"), values),
    optout_email=st.none() | st.sampled_from(["none", "all"]),
)
events = st.builds(calls.send_event, st.just(JO), st.sampled_from(["a", "b"]), st.dictionaries(st.just("n"), values))
deletions = st.just(calls.request("DELETE", "user", {"id": JO, "key": "email"}, memo={"step": "erase:by_sid"}))
lanes = st.lists(updates | keyed | events | deletions, max_size=7)


def numbered(offered: list[Call]) -> tuple[Call, ...]:
    return tuple(msgspec.structs.replace(call, id=str(place), lane="l") for place, call in enumerate(offered))


def coalesced(*offered: Call) -> list[Call]:
    return gateway_sailthru.coalesce(numbered(list(offered)), SETTINGS)


def vendor() -> FakeSailthru:
    """A fake where two others already have the extids, one of them opted out."""
    made = FakeSailthru("test-key", "test-secret")
    made.clock.set(1_000_000)
    gold = {"id": "c1@example.com", "keys": {"extid": "c-1"}, "vars": {"x": "c1"}, "lists": {"Gold": 1}}
    optout = {"id": "c2@example.com", "keys": {"extid": "c-2"}, "vars": {"y": "c2"}, "optout_email": "basic"}
    made.seed({"users": [gold, optout]})
    return made


def after(made: list[Call] | tuple[Call, ...]) -> FakeSailthru:
    """The fake once these calls were made in order."""
    fake = vendor()
    for call in made:
        signed = gateway_sailthru.sign(call, SETTINGS)
        fields = urlencode(signed.form or signed.params)
        query, body = ("", fields.encode()) if call.method == "POST" else (fields, b"")
        answer = fake.answer(Request(method=call.method, path=f"/{call.path}", query=query, headers={}, body=body))
        assert answer.status in (200, 404), answer
    return fake


@given(updates, updates)
def test_two_updates_made_one_after_the_other_do_what_the_folded_one_does(first, second):
    assert after(coalesced(first, second)).state()["users"] == after([first, second]).state()["users"]


@given(lanes)
def test_a_lane_folded_leaves_the_same_profiles_and_the_same_events_as_the_lane_itself(lane):
    plain, folded = after(lane), after(coalesced(*lane))
    assert folded.state()["users"] == plain.state()["users"]
    assert [{**e, "profile": 0} for e in folded.events] == [{**e, "profile": 0} for e in plain.events]


@given(lanes)
def test_each_call_is_covered_once_and_no_event_is_folded(lane):
    offered = numbered(lane)
    made = gateway_sailthru.coalesce(offered, SETTINGS)
    assert Counter(id for call in made for id in (call.covers or (call.id,))) == Counter(call.id for call in offered)
    assert all(call.id in call.covers for call in made if call.covers)
    assert [call for call in made if call.path == "event"] == [call for call in offered if call.path == "event"]


@given(lanes)
def test_every_event_finds_what_was_said_of_its_user_before_it(lane):
    plain, folded = after(lane), after(coalesced(*lane))
    for before, now in zip(plain.events, folded.events, strict=True):
        assert set((before["profile"] or {}).get("vars", {})) <= set((now["profile"] or {}).get("vars", {}))


@given(lanes)
def test_what_is_folded_cannot_be_folded_further(lane):
    made = coalesced(*lane)
    assert gateway_sailthru.coalesce(tuple(made), SETTINGS) == made


def test_updates_of_one_profile_are_one_call_that_covers_them_all():
    first = calls.upsert(JO, vars={"a": "1", "b": "1"}, lists={"Gold": 1}, optout_email="all")
    second = calls.upsert(JO, vars={"b": None, "c": "2"}, lists={"Gold": 0, "New": 1}, optout_email="none")
    merged = calls.upsert(JO, vars={"a": "1", "b": None, "c": "2"}, lists={"Gold": 0, "New": 1}, optout_email="none")
    assert coalesced(first, second) == [msgspec.structs.replace(merged, id="0", lane="l", covers=("0", "1"))]


def shape(made: list[Call]) -> list[tuple[str, ...]]:
    return [(f"{call.method} {call.path}", *(call.covers or (call.id,))) for call in made]


def test_an_update_joins_one_ahead_of_an_event_and_never_one_behind_it():
    update, event = calls.upsert(JO, vars={"a": "1"}), calls.send_event(JO, "x", {})
    assert shape(coalesced(update, event, update)) == [("POST user", "0", "2"), ("POST event", "1")]
    assert shape(coalesced(event, update)) == [("POST event", "0"), ("POST user", "1")]


def test_no_update_crosses_a_change_of_address_or_an_erasure():
    update = calls.upsert(JO, vars={"a": "1"})
    lines = [
        calls.find_keys(JO, "email", {"step": "x"}),
        calls.request("DELETE", "user", {"id": JO}),
        calls.request("POST", "user", {"id": JO, "key": "sid"}),
        calls.request("POST", "user", update.json, memo={"step": "x"}),
        calls.request("POST", "user", {**update.json, "fields": {"keys": 1}}),
    ]
    for line in lines:
        assert [len(found) for found in shape(coalesced(update, line, update))] == [2, 2, 2]


def test_no_update_crosses_one_of_another_address():
    assert len(coalesced(calls.upsert(JO), calls.upsert(MO), calls.upsert(JO))) == 3


def test_an_update_with_a_key_that_may_merge_profiles_starts_anew():
    plain, one, two = calls.upsert(JO), calls.upsert(JO, keys={"extid": "1"}), calls.upsert(JO, keys={"extid": "2"})
    assert len(coalesced(plain, one)) == 2
    assert len(coalesced(one, two)) == 2
    assert len(coalesced(one, one, plain)) == 1


def test_updates_of_different_lanes_are_left_apart():
    first, second = (msgspec.structs.replace(calls.upsert(JO), id=lane, lane=lane) for lane in "ab")
    assert gateway_sailthru.coalesce((first, second), SETTINGS) == [first, second]


def test_a_batch_with_everything_is_one_update_and_its_events():
    said = batch(custom_event(), custom_event("b"), user=user(email=JO, attributes={"a": "1"}))
    values = {**VALUES, "create_before_events": True}
    items = plan_with(gateway_sailthru, said, values, memory=Memory(), ids=True)
    made = gateway_sailthru.coalesce(tuple(item for item in items if isinstance(item, Call)), SETTINGS)
    assert [(call.path, len(call.covers)) for call in made] == [("user", 2), ("event", 0), ("event", 0)]
