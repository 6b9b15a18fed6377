"""What every engine must keep of the journal's port."""

import asyncio
import time

import msgspec
import pytest
from support.journal_words import BOTH, DELIVERED, claim, find, finish, ref, seq_of, settle
from support.journals import open_journal, prepare

from gateway.journal.backlog import Waiting
from gateway.journal.types import Count, JournalRejected, Memo, Outcome, hash64
from gateway.journal.wait_reasons import NO_REASON, REFUSED, RETRY, SHARED, WaitReason

pytestmark = pytest.mark.anyio
TIMEOUT = WaitReason(RETRY, "timeout")


async def test_a_batch_waits_on_every_connection(journal, make_entry):
    assert await journal.accept([make_entry("m1")], BOTH) == 1
    claimed = [lane for name in BOTH for lane in await claim(journal, name)]
    assert [(lane.connection, [item.message for item in lane.items]) for lane in claimed] == [
        ("loyalty", ["m1"]),
        ("email", ["m1"]),
    ]


async def test_a_repeated_message_is_stored_once(journal, make_entry):
    assert await journal.accept([make_entry("m1"), make_entry("m1"), make_entry("m2")], BOTH) == 2
    assert await journal.accept([make_entry("m1")], BOTH) == 0
    (lane,) = await claim(journal)
    assert [item.message for item in lane.items] == ["m1", "m2"]


async def test_a_scoped_batch_waits_on_its_connection_alone(journal, make_entry):
    await journal.accept([make_entry("m1", scope="email")], BOTH)
    assert await claim(journal, "loyalty") == []
    assert len(await claim(journal, "email")) == 1


async def test_a_lane_is_one_users_work_in_order_of_acceptance(journal, make_entry):
    users = {"m1": "ann", "m2": "bob", "m3": "ann", "m4": "ann"}
    for name, user in users.items():
        await journal.accept([make_entry(name, user=user)], BOTH)
    lanes = {lane.user: [item.message for item in lane.items] for lane in await claim(journal, items=2)}
    assert lanes == {hash64("ann"): ["m1", "m3"], hash64("bob"): ["m2"]}


async def test_a_claimed_lane_cannot_be_claimed_again_even_when_work_arrives(journal, make_entry):
    await journal.accept([make_entry("m1")], BOTH)
    assert len(await claim(journal)) == 1
    await journal.accept([make_entry("m2")], BOTH)
    assert await claim(journal) == []


async def test_lanes_are_claimed_longest_due_first(journal, make_entry):
    for name, received_ms in (("late", 3_000), ("early", 1_000), ("middle", 2_000)):
        await journal.accept([make_entry(name, user=name, received_ms=received_ms)], BOTH)
    claimed = [await claim(journal, lanes=1) for _ in range(3)]
    assert [lanes[0].items[0].message for lanes in claimed] == ["early", "middle", "late"]


async def test_a_lane_that_is_not_due_is_not_claimed(journal, make_entry):
    await journal.accept([make_entry("m1")], BOTH)
    (lane,) = await claim(journal)
    await journal.settle(settle(lane, release=True, due_ms=20_000, attempts=3, failing_since_ms=9, reason=TIMEOUT))
    assert await claim(journal, now_ms=19_999) == []
    (lane,) = await claim(journal, now_ms=20_000)
    assert (lane.attempts, lane.failing_since_ms) == (3, 9)


async def test_finished_work_is_gone_and_the_rest_of_the_lane_stays(journal, make_entry):
    for name in ("m1", "m2"):
        await journal.accept([make_entry(name)], BOTH)
    (lane,) = await claim(journal, items=1)
    assert await journal.settle(finish(lane, *lane.items, release=True, due_ms=0))
    (lane,) = await claim(journal)
    assert [item.message for item in lane.items] == ["m2"]
    assert await journal.settle(finish(lane, *lane.items, release=True, due_ms=0))
    assert await claim(journal) == []


async def test_work_that_arrives_while_a_lane_is_worked_on_is_claimed_next(journal, make_entry):
    await journal.accept([make_entry("m1")], BOTH)
    (lane,) = await claim(journal)
    await journal.accept([make_entry("m2")], BOTH)
    await journal.settle(finish(lane, *lane.items, release=True, due_ms=0))
    (lane,) = await claim(journal)
    assert [item.message for item in lane.items] == ["m2"]


async def test_progress_comes_back_with_the_item(journal, make_entry):
    await journal.accept([make_entry("m1")], BOTH)
    (lane,) = await claim(journal)
    progress = {"c1": {"word": "delivered"}, "c2": {"next": [{"path": "users"}]}}
    await journal.settle(settle(lane, progress={lane.items[0].seq: progress}))
    await journal.settle(settle(lane, release=True, due_ms=0))
    (lane,) = await claim(journal)
    assert lane.items[0].progress == progress


async def test_what_is_settled_under_an_old_claim_changes_nothing(journal, make_entry):
    await journal.accept([make_entry("m1")], BOTH)
    (old,) = await claim(journal)
    await journal.settle(settle(old, release=True, due_ms=0))
    (new,) = await claim(journal)
    assert await journal.settle(finish(old, *old.items, release=True, due_ms=0)) is False
    assert await journal.settle(finish(new, *new.items, release=True, due_ms=0)) is True


async def test_a_claim_is_stale_even_after_its_lane_was_emptied_and_filled_again(journal, make_entry):
    await journal.accept([make_entry("m1")], BOTH)
    (old,) = await claim(journal)
    await journal.settle(finish(old, *old.items, release=True, due_ms=0))
    await journal.accept([make_entry("m2")], BOTH)
    await claim(journal)
    assert await journal.settle(settle(old, release=True, due_ms=0)) is False


async def test_memory_is_of_the_user_or_shared_and_can_be_forgotten(journal, make_entry):
    await journal.accept([make_entry("m1"), make_entry("m2")], BOTH)
    (lane,) = await claim(journal)
    memos = (Memo(key="seen", value={"a": [1]}), Memo(key="list", value="Gold", shared=True))
    await journal.settle(settle(lane, memos=memos, release=True, due_ms=0))
    (lane,) = await claim(journal)
    assert (lane.memory, await journal.shared_memory("loyalty")) == ({"seen": {"a": [1]}}, {"list": "Gold"})
    assert await journal.shared_memory("email") == {}
    (await journal.shared_memory("loyalty"))["list"] = "what a plugin does with it is its own"
    assert await journal.shared_memory("loyalty") == {"list": "Gold"}
    await journal.settle(settle(lane, memos=(Memo(key="seen", value=None),), release=True, due_ms=0))
    (lane,) = await claim(journal)
    assert lane.memory == {}
    for value, left in (("Silver", {"list": "Silver"}), (None, {})):
        await journal.settle(settle(lane, memos=(Memo(key="list", value=value, shared=True),)))
        assert await journal.shared_memory("loyalty") == left


async def test_a_lane_knows_whether_something_older_is_left_in_it(journal, make_entry):
    await journal.accept([make_entry("m1", user="audience:1", refs=("m1",))], BOTH)
    seq = await seq_of(journal, "m1")
    assert await journal.lane_is_empty("loyalty", hash64("audience:1"), seq)
    assert not await journal.lane_is_empty("loyalty", hash64("audience:1"), seq + 1)
    assert await journal.lane_is_empty("loyalty", hash64("audience:2"), seq + 1)


async def test_received_equals_words_and_what_is_in_flight(journal, make_entry):
    await journal.accept([make_entry("m1", facts=3), make_entry("m2", facts=2)], ("loyalty",))
    (lane,) = await claim(journal, items=1)
    outcomes = (
        Outcome("a", "delivered"),
        Outcome("b", "skipped", "filtered"),
        Outcome("c", "dead", "rejected", (), "POST was answered 400"),
    )
    await journal.settle(finish(lane, *lane.items, outcomes=outcomes, release=True, due_ms=0))
    assert await journal.counts() == [
        Count(connection="loyalty", state="dead", reason="rejected", facts=1),
        Count(connection="loyalty", state="delivered", reason="", facts=1),
        Count(connection="loyalty", state="received", reason="", facts=5),
        Count(connection="loyalty", state="skipped", reason="filtered", facts=1),
    ]


async def test_facts_that_a_rewrite_added_count_as_received(journal, make_entry):
    await journal.accept([make_entry("m1", facts=1)], ("loyalty",))
    (lane,) = await claim(journal)
    outcomes = (Outcome("a", "delivered"), Outcome("b", "delivered"))
    await journal.settle(finish(lane, *lane.items, outcomes=outcomes, release=True, due_ms=0))
    counted = {(count.state, count.facts) for count in await journal.counts()}
    assert counted == {("received", 2), ("delivered", 2)}


async def test_an_outcome_may_stand_for_several_facts(journal, make_entry):
    await journal.accept([make_entry("m1", facts=7)], ("loyalty",))
    (lane,) = await claim(journal)
    outcomes = (Outcome("a", "delivered"), Outcome("m:more", "dead", "malformed", facts=6))
    await journal.settle(finish(lane, *lane.items, outcomes=outcomes, release=True, due_ms=0))
    counted = {(count.state, count.facts) for count in await journal.counts()}
    assert counted == {("received", 7), ("delivered", 1), ("dead", 6)}


async def test_a_batch_is_found_by_each_of_its_ids(journal, make_entry):
    await journal.accept([make_entry(f"m{n}", refs=(f"m{n}", f"e{n}", "mpid:1")) for n in range(5)], ("loyalty",))
    await journal.accept([make_entry("m9", refs=("mpid:1",))], ("loyalty",))
    assert [found.message for found in await find(journal, "e3")] == ["m3"]
    assert [found.message for found in await find(journal, "mpid:1")] == ["m0", "m1", "m2", "m3", "m4", "m9"]
    assert await find(journal, "e9") == []


async def test_a_batch_found_tells_how_it_stands_on_each_connection(journal, make_entry):
    await journal.accept([make_entry("m1", refs=("m1",))], BOTH)
    (lane,) = await claim(journal, "loyalty")
    await journal.settle(finish(lane, *lane.items, release=True, due_ms=0))
    (lane,) = await claim(journal, "email")
    await journal.settle(settle(lane, release=True, due_ms=77_000, attempts=2, reason=WaitReason(RETRY, "status_503")))
    (found,) = await find(journal, "m1")
    finished, waiting = found.sightings
    assert (finished.connection, finished.outcomes, found.body) == ("loyalty", DELIVERED, b"m1")
    assert (waiting.connection, waiting.due_ms, waiting.attempts, waiting.reason) == (
        "email",
        77_000,
        2,
        WaitReason(RETRY, "status_503"),
    )


async def test_what_is_old_and_finished_is_forgotten_and_nothing_else(journal, make_entry):
    names = {"old": 1_000, "waiting": 1_000, "dead": 1_000, "young": 5_000}
    for name, received_ms in names.items():
        await journal.accept([make_entry(name, user=name, received_ms=received_ms, refs=(name,))], ("loyalty",))
    for lane in await claim(journal):
        (item,) = lane.items
        word = Outcome("a", "dead" if item.message == "dead" else "delivered")
        if item.message != "waiting":
            await journal.settle(finish(lane, item, outcomes=(word,), release=True, due_ms=0))
    await journal.prune(before_ms=2_000, dead_before_ms=500, after_seq=0, limit=10)
    assert [name for name in names if await find(journal, name)] == ["waiting", "dead", "young"]
    await journal.prune(before_ms=2_000, dead_before_ms=2_000, after_seq=0, limit=10)
    assert [name for name in names if await find(journal, name)] == ["waiting", "young"]
    assert await journal.accept([make_entry("old")], ("loyalty",)) == 1


async def test_forgetting_goes_on_step_by_step_and_ends_at_what_is_younger(journal, make_entry):
    for number in range(5):
        received_ms = 1_000 if number < 4 else 5_000
        await journal.accept(
            [make_entry(f"m{number}", user=f"u{number}", received_ms=received_ms, refs=(f"m{number}",))], ("loyalty",)
        )
    for lane in await claim(journal):
        await journal.settle(finish(lane, *lane.items, release=True, due_ms=0))
    places = [await seq_of(journal, f"m{number}") for number in range(5)]
    reached, steps = 0, []
    while reached is not None:
        reached = await journal.prune(before_ms=2_000, dead_before_ms=2_000, after_seq=reached, limit=2)
        steps.append(reached)
    assert steps == [places[1], places[3], None]
    assert [bool(await find(journal, f"m{number}")) for number in range(5)] == [False] * 4 + [True]


async def test_waiting_ends_when_work_arrives(journal, make_entry):
    await journal.accept([make_entry("m1", received_ms=0)], ("loyalty",))
    await journal.wait(["email", "loyalty"], now_ms=1, timeout_s=60)
    await journal.wait(["email"], now_ms=1, timeout_s=0.02)


async def test_what_cannot_be_recorded_spoils_nothing_that_comes_after(journal, make_entry):
    await journal.accept([make_entry("m")], ("loyalty",))
    (lane,) = await claim(journal)
    odd = Memo(key="k", value={("a", "b"): object()})
    settling = journal.settle(settle(lane, memos=(odd,)))
    beside = journal.accept([make_entry("m2")], ("loyalty",))
    with pytest.raises(TypeError):
        await settling
    assert await beside == 1
    assert await journal.settle(settle(lane, memos=(Memo(key="k", value=1),), release=True)) is True


async def test_a_new_dispatcher_tries_what_was_refused_at_once_and_keeps_other_waits(settings, make_entry):
    await prepare(settings)
    first, second = await open_journal(settings), await open_journal(settings)
    assert await first.take_over()
    for name, reason in (("m1", WaitReason(REFUSED, "status_401")), ("m2", WaitReason(RETRY, "refused: busy"))):
        await first.accept([make_entry(name, user=name)], BOTH)
        (lane,) = await claim(first)
        await first.settle(settle(lane, release=True, due_ms=99_000, reason=reason))
    await first.close()
    assert await second.take_over()
    assert [item.message for lane in await claim(second) for item in lane.items] == ["m1"]
    await second.close()


async def test_what_another_process_accepts_ends_a_wait(journal, settings, make_entry):
    other = await open_journal(settings)
    waiting = asyncio.create_task(journal.wait(["loyalty"], now_ms=2_000, timeout_s=60))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await other.accept([make_entry("m1")], BOTH)
    await asyncio.wait_for(waiting, 5)
    await other.close()


async def test_two_processes_may_accept_at_once_and_a_message_that_both_get_is_stored_once(
    journal, settings, make_entry
):
    other = await open_journal(settings)
    posts = [make_entry(f"m{number}", user=str(number % 20)) for number in range(200)]
    posting = [one.accept([post], BOTH) for post in posts for one in (journal, other)]
    assert sum(await asyncio.gather(*posting)) == 200
    lanes = await claim(journal, lanes=100, items=100)
    assert sorted(item.message for lane in lanes for item in lane.items) == sorted(post.message for post in posts)
    await other.close()


async def test_ids_of_any_letters_are_kept(journal, make_entry):
    await journal.accept([make_entry("m\0ö\U0001f600", refs=("r",))], BOTH)
    (lane,) = await claim(journal)
    outcomes = (Outcome("a\0", "skipped", "b\0"),)
    shared = {"s\0\x1a": 1, "\x1as": 2}
    memos = (
        Memo(key="k\0ö", value={"v\0": 1}),
        *(Memo(key=key, value=value, shared=True) for key, value in shared.items()),
    )
    await journal.settle(settle(lane, memos=memos, progress={lane.items[0].seq: {"c\0": "d\0"}}))
    await journal.settle(settle(lane, release=True))
    (lane,) = await claim(journal)
    assert (lane.memory, lane.items[0].progress) == ({"k\0ö": {"v\0": 1}}, {"c\0": "d\0"})
    assert await journal.shared_memory("loyalty") == shared
    await journal.settle(finish(lane, *lane.items, outcomes=outcomes, release=True))
    (found,) = await find(journal, "r")
    assert found.sightings[0].outcomes == outcomes or found.sightings[1].outcomes == outcomes


async def test_lanes_that_wait_for_a_reason_can_be_roused(journal, make_entry):
    for user in ("ann", "bob", "cleo"):
        await journal.accept([make_entry(user, user=user)], BOTH)
    ann, bob, _ = await claim(journal)
    await journal.settle(settle(ann, release=True, due_ms=90_000, reason=WaitReason(SHARED, "1")))
    await journal.settle(settle(bob, release=True, due_ms=90_000, reason=WaitReason(SHARED, "2")))
    await journal.wake("loyalty", WaitReason(SHARED, "1"), now_ms=20_000)
    await journal.wake("email", WaitReason(SHARED, "2"), now_ms=20_000)
    assert [lane.user for lane in await claim(journal, now_ms=20_000)] == [ann.user]
    assert await claim(journal, now_ms=80_000) == []


async def test_lanes_that_were_put_off_for_too_long_are_recalled_a_few_at_a_time(journal, make_entry):
    for user in ("ann", "bob", "cleo", "dan"):
        await journal.accept([make_entry(user, user=user)], BOTH)
    due_ms = {"ann": 30_000, "bob": 30_001, "cleo": 2**45, "dan": 0}
    lanes = {lane.items[0].message: lane for name in BOTH for lane in await claim(journal, name)}
    for user in ("ann", "bob", "cleo"):
        await journal.settle(settle(lanes[user], release=True, due_ms=due_ms[user], attempts=2, reason=TIMEOUT))
    assert await journal.reschedule_after_clock_jump(after_ms=30_000, now_ms=20_000, limit=1) == 1
    assert await journal.reschedule_after_clock_jump(after_ms=30_000, now_ms=20_000, limit=10) == 1
    assert await journal.reschedule_after_clock_jump(after_ms=30_000, now_ms=20_000, limit=10) == 0
    recalled = await claim(journal, "email", now_ms=20_000)
    assert {lane.items[0].message: lane.attempts for lane in recalled} == {"bob": 2, "cleo": 2}
    assert await claim(journal, "email", now_ms=29_999) == []
    assert len(await claim(journal, "email", now_ms=30_000)) == 1


@pytest.mark.parametrize("engine", ["memory", "sqlite"], indirect=True)
async def test_what_is_in_hand_is_not_claimed_again_however_late_it_is(journal, make_entry):
    await journal.accept([make_entry("m1")], BOTH)
    (lane,) = await claim(journal)
    assert await claim(journal, now_ms=2**50) == []
    assert await journal.due("loyalty", 2**50) == []
    before = time.monotonic()
    await journal.wait(["loyalty"], now_ms=2**50, timeout_s=0.05)
    assert time.monotonic() - before >= 0.05
    assert await journal.settle(finish(lane, *lane.items, release=True))


async def test_processes_that_died_of_a_piece_of_work_are_counted_there_and_nowhere_else(journal, make_entry):
    await journal.accept([make_entry("m1"), make_entry("m2")], BOTH)
    (lane,) = await claim(journal)
    for doing in ("plan", "sign"):
        await journal.crashed("loyalty", lane.user, lane.items[0].seq, doing)
    await journal.settle(settle(lane, release=True, due_ms=0))
    ((loyalty,), (email,)) = [await claim(journal, name) for name in BOTH]
    assert [(item.crashes, item.crashed_in) for item in loyalty.items] == [(2, "sign"), (0, "")]
    assert [(item.crashes, item.crashed_in) for item in email.items] == [(0, ""), (0, "")]


async def test_what_an_id_was_found_in_is_dealt_with_once_none_of_it_waits(journal, make_entry):
    for name in ("m1", "m2"):
        await journal.accept([make_entry(name, user=name, refs=("audience:1",))], BOTH)
    assert await journal.is_dealt_with("loyalty", ref("audience:2"), 100)
    lanes = sorted(await claim(journal), key=lambda lane: lane.items[0].seq)
    first, second = (lane.items[0].seq for lane in lanes)
    assert not await journal.is_dealt_with("loyalty", ref("audience:1"), second)
    await journal.settle(finish(lanes[0], *lanes[0].items, release=True))
    assert await journal.is_dealt_with("loyalty", ref("audience:1"), second)
    assert not await journal.is_dealt_with("loyalty", ref("audience:1"), second + 1)
    assert not await journal.is_dealt_with("email", ref("audience:1"), first + 1)


async def test_what_waits_is_told_by_connection_and_by_what_it_waits_for(journal, make_entry):
    assert await journal.backlog() == []
    for n, user in enumerate(("ann", "bob", "cleo", "dan")):
        await journal.accept([make_entry(user, user=user, received_ms=1_000 + n)], BOTH)
    await journal.accept([make_entry("more", user="ann", received_ms=2_000)], ("email",))
    ann, bob, _ = await claim(journal, lanes=3)
    for lane, attempts, since_ms in ((ann, 3, 900), (bob, 5, 800)):
        failed = {"attempts": attempts, "failing_since_ms": since_ms, "reason": TIMEOUT}
        await journal.settle(settle(lane, release=True, due_ms=20_000 + attempts, **failed))
    email, loyalty = await journal.backlog()
    assert (email.connection, email.batches, email.oldest_ms) == ("email", 5, 1_000)
    assert [(one.reason, one.claimed, one.lanes) for one in email.waiting] == [(NO_REASON, False, 4)]
    assert (loyalty.connection, loyalty.batches, loyalty.oldest_ms) == ("loyalty", 4, 1_000)
    timeout, fresh, claimed = loyalty.waiting
    assert timeout == Waiting(reason=TIMEOUT, claimed=False, lanes=2, due_ms=20_005, attempts=5, failing_since_ms=800)
    assert (fresh.reason, fresh.claimed, fresh.lanes, fresh.due_ms) == (NO_REASON, False, 1, 1_003)
    assert (claimed.reason, claimed.claimed, claimed.lanes) == (NO_REASON, True, 1)


async def test_a_known_id_with_another_document_is_a_conflict_and_with_the_same_one_a_repeat(journal, make_entry):
    first = make_entry("m")
    other = msgspec.structs.replace(first, body=b"other")
    elsewhere = make_entry("m2")
    assert await journal.accept([first], ("loyalty",)) == 1
    assert await journal.accept([first, other, elsewhere], ("loyalty",)) == 1
    assert await journal.conflicting([first, other, elsewhere]) == [other]


async def test_a_value_that_cannot_be_stored_fails_its_own_operation_alone(journal, make_entry):
    poison = msgspec.structs.replace(make_entry("poison"), received_ms=10**30)
    good = [make_entry(f"m-{number}") for number in range(3)]
    futures = [journal.accept([entry], ("loyalty",)) for entry in (good[0], poison, good[1])]
    results = await asyncio.gather(*futures, journal.accept([good[2]], ("loyalty",)), return_exceptions=True)
    assert [type(one) if isinstance(one, Exception) else one for one in results] == [1, JournalRejected, 1, 1]
    assert "1000" not in str(results[1])
    assert len(await claim(journal)) == 1
    assert await journal.accept([*good], ("loyalty",)) == 0


async def test_a_settlement_that_cannot_be_stored_fails_alone(journal, make_entry):
    await journal.accept([make_entry("a", user="ann"), make_entry("b", user="bob")], ("loyalty",))
    one, other = await claim(journal)
    poisoned = journal.settle(settle(one, reason=WaitReason(RETRY, "\ud800"), release=True))
    beside = journal.settle(settle(other, memos=(Memo(key="k", value=1),), release=True))
    results = await asyncio.gather(poisoned, beside, return_exceptions=True)
    assert [type(result) for result in results] == [JournalRejected, bool]
