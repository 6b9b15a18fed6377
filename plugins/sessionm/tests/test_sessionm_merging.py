"""Folding: profile writes that wait together become one call, and everything else stays as it was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

import gateway_sessionm
from gateway.plugins.connections import Connection
from gateway.sdk import Batch, Call, Erasure
from gateway.testing import batch, connection, custom_event, drive, plan_with, running, user
from gateway_sessionm import coalesce
from gateway_sessionm.fake import FakeSessionM

MPID = "42"
VALUES = {"host": "https://api-acme.stg-sessionm.com", "api_key": "test-key", "api_secret": "test-secret"}


def calls(*batches: Batch, lane: str = "mpid:42") -> list[Call]:
    """The calls of these batches, as they wait in one lane."""
    numbered = [replace(one, id=f"m-{number}") for number, one in enumerate(batches)]
    items = [item for one in numbered for item in plan_with(gateway_sessionm, one, VALUES, ids=True)]
    return [replace(item, lane=lane) for item in items if isinstance(item, Call)]


def said(*events: str, erased: bool = False, mpid: str = MPID, **person: Any) -> Batch:
    happened = tuple(custom_event("Reward Claimed", id=id, attributes={"id": id}) for id in events)
    erasure = Erasure(request_id="r-1") if erased else None
    return batch(*happened, user=user(mpid, **person), erasure=erasure)


def shape(folded: list[Call]) -> list[tuple[str, Any]]:
    """Each call's method with what it writes."""
    return [
        (call.method, (call.json or {}).get("user") or list((call.json or {}).get("events", {}))) for call in folded
    ]


EVENT = ("POST", ["Reward Claimed"])


def test_the_writes_of_one_batch_are_one_call_that_covers_both():
    waiting = calls(said(attributes={"a": "1"}, email="jo@example.com", customer_id="c-1"))
    (one,) = coalesce(tuple(waiting))
    assert one.json == {"user": {"email": "jo@example.com", "user_profile": {"a": "1"}}}
    assert (one.id, one.covers) == (waiting[0].id, tuple(call.id for call in waiting))
    assert (one.method, one.path, one.lane) == ("PUT", "external/users/42", "mpid:42")


def test_the_later_value_wins_and_every_event_stays():
    waiting = calls(
        said("e-1", attributes={"a": "1", "b": "1", "$City": "Rome"}),
        said("e-2", attributes={"b": "2", "c": "2"}),
        said("e-3", attributes={"$City": "Bari"}),
    )
    folded = coalesce(tuple(waiting))
    assert shape(folded) == [
        ("PUT", {"city": "Bari", "user_profile": {"a": "1", "b": "2", "c": "2"}}),
        EVENT,
        EVENT,
        EVENT,
    ]
    assert folded[1:] == [call for call in waiting if call.method == "POST"]
    assert folded[0].covers == tuple(call.id for call in waiting if call.method == "PUT")


def test_reading_ids_and_writing_a_profile_become_a_write_after_which_ids_are_read():
    (one,) = coalesce(tuple(calls(said(attributes={"a": "1"}, customer_id="c-1"))))
    assert (one.method, one.json, one.memo["unconfirmed"]) == ("PUT", {"user": {"user_profile": {"a": "1"}}}, True)


def test_a_single_write_and_an_event_are_left_alone():
    waiting = calls(said("e-1", attributes={"a": "1"}))
    assert coalesce(tuple(waiting)) == waiting


def test_a_write_that_follows_an_event_alone_does_not_overtake_it():
    waiting = calls(said("e-1"), said(attributes={"a": "1"}))
    assert coalesce(tuple(waiting)) == waiting


def test_writes_on_both_sides_of_an_erasure_stay_there():
    before, after = {"attributes": {"a": "1"}}, {"attributes": {"a": "2"}}
    waiting = calls(said(**before), said(**before), said(erased=True), said(**after), said(**after))
    assert [call.method for call in coalesce(tuple(waiting))] == ["PUT", "DELETE", "PUT"]


def test_writes_that_tell_of_different_ids_stay_two():
    waiting = calls(said(attributes={"a": "1"}, customer_id="c-1"), said(attributes={"a": "2"}, customer_id="c-2"))
    assert shape(coalesce(tuple(waiting))) == [
        ("PUT", {"user_profile": {"a": "1"}}),
        ("PUT", {"user_profile": {"a": "2"}}),
    ]


@pytest.mark.parametrize(("more", "count"), [(100, 1), (101, 2)])
def test_a_call_never_carries_more_than_200_attributes(more, count):
    first = {f"a{number}": "v" for number in range(100)}
    second = {f"b{number}": "v" for number in range(more)}
    assert len(coalesce(tuple(calls(said(attributes=first), said(attributes=second))))) == count


def test_users_and_lanes_are_never_mixed():
    one = calls(said(attributes={"a": "1"}))
    other = calls(said(attributes={"a": "2"}, mpid="43"))
    elsewhere = calls(said(attributes={"a": "3"}), lane="elsewhere")
    assert coalesce((*one, *other, *elsewhere)) == [*one, *other, *elsewhere]


def test_an_email_is_kept_for_a_user_who_has_to_be_created():
    _, write = calls(said(attributes={"a": "1"}, email="jo@example.com"))
    (folded,) = coalesce((write, *calls(said(attributes={"b": "1"}))))
    assert folded.memo["email"] == "jo@example.com"


persons = st.fixed_dictionaries(
    {
        "attributes": st.dictionaries(
            st.sampled_from(["a", "b", "c", "d", "$City", "$FirstName"]), st.sampled_from(["", "1", "2"]), max_size=4
        )
    },
    optional={
        "email": st.sampled_from(["jo@example.com", "jo@example.org"]),
        "customer_id": st.sampled_from(["c-1", "c-2"]),
        "other": st.just("o-1"),
    },
)
stories = st.lists(st.tuples(persons, st.integers(0, 2), st.sampled_from([False, False, False, True])), max_size=5)
beginnings = st.sampled_from(
    [
        [],
        [{"external_id": MPID}],
        [{"external_id": MPID, "external_id_type": "mparticle_mpid", "user_profile": {"a": "0", "z": "0"}}],
        [{"external_id": "c-1", "external_id_type": "customer_id", "identifiers": [{"external_id": "card"}]}],
        [{"external_id": MPID}, {"external_id": "c-1"}],
        [{"external_id": "c-1"}, {"external_id": "o-1"}],
    ]
)


def told(story) -> list[Call]:
    """The calls of a story, in which each event has an id of its own."""
    return calls(
        *(
            said(*(f"e-{number}-{position}" for position in range(events)), erased=erased, **person)
            for number, (person, events, erased) in enumerate(story)
        )
    )


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[FakeSessionM, Connection]]:
    """One fake for all stories, and the connection to it."""
    vendor = FakeSessionM(events=["Reward Claimed"], undefined_attribute="accept", max_custom_attributes=3)
    with running(vendor) as url:
        yield vendor, connection(gateway_sessionm, {**VALUES, "host": url})


def outcome(served: tuple[FakeSessionM, Connection], beginning: list[dict], made: list[Call]) -> Any:
    """Return SessionM's data after these calls, without the parts that differ between runs; events as they came."""
    vendor, here = served
    vendor.reset()
    vendor.seed({"users": [{"id": f"u-{number}", **one} for number, one in enumerate(beginning)]})
    drive(here, made)
    owners = {one.id: sorted(each.external_id for each in one.external_ids) for one in vendor.users}
    users = [
        (
            sorted((each.external_id, each.external_id_type or "") for each in one.external_ids),
            one.fields,
            list(one.profile.items()),
        )
        for one in vendor.users
    ]
    events = [
        (owners.get(one.user_id), one.name, one.transaction_id, one.date, one.context) for one in vendor.stored_events
    ]
    return sorted(users, key=repr), events


WHOLE = {"attributes": {"a": "1", "b": "1"}, "email": "jo@example.com", "customer_id": "c-1"}


@settings(max_examples=150, deadline=None)
@given(beginnings, stories)
@example([], [(WHOLE, 1, False), ({"attributes": {"b": "2", "c": "2", "d": "2"}}, 1, False), (WHOLE, 2, False)])
@example([{"external_id": MPID}], [(WHOLE, 1, False), (WHOLE, 0, True), ({"attributes": {"a": "2"}}, 1, False)])
@example([{"external_id": "c-1"}], [(WHOLE, 0, False), ({**WHOLE, "customer_id": "c-2"}, 0, False)])
def test_one_after_the_other_or_folded_sessionm_ends_up_with_the_same(served, beginning, story):
    waiting = told(story)
    assert outcome(served, beginning, coalesce(tuple(waiting))) == outcome(served, beginning, waiting)


@given(stories)
def test_events_are_neither_folded_nor_changed_nor_swapped(story):
    waiting = told(story)
    folded = coalesce(tuple(waiting))
    assert [call for call in folded if call.method in ("POST", "DELETE")] == [
        call for call in waiting if call.method in ("POST", "DELETE")
    ]


@given(stories)
def test_a_write_never_comes_after_an_event_that_it_preceded_and_never_crosses_an_erasure(story):
    waiting = told(story)
    folded = coalesce(tuple(waiting))
    for call in (call for call in waiting if call.method in ("POST", "DELETE")):
        earlier = {one.id for one in waiting[: waiting.index(call)]}
        made = {id for one in folded[: folded.index(call)] for id in one.covers or (one.id,)}
        assert earlier <= made
        if call.method == "DELETE":
            assert earlier == made


@given(stories)
def test_every_call_is_covered_once_and_folding_again_changes_nothing(story):
    waiting = told(story)
    folded = coalesce(tuple(waiting))
    assert sorted(id for call in folded for id in call.covers or (call.id,)) == sorted(call.id for call in waiting)
    assert coalesce(tuple(folded)) == folded
