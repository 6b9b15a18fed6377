"""Work of users who asked to be forgotten: known for such when it is claimed, in whatever lane it waits."""

import pytest
from support.journal_words import BOTH, claim, finish, ref, settle

from gateway.journal.port import hash64

pytestmark = pytest.mark.anyio


async def test_what_waits_before_an_erasure_is_known_not_to_be_sent(journal, make_entry):
    for name, erases in (("m1", False), ("m2", True), ("m3", False)):
        await journal.accept([make_entry(name, erases=erases)], BOTH)
    (lane,) = await claim(journal)
    assert [(item.message, item.seq <= lane.erased_seq) for item in lane.items] == [
        ("m1", True),
        ("m2", True),
        ("m3", False),
    ]


async def test_an_erasure_concerns_its_own_lane_and_connection_alone(journal, make_entry):
    await journal.accept([make_entry("m1", user="ann"), make_entry("m2", user="bob")], BOTH)
    await journal.accept([make_entry("m3", user="ann", erases=True, scope="email")], BOTH)
    lanes = {(lane.connection, lane.user): lane.erased_seq for name in BOTH for lane in await claim(journal, name)}
    assert lanes == {
        ("loyalty", hash64("ann")): 0,
        ("loyalty", hash64("bob")): 0,
        ("email", hash64("ann")): 3,
        ("email", hash64("bob")): 0,
    }


async def test_an_erasure_does_not_wait_for_what_will_not_be_sent(journal, make_entry):
    await journal.accept([make_entry("m1")], BOTH)
    (lane,) = await claim(journal)
    await journal.settle(settle(lane, release=True, due_ms=999_999, reason="timeout"))
    assert await claim(journal) == []
    await journal.accept([make_entry("m2", erases=True)], BOTH)
    (lane,) = await claim(journal)
    assert [item.message for item in lane.items] == ["m1", "m2"]


async def test_a_repeated_erasure_changes_nothing(journal, make_entry):
    await journal.accept([make_entry("m1", erases=True)], BOTH)
    (lane,) = await claim(journal)
    await journal.settle(finish(lane, *lane.items, release=True))
    await journal.accept([make_entry("m2")], BOTH)
    await journal.accept([make_entry("m1", erases=True)], BOTH)
    (lane,) = await claim(journal)
    assert (lane.items[0].message, lane.erased_seq) == ("m2", 0)


async def test_once_a_user_is_erased_what_arrived_meanwhile_is_not_sent_but_what_comes_later_is(journal, make_entry):
    await journal.accept([make_entry("m1", erases=True)], BOTH)
    (lane,) = await claim(journal)
    await journal.accept([make_entry("m2")], BOTH)
    await journal.settle(finish(lane, *lane.items, erased=True, release=True))
    await journal.accept([make_entry("m3")], BOTH)
    (lane,) = await claim(journal)
    assert [(item.message, item.seq <= lane.erased_seq) for item in lane.items] == [("m2", True), ("m3", False)]


async def test_an_erasure_that_did_not_succeed_keeps_what_arrived_meanwhile(journal, make_entry):
    await journal.accept([make_entry("m1", erases=True)], BOTH)
    (lane,) = await claim(journal)
    await journal.accept([make_entry("m2")], BOTH)
    await journal.settle(finish(lane, *lane.items, release=True))
    (lane,) = await claim(journal)
    assert lane.items[0].seq > lane.erased_seq


async def test_an_erasure_waits_for_the_users_other_lanes_whose_work_is_not_sent(journal, make_entry):
    await journal.accept([make_entry("m1", user="mpid:7", refs=["email:ann@example.com"])], BOTH)
    await journal.accept([make_entry("m2", user="mpid:8", refs=["email:bob@example.com"])], BOTH)
    await journal.accept([make_entry("m3", user="email:ann@example.com", erases=True)], BOTH)
    assert await journal.erase("loyalty", [], [ref("email:ann@example.com")], 3) is False
    lanes = {lane.user: lane for lane in await claim(journal)}
    assert {user: lane.erased_seq for user, lane in lanes.items()} == {
        hash64("mpid:7"): 2,
        hash64("mpid:8"): 0,
        hash64("email:ann@example.com"): 3,
    }
    ann = lanes[hash64("mpid:7")]
    await journal.settle(finish(ann, *ann.items, release=True))
    assert await journal.erase("loyalty", [], [ref("email:ann@example.com")], 3) is True


async def test_an_erasure_does_not_wait_for_what_the_user_did_later(journal, make_entry):
    await journal.accept([make_entry("m1", user="a", erases=True)], BOTH)
    await journal.accept([make_entry("m2", user="b", refs=["email:ann@example.com"])], BOTH)
    assert await journal.erase("loyalty", [], [ref("email:ann@example.com")], 1) is True
    assert {lane.erased_seq for lane in await claim(journal) if lane.user == hash64("b")} == {0}


async def test_lanes_can_be_named_themselves(journal, make_entry):
    await journal.accept([make_entry("m1", user="mpid:7"), make_entry("m2", user="mpid:8")], BOTH)
    await journal.accept([make_entry("m3", user="email:ann@example.com", erases=True)], BOTH)
    assert await journal.erase("loyalty", [hash64("mpid:7"), hash64("mpid:9")], [], 3) is False
    lanes = {lane.user: lane.erased_seq for lane in await claim(journal)}
    assert (lanes[hash64("mpid:7")], lanes[hash64("mpid:8")]) == (2, 0)
    assert await journal.erase("loyalty", [hash64("mpid:9")], [], 3) is True
