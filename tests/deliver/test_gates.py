"""Gates, on a clock that moves when told to."""

import asyncio

import pytest

from gateway.deliver.gates import FAILURES_TO_CLOSE, GateClosure, Gates
from gateway.deliver.shared_limits import share
from gateway.journal.shared_limits import ClosedGate, SharedLimits
from gateway.journal.types import JournalUnavailable
from gateway.journal.wait_reasons import NO_REASON, REFUSED, RETRY, WaitReason
from gateway.sdk import Rate, retry

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self):
        self.now = 1_000.0

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


def gates(clock, **rates):
    return Gates(rates={"": rates.pop("default", Rate()), **rates}, headers=None, clock=clock, sleep=clock.sleep)


async def test_a_scope_without_a_rate_lets_everything_through_at_once(clock):
    doors = gates(clock)
    assert [await doors.enter("any") for _ in range(100)] == [None] * 100
    assert clock.now == 1_000.0


async def test_a_rate_spaces_calls_out_after_its_burst(clock):
    doors = gates(clock, default=Rate(per_second=5, burst=3))
    times = []
    for _ in range(6):
        await doors.enter("")
        times.append(round(clock.now - 1_000, 6))
    assert times == [0, 0, 0, 0.2, 0.4, 0.6]


async def test_rest_earns_the_burst_back_and_no_more(clock):
    doors = gates(clock, default=Rate(per_second=5, burst=2))
    for _ in range(4):
        await doors.enter("")
    clock.now += 60
    before = clock.now
    for _ in range(3):
        await doors.enter("")
    assert round(clock.now - before, 6) == 0.2


async def test_scopes_do_not_share_a_rate(clock):
    doors = gates(clock, slow=Rate(per_second=1), fast=Rate(per_second=1))
    await doors.enter("slow")
    await doors.enter("fast")
    assert clock.now == 1_000.0


async def test_a_scope_that_was_told_too_many_stays_closed_as_long_as_asked(clock):
    doors = gates(clock)
    doors.scope("a").note_complaint(clock.now, retry("status_429", after_s=30))
    assert await doors.enter("a") == GateClosure(until=1_030.0, reason=WaitReason(RETRY, "status_429"))
    assert await doors.enter("b") is None
    clock.now += 30
    assert await doors.enter("a") is None


async def test_a_complaint_that_names_no_time_closes_for_longer_each_time(clock):
    scope = gates(clock).scope("a")
    waits = [scope.note_complaint(clock.now, retry("status_429")) for _ in range(4)]
    assert [0.5 * 2**n <= wait <= 2**n for n, wait in enumerate(waits)] == [True] * 4
    scope.note_success()
    assert scope.note_complaint(clock.now, retry("status_429")) <= 1


async def test_calls_that_were_under_way_together_close_a_connection_once(clock):
    gate = gates(clock).connection
    for _ in range(100):
        gate.note_failure(clock.now)
    assert gate.until - clock.now <= 1
    clock.now = gate.until
    for _ in range(100):
        gate.note_failure(clock.now)
    assert 1 <= gate.until - clock.now <= 2


async def test_a_connection_closes_after_failing_a_few_times_in_a_row(clock):
    doors = gates(clock)
    for _ in range(FAILURES_TO_CLOSE - 1):
        doors.connection.note_failure(clock.now)
    assert await doors.enter("") is None
    doors.connection.note_failure(clock.now)
    closed = await doors.enter("")
    assert (closed.reason, 0.5 <= closed.until - clock.now <= 1) == (WaitReason("unreachable"), True)


async def test_a_connection_that_rested_is_on_trial_until_a_call_works(clock):
    doors = gates(clock)
    doors.connection.close_for_trial(clock.now + 30, WaitReason(REFUSED, "status_401"))
    assert (await doors.enter("")).reason == WaitReason(REFUSED, "status_401")
    clock.now += 30
    assert (await doors.enter(""), doors.connection.on_trial) == (None, True)
    doors.connection.note_success(clock.now)
    assert doors.connection.on_trial is False


async def test_what_was_under_way_when_a_connection_closed_does_not_stand_the_trial_for_it(clock):
    doors = gates(clock)
    doors.connection.close_for_trial(clock.now + 30, WaitReason(REFUSED, "status_401"))
    doors.connection.note_success(clock.now + 1)
    assert (doors.connection.on_trial, doors.connection.taken) == (True, 0)


async def test_a_gate_that_closes_while_a_call_waits_for_its_turn_turns_it_back(clock):
    doors = gates(clock, default=Rate(per_second=1, burst=1, in_flight=1))
    await doors.enter("")
    doors.leave("")
    doors.connection.close(1_000.5, WaitReason("unreachable"))
    doors.connection.until = 0.0
    doors.scope("").until = 1_005.0
    assert (await doors.enter("")).until == 1_005.0
    clock.now = 1_010.0
    assert await doors.enter("") is None


async def test_lanes_have_their_turns_in_the_order_in_which_they_came(clock):
    doors, order = gates(clock, default=Rate(per_second=1)), []

    async def lane(number):
        await doors.enter("")
        order.append((number, clock.now))

    await asyncio.gather(*(lane(number) for number in range(5)))
    assert order == [(number, 1_000.0 + number) for number in range(5)]


async def test_who_waits_for_a_turn_looks_around_every_second(clock):
    doors = gates(clock, default=Rate(per_second=0.01))
    await doors.enter("")
    opened = clock.now

    async def sleep(seconds):
        clock.now += seconds
        if clock.now == opened + 3:
            doors.connection.close_for_trial(clock.now + 30, WaitReason(REFUSED, "status_401"))

    doors.sleep = sleep
    assert await doors.enter("") == GateClosure(until=opened + 33, reason=WaitReason(REFUSED, "status_401"))
    assert clock.now == opened + 3


async def test_nobody_waits_for_a_turn_once_the_gateway_is_stopping(clock):
    doors = gates(clock, default=Rate(per_second=0.01))
    await doors.enter("")
    assert await doors.enter("", lambda: clock.now > 1_004) == GateClosure(until=1_005.0, reason=NO_REASON)


async def test_a_lane_that_is_cancelled_while_it_waits_for_its_turn_leaves_nothing_taken(clock):
    doors = gates(clock, default=Rate(per_second=1, burst=1, in_flight=1))
    await doors.enter("")
    doors.leave("")
    doors.sleep = lambda _: asyncio.Event().wait()
    waiting = asyncio.create_task(doors.enter(""))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    clock.now += 1
    doors.sleep = clock.sleep
    assert await asyncio.wait_for(doors.enter(""), 1) is None
    assert clock.now == 1_001.0


async def test_a_rate_is_shared_by_all_dispatchers(clock):
    doors = gates(clock, default=Rate(per_second=6, burst=6))
    doors.dispatchers = 3
    times = []
    for _ in range(5):
        await doors.enter("")
        times.append(round(clock.now - 1_000, 6))
    assert times == [0, 0, 0.5, 1.0, 1.5]


async def test_what_the_destination_closed_is_told_once_and_again_when_it_lasts_longer(clock):
    doors = gates(clock)
    doors.scope("a").note_complaint(clock.now, retry("status_429", after_s=10))
    doors.connection.close_for_trial(clock.now + 5, WaitReason("unreachable"))
    told = doors.unpublished()
    assert told == {
        "a": GateClosure(until=1_010, reason=WaitReason(RETRY, "status_429")),
        None: GateClosure(until=1_005, reason=WaitReason("unreachable")),
    }
    assert doors.unpublished() == told  # nobody has heard yet
    for name, closed in told.items():
        doors.mark_published(name, closed.until)
    assert doors.unpublished() == {}
    doors.scope("a").note_complaint(clock.now, retry("status_429", after_s=20))
    assert doors.unpublished() == {"a": GateClosure(until=1_020, reason=WaitReason(RETRY, "status_429"))}
    clock.now = 1_021
    assert doors.unpublished() == {}


async def test_what_another_dispatcher_told_closes_a_scope_and_is_not_told_on(clock):
    doors = gates(clock)
    doors.apply_remote("a", GateClosure(until=1_010, reason=WaitReason(RETRY, "status_429")))
    assert await doors.enter("a") == GateClosure(until=1_010, reason=WaitReason(RETRY, "status_429"))
    assert await doors.enter("b") is None
    assert doors.unpublished() == {}


async def test_dispatchers_share_what_they_were_told_once_the_journal_can_be_reached(clock):
    here, there, board = gates(clock), gates(clock), []

    async def away(_):
        raise JournalUnavailable

    async def tell(closings):
        board.extend(closings)
        return SharedLimits(dispatchers=2)

    async def apply_remote(_):
        return SharedLimits(dispatchers=2, closings=tuple(board))

    here.scope("a").note_complaint(clock.now, retry("status_429", after_s=10))
    with pytest.raises(JournalUnavailable):
        await share(here, away)
    await share(here, tell)
    await share(here, tell)
    await share(there, apply_remote)
    assert board == [ClosedGate(scope="a", left_ms=10_000, reason=WaitReason(RETRY, "status_429"))]
    assert await there.enter("a") == GateClosure(until=1_010, reason=WaitReason(RETRY, "status_429"))
    assert (here.dispatchers, there.dispatchers) == (2, 2)


async def test_while_an_operator_wants_nothing_sent_nobody_gets_a_turn_and_waits_for_no_time(clock):
    doors, here = gates(clock), SharedLimits(paused=True)

    async def exchange(_):
        return here

    assert await doors.enter("a") is None
    await share(doors, exchange)
    assert await doors.enter("a") == GateClosure(until=1_000, reason=WaitReason("paused"))
    here = SharedLimits()
    await share(doors, exchange)
    assert await doors.enter("a") is None


async def test_that_another_dispatcher_cannot_reach_the_destination_closes_nothing_here(clock):
    doors = gates(clock)

    async def exchange(_):
        return SharedLimits(closings=(ClosedGate(scope=None, left_ms=5_000, reason=WaitReason("unreachable")),))

    await share(doors, exchange)
    assert await doors.enter("a") is None
