"""Replays in the journal: what is picked, what is stored again, how far that has come, and what is withdrawn of it."""

import msgspec
import pytest
from support.journal_words import BOTH, claim, finish, ref, settle

from gateway.dispatch.replay import make_entry
from gateway.journal.replays import MAX_BYTES, Replay, Replayed, ReplayOrigin, Selection
from gateway.journal.types import Count, Memo, Outcome, hash64
from gateway.journal.wait_reasons import RETRY, WaitReason

pytestmark = pytest.mark.anyio

END = (1 << 63) - 1
DEAD = Outcome("e1", "dead", "rejected")
SENT = Outcome("e1", "delivered")
OTHER = Outcome("e2", "delivered")


@pytest.fixture
def accepted(journal, make_entry):
    """Have a batch in the journal with these outcomes on a connection: ``await accepted("m1", DEAD, …)``."""

    async def make(name, *outcomes, connection="loyalty", **fields):
        stored = make_entry(name, facts=len(outcomes), **fields)
        await journal.accept([msgspec.structs.replace(stored, refs=(ref(name, journal.salt),))], [connection])
        await end(journal, *outcomes, connection=connection)

    return make


async def end(journal, *outcomes, connection="loyalty"):
    """Finish whatever waits, with these outcomes."""
    for lane in await claim(journal, connection, now_ms=1_000_000):
        await journal.settle(finish(lane, *lane.items, outcomes=outcomes, release=True))


async def pick(journal, *, limit=100, after_seq=0, surveys=False, **selection):
    chosen = Selection(**selection)
    return await journal.pick(chosen, after_seq=after_seq, upto=END, limit=limit, surveys=surveys)


async def picked(journal, **fields):
    """What is picked, as (message, connection, fact, word)."""
    found, _ = await pick(journal, **fields)
    return [(one.message, one.connection, outcome.fact, outcome.state) for one in found for outcome in one.outcomes]


async def again(journal, *, replay="r1", **selection):
    """Store again what is selected; returns how many batches were new."""
    found, _ = await pick(journal, **selection)
    entries = [make_entry(one, replay, journal.salt, 7_000) for one in found]
    return await journal.accept(entries, sorted({one.connection for one in found}))


async def begun(journal, id="r1"):
    await journal.begin_replay(Replay(id=id, created_ms=5_000, selection=Selection(reason="rejected"), rate=10.0))


async def test_facts_are_picked_by_word_reason_connection_time_and_message(accepted, journal):
    await accepted("m1", DEAD, OTHER, received_ms=1_000)
    await accepted("m2", Outcome("e1", "dead", "gave_up"), connection="email", received_ms=2_000)
    await accepted("m3", Outcome("e1", "skipped", "filtered"), SENT, connection="loyalty/7", received_ms=3_000)
    dead = [("m1", "loyalty", "e1", "dead"), ("m2", "email", "e1", "dead")]
    skipped = ("m3", "loyalty/7", "e1", "skipped")
    assert await picked(journal) == dead
    assert await picked(journal, reason="gave_up") == dead[1:]
    assert await picked(journal, connection="loyalty", words=("dead", "skipped")) == [dead[0]]
    assert await picked(journal, connection="loyalty", words=("skipped", "delivered")) == [
        ("m1", "loyalty", "e2", "delivered"),
        ("m3", "loyalty/7", "e1", "delivered"),
    ]
    await accepted("m4", Outcome("e1", "skipped", "filtered"), connection="loyalty/7", received_ms=4_000)
    assert await picked(journal, connection="loyalty/7", words=("skipped",)) == [("m4", *skipped[1:])]
    assert await picked(journal, connection="loyal", words=("dead", "skipped", "delivered")) == []
    assert await picked(journal, since_ms=1_001) == dead[1:]
    assert await picked(journal, until_ms=2_000) == dead[:1]
    assert await picked(journal, message="m2") == dead[1:]
    assert await picked(journal, message="m9") == []


async def test_what_waits_is_not_picked(accepted, journal, make_entry):
    await accepted("m1", DEAD)
    await journal.accept([make_entry("m2")], BOTH)
    assert await picked(journal) == [("m1", "loyalty", "e1", "dead")]


async def test_picking_goes_on_where_it_stopped(accepted, journal):
    for number in range(5):
        await accepted(f"m{number}", DEAD if number % 2 else OTHER)
    seen, at = [], 0
    while at is not None:
        found, at = await pick(journal, limit=2, after_seq=at)
        assert len(found) <= 2
        seen += [one.message for one in found]
    assert seen == ["m1", "m3"]


async def test_no_more_is_picked_at_once_than_fits(accepted, journal, make_entry):
    large = b"x" * (MAX_BYTES // 2 + 1)
    for number in range(5):
        stored = make_entry(f"m{number}", user=f"user{number}")
        await journal.accept([msgspec.structs.replace(stored, body=large)], ["loyalty"])
    await end(journal, DEAD)
    seen, at = [], 0
    while at is not None:
        found, at = await pick(journal, after_seq=at)
        seen.append([one.message for one in found])
    assert seen == [["m0", "m1"], ["m2", "m3"], ["m4"]]


async def test_what_is_stored_again_is_claimed_behind_what_waits_for_its_facts_alone(accepted, journal, make_entry):
    await accepted("m1", DEAD, OTHER)
    (before,) = (await pick(journal))[0]
    await journal.accept([make_entry("m2")], ["loyalty"])
    assert await again(journal) == 1
    (lane,) = await claim(journal)
    mark = ReplayOrigin(replay="r1", of=before.seq, accepted_ms=1_000, dialect="firehose", facts=("e1",))
    assert [(one.message, one.dialect, one.body, one.facts, one.again) for one in lane.items] == [
        ("m2", "firehose", b"m2", 1, None),
        ("m1", "firehose", b"m1", 1, mark),
    ]
    assert Count(connection="loyalty", state="received", reason="", facts=4) in await journal.counts()


async def test_one_replay_stores_a_batch_once_and_another_once_more(accepted, journal):
    await accepted("m1", DEAD)
    assert [await again(journal), await again(journal), await again(journal, replay="r2")] == [1, 0, 1]


async def test_a_repeated_message_is_still_recognised(accepted, journal, make_entry):
    await accepted("m1", DEAD)
    await again(journal)
    assert await journal.accept([make_entry("m1")], ["loyalty"]) == 0


async def test_the_latest_word_counts(accepted, journal):
    await accepted("m1", DEAD, OTHER)
    await again(journal)
    ((waiting,), _) = await pick(journal)
    assert (waiting.message, waiting.waiting) == ("m1", True)
    await end(journal, SENT)
    assert await picked(journal) == []
    assert await picked(journal, words=("delivered",)) == [
        ("m1", "loyalty", "e1", "delivered"),
        ("m1", "loyalty", "e2", "delivered"),
    ]
    await again(journal, replay="r2", words=("delivered",))
    await end(journal, Outcome("e1", "dead", "gave_up"), OTHER)
    assert await picked(journal) == [("m1", "loyalty", "e1", "dead")]


async def test_an_aborted_replay_leaves_the_words_as_they_were(accepted, journal):
    await accepted("m1", DEAD)
    await again(journal)
    await end(journal, Outcome("e1", "skipped", "replay_aborted"))
    assert await picked(journal) == [("m1", "loyalty", "e1", "dead")]
    assert await picked(journal, words=("skipped",)) == []


async def test_a_part_that_was_left_out_with_any_reason_is_no_delivery(accepted, journal):
    await accepted("m1", DEAD)
    await accepted("m2", Outcome("e2", "skipped", "filtered", (("a part", "delivered"),)))
    (found,), _ = await pick(journal, surveys=True)
    assert (found.message, found.newer) == ("m1", False)


async def test_a_survey_knows_what_is_remembered_and_what_newer_was_delivered(accepted, journal, make_entry):
    await journal.accept([make_entry("m1")], ["loyalty"])
    (lane,) = await claim(journal)
    memos = (Memo(key="id", value="p-1"),)
    await journal.settle(finish(lane, *lane.items, outcomes=(DEAD,), memos=memos, release=True))
    await accepted("m2", DEAD, OTHER)
    await accepted("m3", DEAD)
    await accepted("m4", SENT, user="bob")
    await accepted("m5", SENT, connection="email")
    found, _ = await pick(journal, surveys=True)
    assert [(one.message, one.newer, one.memory) for one in found] == [
        ("m1", True, {"id": "p-1"}),
        ("m2", False, {"id": "p-1"}),
        ("m3", False, {"id": "p-1"}),
    ]


async def test_a_replay_is_known_with_how_far_it_has_come(accepted, journal):
    await accepted("m1", DEAD, OTHER)
    await begun(journal)
    await again(journal, words=("dead", "delivered"))
    (before,) = await journal.replays()
    upto = before.upto
    assert before == Replay(
        id="r1", created_ms=5_000, selection=Selection(reason="rejected"), rate=10.0, upto=upto, facts=2, waiting=1
    )
    assert upto == (await pick(journal, words=("dead", "delivered")))[0][0].seq
    assert await journal.advance_replay("r1", cursor=upto, done=False)
    assert await journal.advance_replay("r1", cursor=0, done=False)
    await end(journal, DEAD, OTHER)
    assert await journal.replays() == [msgspec.structs.replace(before, cursor=upto, waiting=0)]
    assert await journal.advance_replay("r1", cursor=upto, done=True)
    assert [one.state for one in await journal.replays()] == ["done"]


async def test_an_aborted_replay_goes_no_further_and_what_waits_of_it_is_due(accepted, journal, make_entry):
    await accepted("m1", DEAD)
    await begun(journal)
    await again(journal)
    (lane,) = await claim(journal)
    await journal.settle(settle(lane, release=True, due_ms=999_999, reason=WaitReason(RETRY, "timeout")))
    await journal.accept([make_entry("m2", user="bob")], ["loyalty"])
    (bob,) = await claim(journal)
    await journal.settle(settle(bob, release=True, due_ms=999_999, reason=WaitReason(RETRY, "timeout")))
    mark = lane.items[0].again
    assert await journal.withdrawn(lane.user, mark) == ""
    assert [await journal.abort_replay("r1"), await journal.abort_replay("r9")] == [True, False]
    assert not await journal.advance_replay("r1", cursor=99, done=True)
    assert [(one.state, one.cursor) for one in await journal.replays()] == [("aborted", 0)]
    assert [one.user for one in await claim(journal)] == [hash64("ann")]
    assert await journal.withdrawn(lane.user, mark) == "replay_aborted"


async def test_what_was_removed_since_is_not_sent(accepted, journal, make_entry):
    await accepted("m1", DEAD)
    await again(journal)
    (lane,) = await claim(journal)
    wish = make_entry("m2", user="bob", refs=("m1",), erases=True)
    await journal.accept([wish], ["loyalty"])
    mark = lane.items[0].again
    assert await journal.withdrawn(lane.user, mark) == ""
    await journal.settle(finish(lane, *lane.items, outcomes=(DEAD,), release=True))
    assert await journal.erase("loyalty", ["m1"], everywhere=True, seq=END)
    assert await journal.withdrawn(lane.user, mark) == "erased"
    ((found,), _) = await pick(journal)
    assert (found.message, found.body) == ("m1", b"")


async def test_both_the_first_and_the_one_stored_again_are_found(accepted, journal):
    await accepted("m1", DEAD)
    await begun(journal)
    await again(journal)
    found = await journal.find([ref("m1", journal.salt)])
    assert [(one.message, one.dialect, one.body, one.replayed) for one in found] == [
        ("m1", "firehose", b"m1", None),
        ("m1", "firehose", b"m1", Replayed(replay="r1", at_ms=5_000)),
    ]


async def test_replays_are_forgotten_with_the_last_of_what_they_stored(accepted, journal):
    await accepted("m1", SENT)
    await begun(journal)
    await again(journal, words=("delivered",))
    await end(journal, SENT)
    assert await journal.prune(before_ms=6_000, dead_before_ms=6_000, after_seq=0, limit=10) is None
    assert [one.facts for one in await journal.replays()] == [1]
    assert await picked(journal, words=("delivered",)) == []
    assert await journal.prune(before_ms=8_000, dead_before_ms=5_000, after_seq=0, limit=10) is None
    assert [(one.id, one.facts) for one in await journal.replays()] == [("r1", 0)]
    assert await journal.prune(before_ms=8_000, dead_before_ms=8_000, after_seq=0, limit=10) is None
    assert await journal.replays() == []
