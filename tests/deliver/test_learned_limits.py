"""Limits that replies tell of, on a clock of the tests' own: all that is allowed is used, and nothing beyond it."""

import asyncio
import heapq
from itertools import count, cycle

import pytest

from gateway.deliver.gates import GateClosure, Gates
from gateway.journal.wait_reasons import WaitReason
from gateway.sdk import Rate, RateHeaders, Reply

pytestmark = pytest.mark.anyio
BEGIN = 1_000


class World:
    """Time, which passes when everybody sleeps, and a partner that counts calls by the minute."""

    def __init__(self, limit, share=1.0, **rate):
        self.now = float(BEGIN)
        self.limit = limit
        self.made = {}
        self.sleepers, self.turns = [], count()
        self.gates = Gates(
            rates={"": Rate(**rate)},
            headers=RateHeaders(limit="limit", remaining="remaining", reset="reset", share=share),
            clock=lambda: self.now,
            sleep=self.sleep,
        )

    async def sleep(self, seconds):
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self.sleepers, (self.now + seconds, next(self.turns), woken))
        await woken

    def told(self, **said):
        minute = int(self.now - BEGIN) // 60
        left = self.limit - self.made.get(minute, 0)
        headers = {"limit": self.limit, "remaining": left, "reset": BEGIN + (minute + 1) * 60, **said}
        return Reply(
            status=200, headers={name: str(value) for name, value in headers.items()}, at_ms=int(self.now * 1000)
        )

    async def learn(self, **said):
        await self.gates.enter("")
        self.gates.leave("", self.told(**said))

    async def call(self, latency):
        await self.sleep(latency / 2)
        minute = int(self.now - BEGIN) // 60
        self.made[minute] = self.made.get(minute, 0) + 1
        reply = self.told()
        await self.sleep(latency / 2)
        self.gates.leave("", reply)

    async def lane(self, latencies):
        while True:
            closed = await self.gates.enter("")
            await (self.sleep(closed.until - self.now) if closed else self.call(next(latencies)))

    async def pass_minutes(self, minutes):
        while self.now < BEGIN + minutes * 60:
            for _ in range(8):
                await asyncio.sleep(0)
            self.now, _, woken = heapq.heappop(self.sleepers)
            if not woken.done():
                woken.set_result(None)

    async def run(self, lanes, latencies, minutes):
        shared = cycle(latencies)
        tasks = [asyncio.create_task(self.lane(shared)) for _ in range(lanes)]
        await self.pass_minutes(minutes)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return [self.made.get(minute, 0) for minute in range(minutes)]


def is_used_well(made, allowed):
    """Whether a minute saw at least 95 % of what was allowed, and no more than that."""
    return 0.95 * allowed <= made <= allowed


@pytest.mark.parametrize("latencies", [(0.1,), (2.0,), (0.05, 0.1, 3.0)], ids=["quick", "slow", "mixed"])
@pytest.mark.parametrize(("limit", "share"), [(300, 0.5), (150, 1.0), (3_000, 0.1), (20, 1.0)])
async def test_what_is_allowed_a_minute_is_used_and_nothing_beyond_it(limit, share, latencies):
    world = World(limit, share)
    await world.learn()
    used = await world.run(64, latencies, 6)
    assert [is_used_well(made, limit * share) for made in used] == [True] * 6


async def test_a_gateway_that_starts_with_nothing_left_uses_the_next_minute_in_full():
    world = World(300, 0.5)
    await world.learn(remaining=150)
    world.made = {0: 150}
    used = await world.run(64, (0.1,), 4)
    assert [is_used_well(made, 150) for made in used] == [True] * 4


async def test_one_lane_alone_uses_what_is_allowed():
    world = World(150)
    await world.learn()
    assert [is_used_well(made, 150) for made in await world.run(1, (0.1,), 3)] == [True] * 3


async def test_replies_that_stop_telling_of_the_limit_do_not_stop_the_calls():
    world = World(150)
    await world.learn()
    world.told = lambda: Reply(status=200)
    assert [is_used_well(made, 150) for made in await world.run(64, (0.1,), 4)] == [True] * 4


async def test_a_limit_is_learned_from_headers_and_only_our_share_of_it_is_used():
    world = World(600, 0.5)
    await world.learn(remaining=420)
    assert world.gates.scope("").rate == Rate(per_second=2.0, burst=2)


async def test_a_told_limit_takes_the_place_of_the_declared_rate_but_not_of_the_bound_in_flight():
    world = World(600, per_second=1, burst=9, in_flight=4)
    await world.learn()
    assert world.gates.scope("").rate == Rate(per_second=10.0, burst=10, in_flight=4)


async def test_a_reset_is_a_time_by_the_clock_of_whoever_tells_it():
    world = World(300)
    await world.learn(remaining=0, reset=10_040, date="Thu, 01 Jan 1970 02:46:40 GMT")  # 10,000 s; here it is 1,000
    assert world.gates.scope("").closed(world.now) == GateClosure(until=1_040.0, reason=WaitReason("limit_reached"))


@pytest.mark.parametrize(("reset", "until"), [(1_060, 1_060.0), (1_000 + 86_400, 4_600.0)])
async def test_a_scope_with_nothing_left_is_closed_until_the_reset_but_an_hour_at_the_most(reset, until):
    world = World(600, 0.5)
    await world.learn(remaining=300, reset=reset)
    assert await world.gates.enter("") == GateClosure(until=until, reason=WaitReason("limit_reached"))
    world.now = until
    assert await world.gates.enter("") is None


async def test_a_reply_that_was_overtaken_does_not_give_back_what_was_used():
    world = World(600)
    await world.learn(remaining=1)
    await world.learn(remaining=0)
    world.gates.scope("").finish_call(world.now, world.gates._read_limit(world.told(remaining=50)))
    assert world.gates.scope("").window.left == 0


@pytest.mark.parametrize(
    "said",
    [
        {"limit": "many"},
        {"limit": "nan"},
        {"limit": "inf"},
        {"limit": 0},
        {"limit": -600},
        {"limit": 1e300},
        {"remaining": ""},
        {"remaining": "nan"},
        {"remaining": "inf"},
        {"remaining": "-inf"},
        {"reset": 1_714_565_696_000},
        {"reset": "nan"},
        {"reset": "inf"},
        {"reset": 999},
        {"reset": 1_000.000_01},
        {"reset": 5e-324, "date": "Thu, 01 Jan 1970 00:00:00 GMT"},
        {"reset": -1},
    ],
    ids=str,
)
async def test_headers_that_make_no_sense_teach_nothing(said):
    world = World(600)
    await world.learn(**said)
    assert (world.gates.scope("").rate, world.gates.scope("").window) == (Rate(), None)


@pytest.mark.parametrize("headers", [{}, {"limit": "600"}], ids=str)
async def test_headers_that_are_missing_teach_nothing(headers):
    world = World(600)
    await world.gates.enter("")
    world.gates.leave("", Reply(status=200, headers=headers, at_ms=BEGIN * 1000))
    assert world.gates.scope("").rate == Rate()
