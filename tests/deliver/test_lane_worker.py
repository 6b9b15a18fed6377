"""A lane at work, against a partner that answers as each test says."""

import dataclasses
import time

import httpx
import msgspec
import pytest
from msgspec.structs import replace

from gateway.clock import Clock
from gateway.deliver.executor import CallExecutor
from gateway.deliver.gates import Gates
from gateway.deliver.lane_worker import MAX_FOLLOW_UPS, LaneWorker, StaleClaim
from gateway.deliver.pools import Pools
from gateway.deliver.progress import ItemProgress
from gateway.deliver.sender import Sender
from gateway.journal.types import Item, Lane, Outcome
from gateway.journal.wait_reasons import REFUSED, RETRY, WaitReason
from gateway.plan import FactPlan, ItemPlan
from gateway.plugins.watchdog import Watchdog
from gateway.sdk import (
    Call,
    Destination,
    Remember,
    Settings,
    Skip,
    delivered,
    hookimpl,
    refused,
    rejected,
    retry,
)
from gateway.settings import DeliverySettings
from gateway.testing import connection

FAILING = WaitReason(RETRY, "status_503")
pytestmark = pytest.mark.anyio


class Secret(Settings):
    pass


class Plugin:
    """A plugin whose answers to replies are told by the partner's own words."""

    @hookimpl
    def destination(self):
        return Destination(title="Post", settings=Secret, base_url=lambda _: "https://post.example")

    @hookimpl
    def sign(self, call):
        if call.path == "unsigned":
            raise ValueError("hush-hush")
        if call.path == "slow":
            time.sleep(1)
        if call.path == "lost":
            return None
        if call.path == "split":
            return msgspec.structs.replace(call, headers={"authorization": "Basic hush\r\nhush"})
        return msgspec.structs.replace(call, headers={**call.headers, "authorization": "Basic secret"})

    @hookimpl
    def on_reply(self, call, reply):
        said = reply.json() or {}
        if said.get("next"):
            return [Call(method="POST", path=path, memo=call.memo) for path in said["next"]]
        if "misfit" in said:
            return {"call": Call(method="POST", path="x", memo=object()), "verdict": rejected(7)}[said["misfit"]]
        if said.get("word") == "oops":
            raise ValueError
        if "again" in said:
            return retry("again", after_s=said["again"], restart=True)
        words = {"ok": delivered(), "no": rejected("no"), "who": refused("who"), "skip": Skip(reason="unwanted")}
        if said.get("word") in ("rejected", "skipped"):
            return rejected(said["reason"]) if said["word"] == "rejected" else Skip(reason=said["reason"])
        if said.get("word") == "note":
            return [Remember(key="noted", value=call.path)]
        return words.get(said.get("word"))

    @hookimpl
    def coalesce(self, calls):
        puts = [call for call in calls if call.method == "PUT"]
        if len(puts) < 2:
            return None
        merged = msgspec.structs.replace(
            puts[-1], json=[put.json for put in puts], covers=tuple(put.id for put in puts)
        )
        return [merged, *(call for call in calls if call.method != "PUT")]


class Bench:
    """A worker, a partner whose answers are listed in advance, and everything that was recorded."""

    def __init__(self, *answers, held=True, patience_s=5, **delivery):
        self.answers = list(answers)
        self.seen = []
        self.headers = []
        self.settled = []
        self.roused = []
        self.now = 1_000_000
        self.clock = Clock(lambda: self.now, lambda: self.now / 1000)
        self.stopping = False
        self.held = held
        one = connection(Plugin(), {})
        guard = Watchdog(patience_s)
        self.gates = Gates(rates={}, headers=None, clock=lambda: self.now / 1000)
        executor = CallExecutor(
            connection=one,
            sender=Sender(one, httpx.MockTransport(self.partner), now_ms=lambda: self.now, guard=guard),
            gates=self.gates,
            delivery=DeliverySettings(retry_first_s=1, retry_most_s=60, **delivery),
            stopping=lambda: self.stopping,
            guard=guard,
        )
        self.worker = LaneWorker(
            executor=executor, pools=Pools(executor), settle=self.settle, wake=self.wake, clock=self.clock
        )

    def partner(self, request):
        self.headers.append(request.headers)
        self.seen.append((request.method, request.extensions["target"].decode().removeprefix("/")))
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx.Response):
            return answer
        return httpx.Response(answer) if isinstance(answer, int) else httpx.Response(200, json=answer)

    async def wake(self, reason):
        self.roused.append(reason)

    async def settle(self, settlement):
        self.settled.append(settlement)
        return self.held

    async def deliver(self, *work, user=1, attempts=0, failing_since_ms=0):
        items = tuple(one.item for one in work)
        lane = Lane(
            connection="test", user=user, fence=7, attempts=attempts, failing_since_ms=failing_since_ms, items=items
        )
        await self.worker.deliver(lane, [ItemProgress(plan=one) for one in work])
        return self.settled[-1]

    @property
    def outcomes(self):
        return [outcome for one in self.settled for done in one.finished for outcome in done.outcomes]


def work(*paths, seq=1, progress=None, method="POST", skips=()):
    """An item whose facts are named for the path of their one call."""
    item = Item(
        seq=seq, message="m", part=0, dialect="events", received_ms=0, facts=1, body=b"", progress=progress or {}
    )
    facts = [
        FactPlan(fact=path, calls=(Call(method=method, path=path, id=f"{seq}{path}", json=path),), skips=skips)
        for path in paths
    ]
    return ItemPlan(item=item, planned=facts)


async def test_calls_are_made_in_order_and_each_is_on_record_before_the_next():
    bench = Bench()
    last = await bench.deliver(work("a", "b"), work("c", seq=2))
    assert bench.seen == [("POST", "a"), ("POST", "b"), ("POST", "c")]
    records = [(dict(one.progress), [done.seq for done in one.finished], one.release) for one in bench.settled]
    assert records == [({1: {"1a": {"word": "delivered"}}}, [], False), ({}, [1], False), ({}, [2], True)]
    assert last.due_ms == bench.now


async def test_an_item_without_calls_is_finished_with_its_skips():
    bench = Bench()
    nothing = ItemPlan(
        item=work().item,
        planned=[FactPlan(fact="x", skips=(Skip(reason="no_email"), Skip(reason="late", what="$City")))],
    )
    last = await bench.deliver(nothing)
    assert (bench.outcomes, last.release) == ([Outcome("x", "skipped", "no_email", (("$City", "late"),))], True)


async def test_a_rejected_call_is_dead_and_the_others_go_on():
    bench = Bench(200, {"word": "no"}, 400)
    await bench.deliver(work("a", "b", "c", "d"))
    assert bench.outcomes == [
        Outcome("a", "delivered"),
        Outcome("b", "dead", "no", (), "POST was answered 200"),
        Outcome("c", "dead", "status_400", (), "POST was answered 400"),
        Outcome("d", "delivered"),
    ]


async def test_a_failing_call_stops_its_lane_and_counts_an_attempt():
    bench = Bench(200, 503)
    last = await bench.deliver(work("a", "b", "c"), attempts=2)
    assert bench.seen == [("POST", "a"), ("POST", "b")]
    assert (last.release, last.attempts, last.failing_since_ms, last.reason) == (
        True,
        1,
        bench.now,
        FAILING,
    )
    assert bench.now <= last.due_ms <= bench.now + 1_000


@pytest.mark.parametrize(("attempts", "bound_s"), [(0, 1), (3, 8), (9, 60), (500, 60)])
async def test_the_wait_grows_with_the_attempts_up_to_a_bound(attempts, bound_s):
    waits = []
    for _ in range(30):
        bench = Bench(500)
        last = await bench.deliver(work("a"), attempts=attempts)
        waits.append((last.due_ms - bench.now) / 1000)
    assert (max(waits) <= bound_s, max(waits) > bound_s / 2, len(set(waits)) > 10) == (True, True, True)


async def test_what_was_recorded_is_not_made_again():
    bench = Bench()
    await bench.deliver(work("a", "b", progress={"1a": {"word": "dead", "reason": "no"}}))
    assert bench.seen == [("POST", "b")]
    assert bench.outcomes == [Outcome("a", "dead", "no"), Outcome("b", "delivered")]


async def test_a_call_that_failed_for_too_long_is_given_up():
    bench = Bench(503, give_up_after_hours=1)
    await bench.deliver(work("a"), failing_since_ms=1)
    bench.now = 2 + 3_600_000
    bench.answers = [503]
    await bench.deliver(work("a"), failing_since_ms=1)
    assert bench.outcomes == [Outcome("a", "dead", "gave_up", (), "status_503")]


async def test_a_clock_that_jumps_gives_nothing_up():
    bench = Bench(503, 503, 503, give_up_after_hours=1)
    bench.passed_s = 0.0
    bench.worker = dataclasses.replace(bench.worker, clock=Clock(lambda: bench.now, lambda: bench.passed_s))
    last = await bench.deliver(work("a"))
    bench.now += 99 * 3_600_000
    last = await bench.deliver(work("a"), attempts=1, failing_since_ms=last.failing_since_ms)
    assert (last.attempts, last.reason, bench.outcomes) == (2, FAILING, [])
    bench.passed_s += 3_601
    bench.now += 3_601_000
    await bench.deliver(work("a"), attempts=2, failing_since_ms=last.failing_since_ms)
    assert bench.outcomes == [Outcome("a", "dead", "gave_up", (), "status_503")]


async def test_what_fails_since_a_time_yet_to_come_fails_since_now():
    bench = Bench(503)
    last = await bench.deliver(work("a"), attempts=1, failing_since_ms=bench.now + 3_600_000)
    assert (last.failing_since_ms, last.attempts) == (bench.now, 2)


@pytest.mark.parametrize("answer", [503, {"word": "oops"}], ids=["given up", "misjudged"])
async def test_what_waits_behind_a_call_that_ended_badly_has_all_its_time(answer):
    bench = Bench(answer, 503, give_up_after_hours=1)
    bench.now += 2 * 3_600_000
    last = await bench.deliver(work("a", "b"), attempts=9, failing_since_ms=1)
    assert bench.settled[0].progress[1]["1a"]["word"] == "dead"
    assert (last.release, last.attempts, last.failing_since_ms, last.reason) == (
        True,
        1,
        bench.now,
        FAILING,
    )


async def test_refused_credentials_rest_the_connection_and_spend_no_attempt():
    bench = Bench(401, pause_s=30)
    last = await bench.deliver(work("a"))
    assert (last.attempts, last.failing_since_ms, last.due_ms) == (0, 0, bench.now + 1_000)
    assert last.reason == WaitReason(REFUSED, "status_401")
    again = await bench.deliver(work("b"))
    assert (bench.seen, again.due_ms) == ([("POST", "a")], bench.now + 1_000)


async def test_a_connection_rests_longer_with_every_refusal_until_a_call_is_taken():
    bench = Bench(pause_s=5)
    rests = []
    for answer in (401, 401, 401, 401, 200, 401):
        bench.answers = [answer]
        last = await bench.deliver(work("a"))
        rests.append((last.due_ms - bench.now) / 1000)
        bench.now = last.due_ms
    assert rests == [1, 2, 4, 5, 0, 1]


async def meets_403(bench, path, **lane):
    """Deliver a refused call after a rest; returns how its lane was given back, and whether the connection rests."""
    bench.now += 30_000
    bench.answers = [403]
    last = await bench.deliver(work(path), **lane)
    rests = bench.gates.connection.closed(bench.now / 1000) is not None
    return (last.attempts, last.reason, rests)


async def test_a_call_that_is_refused_though_others_are_taken_has_its_lane_alone_wait():
    bench = Bench(pause_s=30)
    rests, waits = (0, WaitReason(REFUSED, "status_403"), True), (1, WaitReason(REFUSED, "status_403"), False)
    assert await meets_403(bench, "a") == rests
    assert await meets_403(bench, "a") == rests
    bench.now += 30_000
    await bench.deliver(work("b"), user=2)
    assert await meets_403(bench, "a") == waits
    assert await meets_403(bench, "a", attempts=1) == (2, *waits[1:])
    await bench.deliver(work("c"), user=3)
    assert bench.outcomes == [Outcome("b", "delivered"), Outcome("c", "delivered")]


async def test_a_call_that_is_refused_alone_is_given_up_in_time_and_forgotten():
    bench = Bench(pause_s=30, give_up_after_hours=1)
    await meets_403(bench, "a")
    bench.now += 30_000
    await bench.deliver(work("b"), user=2)
    assert await meets_403(bench, "a") == (1, WaitReason(REFUSED, "status_403"), False)
    bench.answers = [403]
    await bench.deliver(work("a"), attempts=9, failing_since_ms=bench.now - 3_600_001)
    assert bench.outcomes == [Outcome("b", "delivered"), Outcome("a", "dead", "gave_up", (), "refused: status_403")]
    assert bench.worker.refusals == {}


async def test_another_call_that_is_refused_rests_the_connection_again():
    bench = Bench(pause_s=30)
    await meets_403(bench, "a")
    bench.now += 30_000
    await bench.deliver(work("b"), user=2)
    assert await meets_403(bench, "c") == (0, WaitReason(REFUSED, "status_403"), True)
    assert await meets_403(bench, "d", user=2) == (0, WaitReason(REFUSED, "status_403"), True)


async def test_too_many_requests_close_the_scope_and_spend_no_attempt():
    bench = Bench(429)
    last = await bench.deliver(work("a"))
    assert (last.attempts, last.reason) == (0, WaitReason(RETRY, "status_429"))
    assert bench.gates.scope("").closed(bench.now / 1000).reason == WaitReason(RETRY, "status_429")
    again = await bench.deliver(work("b"))
    assert (bench.seen, again.reason) == ([("POST", "a")], WaitReason(RETRY, "status_429"))


@pytest.mark.parametrize(
    ("after", "due_s"),
    [("1714565696", 3_600), ("Fri, 31 Dec 9999 23:59:59 GMT", 3_600), ("nan", 1), ("9" * 400, 1)],
)
@pytest.mark.parametrize("status", [429, 503])
async def test_a_partner_that_asks_to_wait_for_ages_is_asked_again_after_an_hour(status, after, due_s):
    bench = Bench(httpx.Response(status, headers={"retry-after": after}))
    last = await bench.deliver(work("a"))
    assert bench.now <= last.due_ms <= bench.now + due_s * 1_000
    bench.now += due_s * 1_000
    await bench.deliver(work("b"))
    assert bench.outcomes == [Outcome("b", "delivered")]


async def test_a_plugin_that_asks_to_wait_for_ever_is_asked_again():
    bench = Bench({"again": 1e300}, 200)
    assert (await bench.deliver(work("a"))).due_ms == bench.now + 3_600_000


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("unsigned", "test 0 sign: ValueError at line"),
        ("lost", "test 0 sign: InvalidPlan: expected a Call, got NoneType"),
        ("slow", "test 0 sign: HookTimeout: interrupted at test_lane_worker.py"),
        ("split", "test 0 request: InvalidPlan: headers must be plain ASCII, each on one line"),
        ("x" * 70_000, "test 0 request: InvalidURL at line"),
        ("a\nb", "test 0 request: InvalidURL at line"),
    ],
    ids=lambda text: text[:9],
)
async def test_a_call_that_cannot_be_made_is_dead_and_neither_its_lane_nor_its_connection_waits(path, detail):
    bench = Bench(patience_s=0.2)
    await bench.deliver(work(path, "b"))
    assert [(one.state, one.reason) for one in bench.outcomes] == [("dead", "plugin_error"), ("delivered", "")]
    assert bench.outcomes[0].detail.startswith(detail)
    assert "hush" not in repr(bench.settled)


async def test_a_call_whose_parameters_are_too_long_for_a_url_is_dead():
    bench = Bench()
    call = Call(method="GET", path="a", id="1a", params={"q": "x" * 70_000})
    await bench.deliver(replace(work("a"), planned=[FactPlan(fact="a", calls=(call,))]))
    assert (bench.seen, bench.outcomes[0].reason) == ([], "plugin_error")


@pytest.mark.parametrize(
    ("misfit", "detail"),
    [
        ("call", "a Call holds what it cannot: Encoding objects of type object is unsupported"),
        ("verdict", "a Verdict holds what it cannot: not the declared type at `$.reason`"),
    ],
)
async def test_an_answer_to_a_reply_that_cannot_be_recorded_is_the_end_of_its_call_alone(misfit, detail):
    bench = Bench({"misfit": misfit})
    await bench.deliver(work("a", "b"))
    assert bench.outcomes == [
        Outcome("a", "dead", "plugin_error", (), f"test 0 on_reply: InvalidPlan: {detail}"),
        Outcome("b", "delivered"),
    ]


async def test_follow_up_calls_take_the_place_of_the_call_and_are_on_record_before_they_are_made():
    bench = Bench({"next": ["x", "y"]}, {"word": "ok"}, {"word": "ok"})
    await bench.deliver(work("a", "b"))
    assert bench.seen == [("POST", "a"), ("POST", "x"), ("POST", "y"), ("POST", "b")]
    (chain,) = bench.settled[0].progress[1].values()
    assert [call["path"] for call in chain["next"]] == ["x", "y"]
    assert bench.outcomes == [Outcome("a", "delivered"), Outcome("b", "delivered")]


async def test_a_chain_goes_on_where_it_was_interrupted():
    bench = Bench({"next": ["x", "y"]}, {"word": "ok"}, 503)
    waiting = await bench.deliver(work("a"))
    assert waiting.release
    progress = bench.settled[-2].progress[1]
    bench.answers, bench.seen = [{"word": "ok"}], []
    await bench.deliver(work("a", progress=progress))
    assert (bench.seen, bench.outcomes) == ([("POST", "y")], [Outcome("a", "delivered")])


async def test_a_verdict_may_begin_the_chain_again():
    bench = Bench({"next": ["x"]}, {"again": 5})
    waiting = await bench.deliver(work("a"))
    assert (waiting.progress, waiting.due_ms) == ({1: {}}, bench.now + 5_000)


async def test_a_reason_that_is_no_word_is_counted_as_other_and_kept_in_the_detail():
    bench = Bench({"word": "rejected", "reason": "Error 4711"}, {"word": "skipped", "reason": "Error 4712"})
    await bench.deliver(work("a", "b"))
    assert bench.outcomes == [
        Outcome("a", "dead", "other", (), "Error 4711; POST was answered 200"),
        Outcome("b", "skipped", "other", (), "Error 4712"),
    ]


async def test_a_chain_ends_with_the_first_call_that_is_rejected():
    bench = Bench({"next": ["x", "y"]}, {"word": "no"})
    await bench.deliver(work("a"))
    assert (len(bench.seen), bench.outcomes[0].state) == (2, "dead")


async def test_a_chain_without_end_is_cut():
    bench = Bench(*[{"next": ["x"]}] * 20)
    await bench.deliver(work("a"))
    assert (len(bench.seen), bench.outcomes) == (
        MAX_FOLLOW_UPS + 1,
        [Outcome("a", "dead", "endless", (), "the plugin's follow-up calls do not end")],
    )


async def test_an_answer_may_turn_a_call_into_a_skip():
    bench = Bench({"word": "skip"})
    await bench.deliver(work("a"))
    assert bench.outcomes == [Outcome("a", "skipped", "unwanted")]


async def test_what_a_reply_taught_is_remembered_with_the_outcome():
    bench = Bench({"word": "note"})
    last = await bench.deliver(work("a"))
    assert [(memo.key, memo.value) for memo in last.memos] == [("noted", "a")]
    assert bench.outcomes == [Outcome("a", "delivered")]


async def test_waiting_calls_are_folded_and_every_one_of_them_gets_the_word():
    bench = Bench()
    await bench.deliver(work("a", method="PUT"), work("b", seq=2, method="PUT"), work("e", seq=3))
    assert bench.seen == [("PUT", "b"), ("POST", "e")]
    assert bench.outcomes == [
        Outcome("a", "delivered", "", (), "in call 2b"),
        Outcome("b", "delivered"),
        Outcome("e", "delivered"),
    ]


async def test_a_folded_call_that_was_answered_with_a_chain_covers_its_calls_to_the_end():
    bench = Bench({"next": ["x"]}, 503)
    await bench.deliver(work("a", method="PUT"), work("b", seq=2, method="PUT"))
    progress = bench.settled[-2].progress
    bench.answers, bench.seen = [{"word": "ok"}], []
    await bench.deliver(
        work("a", method="PUT", progress=progress.get(1)), work("b", seq=2, method="PUT", progress=progress.get(2))
    )
    assert (bench.seen, [outcome.state for outcome in bench.outcomes]) == ([("POST", "x")], ["delivered", "delivered"])


async def folded_and_under_way():
    """The progress of two items whose calls were folded into one, 2b, which was answered with a further call."""
    bench = Bench({"next": ["x"]}, 503)
    await bench.deliver(work("a", method="PUT"), work("b", seq=2, method="PUT"))
    return bench.settled[-2].progress


async def test_a_chain_goes_on_though_something_that_it_covers_is_planned_no_longer():
    progress = await folded_and_under_way()
    bench = Bench({"word": "ok"})
    nothing = ItemPlan(item=work().item, settled=[Outcome("a", "skipped", "filtered")])
    await bench.deliver(nothing, work("b", seq=2, method="PUT", progress=progress[2]))
    assert (bench.seen, bench.outcomes) == (
        [("POST", "x")],
        [Outcome("a", "skipped", "filtered"), Outcome("b", "delivered")],
    )


async def test_a_chain_whose_head_is_planned_no_longer_is_let_go_and_what_it_covers_is_made():
    progress = await folded_and_under_way()
    bench = Bench()
    item = replace(work(seq=2, progress=progress[2]), settled=[Outcome("b", "skipped", "filtered")])
    await bench.deliver(work("a", method="PUT"), item)
    assert (bench.seen, bench.outcomes) == (
        [("PUT", "a")],
        [Outcome("a", "delivered"), Outcome("b", "skipped", "filtered")],
    )


async def test_a_stopping_gateway_lets_go_before_the_next_call():
    bench = Bench()
    bench.stopping = True
    last = await bench.deliver(work("a"))
    assert (bench.seen, last.release, last.due_ms, last.attempts) == ([], True, bench.now, 0)


async def test_a_claim_that_was_lost_stops_the_work():
    bench = Bench(held=False)
    with pytest.raises(StaleClaim):
        await bench.deliver(work("a", "b"))
    assert bench.seen == [("POST", "a")]


async def test_an_unreachable_partner_closes_the_gate_and_spends_no_attempt():
    bench = Bench(*[httpx.ConnectError("refused")] * 9)
    waits = [await bench.deliver(work("a")) for _ in range(6)]
    assert [(one.attempts, one.failing_since_ms) for one in waits] == [(0, 0)] * 6
    assert len(bench.seen) == 5


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (httpx.ReadTimeout("slow"), "timeout"),
        (httpx.ReadError("lost"), "closed"),
        (httpx.RemoteProtocolError("no HTTP"), "garbage"),
        (httpx.DecodingError("no gzip"), "garbage"),
    ],
)
async def test_an_answer_that_cannot_be_read_is_a_failed_attempt(error, reason):
    last = await Bench(error).deliver(work("a"))
    assert (last.release, last.attempts, last.reason) == (True, 1, WaitReason(RETRY, reason))


async def test_credentials_are_on_the_wire_and_nowhere_else():
    bench = Bench({"next": ["x"]}, 503)
    await bench.deliver(work("a", "b"))
    assert [sent["authorization"] for sent in bench.headers] == ["Basic secret"] * 2
    assert "secret" not in repr(bench.settled)


def remembering(item):
    """The item with something to remember of each fact."""
    return replace(item, planned=[replace(fact, memories=(Remember(key=fact.fact, value=1),)) for fact in item.planned])


async def test_what_was_planned_to_be_remembered_is_unless_its_fact_is_a_dead_letter():
    bench = Bench({"word": "ok"}, {"word": "no"})
    await bench.deliver(remembering(work("a", "b")))
    assert [memo.key for one in bench.settled for memo in one.memos] == ["a"]


async def test_of_a_withdrawn_item_nothing_is_sent_or_remembered():
    bench = Bench()
    item = remembering(work("a", "b", progress={"1a": {"word": "delivered"}}))
    last = await bench.deliver(replace(item, withdrawn="erased"))
    assert (bench.seen, last.memos) == ([], ())
    assert bench.outcomes == [Outcome("a", "delivered"), Outcome("b", "skipped", "erased")]
