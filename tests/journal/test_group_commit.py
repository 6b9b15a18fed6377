"""Group commit: who writes, what shares a transaction, and that everybody hears of it."""

import asyncio
import random
import threading

import pytest

from gateway.journal.sqlite.group_commit import ASIDE_S, MAX_AT_ONCE, MAX_TURN_S, SLOW_S, Committer
from gateway.journal.types import JournalUnavailable

pytestmark = pytest.mark.anyio

LOOP, ASIDE = "the loop", "a thread"


class Writer:
    """Transactions that are noted: who ran each, with what. ``takes``: how long one is, by the clock."""

    def __init__(self):
        self.now, self.takes, self.ran = 0.0, 0.0, []
        self.gate, self.entered, self.alone = threading.Event(), threading.Event(), threading.Lock()
        self.turn = threading.Lock()
        self.gate.set()

    def clock(self):
        return self.now

    def transact(self, operations):
        by = LOOP if threading.current_thread() is threading.main_thread() else ASIDE
        assert self.alone.acquire(blocking=False)
        self.ran.append((by, list(operations)))
        self.entered.set()
        assert self.gate.wait(10)
        self.now += self.takes
        self.alone.release()
        if "bad" in operations:
            raise ValueError("no good")
        return [f"{operation} done" for operation in operations]

    def by(self):
        return [by for by, _ in self.ran]


@pytest.fixture
def writer():
    return Writer()


@pytest.fixture
async def committer(writer):
    made = Committer(writer.transact, writer.turn, writer.clock)
    yield made
    await made.close()


async def test_a_thread_writes_unless_told_otherwise(writer, committer):
    assert await committer.submit("one") == "one done"
    committer.write_here()
    assert await committer.submit("two") == "two done"
    assert writer.ran == [(ASIDE, ["one"]), (LOOP, ["two"])]


async def test_what_is_submitted_meanwhile_shares_the_next_transaction(writer, committer):
    writer.gate.clear()
    first = committer.submit(0)
    await asyncio.to_thread(writer.entered.wait, 10)
    others = [committer.submit(number) for number in range(1, 6)]
    writer.gate.set()
    assert await asyncio.gather(first, *others) == [f"{number} done" for number in range(6)]
    assert writer.ran == [(ASIDE, [0]), (ASIDE, [1, 2, 3, 4, 5])]


async def test_the_loop_writes_all_that_is_submitted_in_a_round_together(writer, committer):
    committer.write_here()

    async def submits(number):
        return await committer.submit(number)

    assert await asyncio.gather(*(submits(number) for number in range(5))) == [f"{number} done" for number in range(5)]
    assert writer.ran == [(LOOP, [0, 1, 2, 3, 4])]


async def test_a_slow_transaction_is_one_for_the_thread_for_a_while(writer, committer):
    committer.write_here()
    writer.takes = SLOW_S * 1.01
    await committer.submit("slow")
    writer.takes = 0.0
    await committer.submit("aside")
    writer.now += ASIDE_S
    await committer.submit("here")
    assert writer.by() == [LOOP, ASIDE, LOOP]


async def test_the_loop_takes_over_from_a_thread_that_is_never_done(writer, committer):
    writer.gate.clear()
    first = committer.submit("first")
    await asyncio.to_thread(writer.entered.wait, 10)
    committer.write_here()
    second = committer.submit("second")
    writer.gate.set()
    assert await asyncio.gather(first, second) == ["first done", "second done"]
    assert writer.by() == [ASIDE, LOOP]


@pytest.mark.parametrize("here", [False, True])
async def test_no_transaction_is_without_bound_and_none_is_forgotten(writer, committer, here):
    if here:
        committer.write_here()
    many = [committer.submit(number) for number in range(2 * MAX_AT_ONCE + 1)]
    assert await asyncio.gather(*many) == [f"{number} done" for number in range(2 * MAX_AT_ONCE + 1)]
    assert max(len(operations) for _, operations in writer.ran) <= MAX_AT_ONCE


@pytest.mark.parametrize("here", [False, True])
async def test_one_operation_that_cannot_be_carried_out_fails_alone(writer, committer, here):
    if here:
        committer.write_here()
    ends = await asyncio.gather(committer.submit("bad"), committer.submit("good"), return_exceptions=True)
    assert [str(end) for end in ends] == ["no good", "good done"]
    assert await committer.submit("next") == "next done"


@pytest.mark.parametrize("here", [False, True])
async def test_closing_writes_what_waits_and_takes_nothing_more(writer, here):
    committer = Committer(writer.transact, writer.turn, writer.clock)
    if here:
        committer.write_here()
    waiting = [committer.submit(number) for number in range(3)]
    await committer.close()
    assert await asyncio.gather(*waiting) == ["0 done", "1 done", "2 done"]
    with pytest.raises(JournalUnavailable, match="closed"):
        committer.submit("late")


@pytest.mark.parametrize("here", [False, True])
async def test_who_does_not_wait_any_more_keeps_nobody_from_their_answers(writer, committer, here):
    if here:
        committer.write_here()
    gone, stays = committer.submit("gone"), committer.submit("stays")
    gone.cancel()
    assert await stays == "stays done"


@pytest.mark.parametrize("seed", range(5))
async def test_whoever_writes_all_is_written_once_in_order_and_by_one_at_a_time(writer, committer, seed):
    chance = random.Random(seed)
    committer.write_here()
    asked, told = list(range(3000)), []
    for number in asked:
        told.append(committer.submit(number))
        if chance.random() < 0.2:
            writer.takes = chance.choice([0.0, 0.0, ASIDE_S / 10, SLOW_S * 2])
            await (told[-1] if chance.random() < 0.3 else asyncio.sleep(chance.choice([0, 0.0005])))
    assert await asyncio.gather(*told) == [f"{number} done" for number in asked]
    assert [operation for _, operations in writer.ran for operation in operations] == asked
    assert set(writer.by()) == {LOOP, ASIDE}


async def test_operations_that_wait_too_long_for_the_lock_are_refused_and_never_carried_out(writer, committer):
    with writer.turn:  # another process holds it
        first = committer.submit("first")
        await asyncio.sleep(0.05)
        second = committer.submit("second")
        writer.now = MAX_TURN_S + 0.1
        refused = await asyncio.gather(first, second, return_exceptions=True)
        later = await asyncio.gather(committer.submit("later"), return_exceptions=True)
    assert [type(one) for one in refused + later] == [JournalUnavailable] * 3
    assert str(refused[0]) == "another process has held the lock of the writers for more than 2 s"
    assert await committer.submit("last") == "last done"
    assert writer.ran == [(ASIDE, ["last"])]


async def test_operations_that_get_the_lock_in_time_are_carried_out(writer, committer):
    with writer.turn:
        waiting = committer.submit("one")
        await asyncio.sleep(0.05)
        writer.now = MAX_TURN_S
    assert await waiting == "one done"


async def test_a_lock_that_fails_refuses_its_own_operations_alone(writer):
    class FailingLock:
        fails = True

        def __enter__(self):
            if self.fails:
                raise JournalUnavailable("the file cannot be locked")

        def __exit__(self, *_):
            pass

    turn = FailingLock()
    committer = Committer(writer.transact, turn, writer.clock)
    with pytest.raises(JournalUnavailable, match="cannot be locked"):
        await committer.submit("one")
    turn.fails = False
    assert await committer.submit("two") == "two done"
    assert writer.ran == [(ASIDE, ["two"])]
    await committer.close()
