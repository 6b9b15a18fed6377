"""Calls of many lanes made as one, against a partner with jobs that take their time."""

import asyncio

import httpx
import msgspec
import pytest
from msgspec.structs import replace

from gateway.clock import Clock
from gateway.deliver.executor import CallExecutor
from gateway.deliver.gates import Gates
from gateway.deliver.lane_worker import FALLBACK_POLL_S, LaneWorker
from gateway.deliver.pools import MAX_BYTES, Pools
from gateway.deliver.progress import ItemProgress
from gateway.deliver.sender import Sender
from gateway.deliver.suspects import Suspects
from gateway.journal.types import Item, Lane, Outcome
from gateway.journal.wait_reasons import FAILED, NO_REASON, REFUSED, RETRY, SHARED, WaitReason
from gateway.plan import FactPlan, ItemPlan
from gateway.plugins.watchdog import Watchdog
from gateway.sdk import Call, Destination, Pool, Settings, delivered, hookimpl, rejected, retry
from gateway.settings import DeliverySettings
from gateway.testing import connection

PENDING, ROW_SHARED = WaitReason(RETRY, "pending"), WaitReason(SHARED, "1row")
pytestmark = pytest.mark.anyio


class NoSettings(Settings):
    pass


MOST = 5


class Plugin:
    """Three or more rows that gather become one job, which is asked after until it is done."""

    @hookimpl
    def destination(self):
        return Destination(
            title="Rows",
            settings=NoSettings,
            base_url=lambda _: "https://rows.example",
            pools=lambda _: {"rows": Pool(most=MOST), "asking": Pool(most=50)},
        )

    @hookimpl
    def coalesce(self, calls):
        first = calls[0]
        if len({call.lane for call in calls}) == 1 or (first.pool == "rows" and len(calls) < 3):
            return None
        ids = tuple(call.id for call in calls)
        if first.pool == "asking":
            return [msgspec.structs.replace(first, covers=ids)]
        job = Call(method="POST", path="jobs", json=[call.path for call in calls], id=first.id, covers=ids)
        return [job]

    @hookimpl
    def on_reply(self, call, reply):
        if call.path == "jobs" and reply.status == 200:
            return Call(method="GET", path="jobs/1", pool="asking", after_s=5)
        if call.path == "jobs/1":
            said = {"pending": retry("pending", after_s=10), "failed": rejected("failed"), "done": delivered()}
            return said.get(reply.json()) if reply.status == 200 else None
        return None


class Bench:
    """A worker with a clock of its own, a partner whose answers are listed, and what each lane recorded."""

    def __init__(self, *answers, suspects=()):
        self.answers = list(answers)
        self.seen = []
        self.settled = {}
        self.roused = []
        self.now = 1_000.0
        self.stopping = False
        self.lost = set()
        one = connection(Plugin(), {})
        guard = Watchdog(5)
        self.gates = Gates(rates={}, headers=None, clock=lambda: self.now, sleep=self.sleep)
        executor = CallExecutor(
            connection=one,
            sender=Sender(one, httpx.MockTransport(self.partner), now_ms=self.now_ms, guard=guard),
            gates=self.gates,
            delivery=DeliverySettings(retry_first_s=1),
            stopping=lambda: self.stopping,
            guard=guard,
        )
        self.kept = []
        self.pools = Pools(executor, suspects=Suspects(frozenset(suspects), self.kept.append))
        clock = Clock(self.now_ms, lambda: self.now)
        self.worker = LaneWorker(executor=executor, pools=self.pools, settle=self.settle, wake=self.wake, clock=clock)

    def now_ms(self):
        return int(self.now * 1000)

    async def sleep(self, seconds):
        await asyncio.sleep(0.01)  # so that whoever wants to join can
        self.now += seconds

    def partner(self, request):
        self.seen.append(f"{request.method} {request.extensions['target'].decode().removeprefix('/')}")
        answer = self.answers.pop(0) if self.answers else 200
        return httpx.Response(answer) if isinstance(answer, int) else httpx.Response(200, json=answer)

    async def settle(self, settlement):
        self.settled.setdefault(settlement.user, []).append(settlement)
        return settlement.user not in self.lost

    async def wake(self, reason):
        self.roused.append(reason)

    async def deliver(self, *lanes):
        """Work on these lanes at once; each is (user, item_plan, …). Returns how each was given back."""
        tasks = [
            self.worker.deliver(lane(user, *work), [ItemProgress(plan=one) for one in work]) for user, *work in lanes
        ]
        self.ends = await asyncio.gather(*tasks, return_exceptions=True)
        return [self.settled[user][-1] for user, *_ in lanes]

    def outcomes(self, user):
        return [outcome for one in self.settled[user] for done in one.finished for outcome in done.outcomes]

    def progress(self, user):
        """What the journal has of a lane's first item."""
        return [one.progress[1] for one in self.settled[user] if 1 in one.progress][-1]


def lane(user, *work):
    items = tuple(one.item for one in work)
    return Lane(connection="test", user=user, fence=user, attempts=0, failing_since_ms=0, items=items)


def row(user, *more, seq=1, progress=None, body=b"", id=""):
    """An item whose first fact is a row, and whose further ones are calls of their own."""
    item = Item(
        seq=seq, message="m", part=0, dialect="events", received_ms=0, facts=1, body=body, progress=progress or {}
    )
    first = Call(method="PUT", path=f"row{user}", pool="rows", id=id or f"{user}row", lane=str(user))
    plain = [Call(method="POST", path=f"{path}{user}", id=f"{user}{path}", lane=str(user)) for path in more]
    return ItemPlan(item=item, planned=[FactPlan(fact=call.id, calls=(call,)) for call in (first, *plain)])


async def under_way(*answers):
    """Three lanes whose rows are in one job; the answers are those to what comes next."""
    bench = Bench({})
    await bench.deliver(*((user, row(user)) for user in (1, 2, 3)))
    bench.seen.clear()
    bench.answers = list(answers)
    return bench


async def continue_with(bench, *users):
    return await bench.deliver(*((user, row(user, progress=bench.progress(user))) for user in users))


async def test_what_gathers_is_made_once_and_every_lane_has_on_record_how_to_go_on():
    bench = Bench({})
    given_back = await bench.deliver(*((user, row(user)) for user in (1, 2, 3)))
    assert bench.seen == ["POST jobs"]
    chains = [bench.progress(user)[f"{user}row"] for user in (1, 2, 3)]
    assert [(chain["next"][0]["path"], chain["by"], chain["instead"]["path"]) for chain in chains] == [
        ("jobs/1", "1row", f"row{user}") for user in (1, 2, 3)
    ]
    waits = [(one.due_ms - bench.now_ms(), one.attempts, one.reason) for one in given_back]
    silent = (FALLBACK_POLL_S * 1000, 0, ROW_SHARED)
    assert waits == [(5_000, 0, WaitReason("under_way")), silent, silent]


async def test_one_lane_asks_for_all_and_rouses_the_others_when_it_has_an_answer():
    bench = await under_way("pending", "done", "done")
    (waiting,) = await continue_with(bench, 1)
    assert (waiting.due_ms - bench.now_ms(), waiting.reason, bench.roused) == (10_000, PENDING, [])
    await continue_with(bench, 1)
    assert bench.roused == [ROW_SHARED]
    await continue_with(bench, 2, 3)
    assert bench.seen == ["GET jobs/1"] * 3
    assert [bench.outcomes(user) for user in (1, 2, 3)] == [
        [Outcome("1row", "delivered")],
        [Outcome("2row", "delivered", "", (), "in call 1row")],
        [Outcome("3row", "delivered", "", (), "in call 1row")],
    ]


async def test_lanes_that_ask_at_once_ask_in_one_call_and_leave_the_next_to_one_of_them():
    bench = await under_way("pending")
    given_back = await continue_with(bench, 2, 3, 1)
    assert bench.seen == ["GET jobs/1"]
    assert [one.reason for one in given_back] == [PENDING, ROW_SHARED, ROW_SHARED]


async def test_what_follows_in_a_lane_waits_for_what_was_pooled():
    bench = Bench({}, "done", 200)
    await bench.deliver((1, row(1, "then")), (2, row(2)), (3, row(3)))
    assert bench.seen == ["POST jobs"]
    await bench.deliver((1, row(1, "then", progress=bench.progress(1))))
    assert bench.seen == ["POST jobs", "GET jobs/1", "POST then1"]


async def test_lanes_suspected_of_a_death_share_among_themselves_alone_and_half_as_many_at_once():
    bench = Bench({}, {}, {}, suspects=range(1, 7))
    await bench.deliver(*((user, row(user)) for user in (1, 7, 2, 8, 3, 9, 4, 5, 6)))
    shared = [bench.progress(user)[f"{user}row"]["by"] for user in range(1, 10)]
    assert shared == ["1row"] * 3 + ["4row"] * 3 + ["7row"] * 3
    assert [sorted(one) for one in bench.kept] == [[4, 5, 6], []]
    await bench.deliver(*((user, row(user)) for user in (1, 7, 4)))
    assert bench.seen == ["POST jobs"] * 4


async def test_whoever_alone_is_suspected_is_cleared_by_a_call_of_their_own_and_by_no_call_that_was_not_made():
    bench = Bench(suspects=[1])
    bench.gates.connection.close(bench.now + 30, WaitReason("unreachable"))
    await bench.deliver((1, row(1)))
    assert bench.kept == []
    bench.now += 30
    await bench.deliver((1, row(1)))
    assert (bench.seen, bench.kept) == (["PUT row1"], [frozenset()])


async def test_too_few_are_made_one_by_one():
    bench = Bench()
    await bench.deliver((1, row(1)), (2, row(2)))
    assert sorted(bench.seen) == ["PUT row1", "PUT row2"]
    assert [bench.outcomes(user)[0].state for user in (1, 2)] == ["delivered", "delivered"]


async def test_a_full_pool_goes_on_at_once_and_the_next_gathers():
    bench = Bench()
    await bench.deliver(*((user, row(user)) for user in range(1, 8)))
    assert sorted(bench.seen) == ["POST jobs", "PUT row6", "PUT row7"]


async def test_calls_of_two_users_that_have_one_id_cost_neither_of_them_anything():
    bench = Bench()
    async with asyncio.timeout(10):
        await bench.deliver(*((user, row(user, id="same" if user < 3 else "")) for user in (1, 2, 3, 4)))
    assert sorted(bench.seen) == ["POST jobs", "PUT row2"]
    assert bench.outcomes(2)[0].state == "delivered"
    assert bench.pools.held == 0


async def test_what_goes_wrong_with_one_shared_call_is_no_matter_of_the_others(monkeypatch):
    def two_jobs(_, calls):
        ids = [call.id for call in calls]
        return [
            msgspec.structs.replace(calls[0], covers=tuple(ids[:2])),
            msgspec.structs.replace(calls[2], covers=tuple(ids[2:])),
        ]

    monkeypatch.setattr(Plugin, "coalesce", hookimpl(two_jobs))
    bench = Bench()

    def partner(request):
        if not bench.seen:
            bench.seen.append("trouble")
            raise RuntimeError("nobody foresaw this")
        bench.seen.append("taken")
        return httpx.Response(200)

    bench.worker.executor.sender._transport = httpx.MockTransport(partner)
    given_back = await bench.deliver(*((user, row(user)) for user in (1, 2, 3, 4)))
    assert [(one.reason, len(one.finished)) for one in given_back] == [
        (FAILED, 0),
        (FAILED, 0),
        (NO_REASON, 1),
        (NO_REASON, 1),
    ]
    assert bench.seen == ["trouble", "taken"]


async def test_what_many_shared_is_made_by_each_for_itself_if_it_is_rejected():
    bench = Bench(400, 200, 400, 200)
    await bench.deliver(*((user, row(user)) for user in (1, 2, 3)))
    assert (bench.seen[0], sorted(bench.seen[1:])) == ("POST jobs", ["PUT row1", "PUT row2", "PUT row3"])
    assert sorted(bench.outcomes(user)[0].state for user in (1, 2, 3)) == ["dead", "delivered", "delivered"]


async def test_a_shared_call_that_is_refused_rests_the_connection_and_every_lane_keeps_its_work():
    bench = Bench(401)
    given_back = await bench.deliver(*((user, row(user)) for user in (1, 2, 3)))
    assert (bench.seen, [one.reason for one in given_back]) == (["POST jobs"], [WaitReason(REFUSED, "status_401")] * 3)
    assert [one.attempts for one in given_back] == [0, 0, 0]


async def test_a_job_that_fails_is_taken_apart_after_a_restart_too():
    bench = await under_way("failed", 200)
    await continue_with(bench, 1)
    assert bench.seen == ["GET jobs/1", "PUT row1"]
    assert bench.outcomes(1) == [Outcome("1row", "delivered")]
    assert bench.roused == [ROW_SHARED]
    assert "pool" not in bench.progress(1)["1row"]["next"][0]


@pytest.mark.parametrize("answer", [503, 429], ids=["lane", "scope"])
async def test_a_shared_call_that_is_to_be_repeated_has_every_lane_wait_and_closes_its_gate_once(answer):
    bench = Bench(answer)
    given_back = await bench.deliver(*((user, row(user)) for user in (1, 2, 3)))
    assert {one.reason for one in given_back} == {WaitReason(RETRY, f"status_{answer}")}
    assert [one.attempts for one in given_back] == [1 if answer == 503 else 0] * 3
    assert bench.gates.scope("").complaints == (1 if answer == 429 else 0)
    assert not any(one.progress for one in given_back)


async def test_a_lane_that_lost_its_claim_costs_the_others_nothing():
    bench = Bench({})
    bench.lost = {2}
    await bench.deliver(*((user, row(user)) for user in (1, 2, 3)))
    assert [type(end).__name__ for end in bench.ends] == ["NoneType", "StaleClaim", "NoneType"]


async def test_what_the_destination_is_still_at_is_seen_to_its_end_before_its_user_is_erased():
    bench = await under_way("pending")
    item = row(1, "then", progress=bench.progress(1))
    item = replace(item, withdrawn="erased")
    (given_back,) = await bench.deliver((1, item))
    assert (bench.seen, given_back.reason, bench.outcomes(1)) == (["GET jobs/1"], PENDING, [])
    bench.answers = ["done"]
    item = row(1, "then", progress=bench.progress(1))
    item = replace(item, withdrawn="erased")
    await bench.deliver((1, item))
    assert bench.outcomes(1) == [Outcome("1row", "delivered"), Outcome("1then", "skipped", "erased")]
    assert bench.seen == ["GET jobs/1", "GET jobs/1"]


async def test_a_stopping_gateway_lets_lanes_in_pools_go():
    bench = Bench()
    bench.stopping = True
    given_back = await bench.deliver(*((user, row(user)) for user in (1, 2, 3)))
    assert (bench.seen, {one.release for one in given_back}) == ([], {True})


async def test_a_pool_holds_no_more_than_it_may():
    bench = Bench(*[{}] * 9)
    heavy = b"x" * (MAX_BYTES // 2 + 1)
    given_back = await bench.deliver(*((user, row(user, body=heavy)) for user in (1, 2, 3, 4)))
    assert [one.reason for one in given_back].count(WaitReason("pool_full")) == 1
    assert bench.pools.held == 0


@pytest.mark.parametrize(("lanes", "full"), [(2 * MOST, 0), (2 * MOST + 1, 1), (2 * MOST + 3, 3)])
async def test_a_pool_holds_twice_as_many_lanes_as_one_call_takes(lanes, full):
    bench = Bench()
    given_back = await bench.deliver(*((user, row(user)) for user in range(1, lanes + 1)))
    assert [one.reason for one in given_back].count(WaitReason("pool_full")) == full
    assert bench.pools.held == 0


async def test_what_came_to_nothing_is_not_begun_anew_for_whom_is_erased():
    bench = await under_way("failed")
    item = row(1, progress=bench.progress(1))
    item = replace(item, withdrawn="erased")
    await bench.deliver((1, item))
    assert not any("row1" in str(call) for call in bench.seen)
    assert [(one.state, one.reason) for one in bench.outcomes(1)] == [("skipped", "erased")]
