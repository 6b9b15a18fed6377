"""From an accepted message to its recorded outcome, in one process: claim, prepare, deliver, record."""

import asyncio

import pytest
import structlog

from gateway.dispatch.barriers import OTHER_LANES
from gateway.dispatch.dispatcher import put_back
from gateway.journal.wait_reasons import NO_REASON, RETRY, WaitReason
from gateway.plugins.blackbox import MAX_DEBT_S

pytestmark = pytest.mark.anyio

HOUR_S = 3600
TIME_MS = 1_714_565_696_789


def message(id, *names, user="42"):
    events = [
        {"type": "custom_event", "id": f"{id}-{n}", "timestamp_ms": TIME_MS + n, "name": name}
        for n, name in enumerate(names)
    ]
    return {
        "type": "event_processing_request",
        "id": id,
        "timestamp_ms": TIME_MS,
        "firehose_version": "3.2.0",
        "mpid": user,
        "events": events,
    }


def erasure(id, user="42"):
    subject = {"subject_identities": {"mpid": {"encoding": "raw", "value": user}}}
    return {
        "type": "dsr_processing_request",
        "id": id,
        "timestamp_ms": TIME_MS + 10_000,
        "firehose_version": "3.2.0",
        "subject_request_id": f"request-{id}",
        "subject_request_type": "erasure",
        "subject_identities": {},
        "extensions": {"opendsr.mparticle.com": subject},
    }


def subscription(id, action="add"):
    return {
        "type": "audience_subscription_request",
        "id": id,
        "timestamp_ms": TIME_MS,
        "firehose_version": "3.2.0",
        "audience_id": 5150,
        "audience_name": "Regulars",
        "action": action,
    }


def membership(id, user="42"):
    audience = {"audience_id": 5150, "audience_name": "Regulars", "action": "add"}
    return {
        "type": "audience_membership_change_request",
        "id": id,
        "timestamp_ms": TIME_MS,
        "firehose_version": "3.2.0",
        "user_profiles": [{"mpid": user, "audiences": [audience]}],
    }


async def test_a_message_is_planned_sent_in_order_and_recorded(bench):
    bench = bench()
    await bench.post(message("m1", "a", "skips", "b"))
    await bench.post(message("m2", "c"))
    await bench.work()
    assert bench.seen == ["POST events/a", "POST events/b", "POST events/c"]
    assert await bench.outcomes("m1") == [
        ("m1-0", "delivered", "", ""),
        ("m1-1", "skipped", "not_wanted", ""),
        ("m1-2", "delivered", "", ""),
    ]
    assert await bench.outcomes("m2") == [("m2-0", "delivered", "", "")]


async def test_a_call_is_retried_after_its_back_off_and_not_before(bench):
    bench = bench(503, 503)
    await bench.post(message("m1", "a"))
    await bench.work()
    waits = await bench.status("m1")
    assert (bench.seen, waits.attempts, waits.reason) == (["POST events/a"], 1, WaitReason(RETRY, "status_503"))
    await bench.work()
    assert bench.seen == ["POST events/a"]
    await bench.work(after_s=60)
    await bench.work(after_s=60)
    assert (bench.seen, await bench.outcomes("m1")) == (["POST events/a"] * 3, [("m1-0", "delivered", "", "")])


async def test_a_call_that_fails_for_too_long_is_a_dead_letter(bench):
    bench = bench(503, 503, give_up_after_hours=1)
    await bench.post(message("m1", "a", "b"))
    await bench.work()
    await bench.work(after_s=2 * HOUR_S)
    assert await bench.outcomes("m1") == [
        ("m1-0", "dead", "gave_up", "status_503"),
        ("m1-1", "delivered", "", ""),
    ]


async def test_an_erasure_has_attempts_of_its_own(bench):
    bench = bench(503, 503, 503, give_up_after_hours=1)
    await bench.post(message("m1", "a"))
    await bench.work()
    await bench.work(after_s=HOUR_S / 2)
    assert (await bench.status("m1")).attempts == 2
    await bench.post(erasure("e1"))
    await bench.work(after_s=HOUR_S)
    waits = await bench.status("e1")
    assert (bench.seen[2:], waits.attempts, waits.outcomes) == (["DELETE users"], 1, ())
    assert await bench.outcomes("m1") == [("m1-0", "skipped", "erased", "")]
    await bench.work(after_s=60)
    assert [one[1] for one in await bench.outcomes("e1")] == ["delivered"]


async def test_older_data_that_arrives_after_an_erasure_is_not_sent(bench):
    bench = bench()
    await bench.post(erasure("e1"))
    await bench.work()
    await bench.post(message("m1", "a"))
    await bench.work()
    assert (bench.seen, await bench.outcomes("m1")) == (["DELETE users"], [("m1-0", "skipped", "erased", "")])


ADDRESS = {"encoding": "raw", "value": "erase@example.com"}


def addressed(posted):
    """The same message, about somebody with the address."""
    return {**posted, "user_identities": [{"type": "email", **ADDRESS}]}


def erasure_of_address(id):
    """An erasure known by the address alone."""
    return {**erasure(id), "subject_identities": {"email": ADDRESS}, "extensions": {}}


def later(id, name, user):
    """A message about somebody with the address, with an event that happened after the erasure was asked for."""
    posted = addressed(message(id, name, user=user))
    posted["events"][0]["timestamp_ms"] = TIME_MS + 20_000
    return posted


@pytest.mark.parametrize("user", ["42", None], ids=["in another lane", "in its own lane"])
async def test_newer_data_of_any_lane_waits_for_an_erasure_known_by_address_alone(bench, user):
    bench = bench(503, 503)
    await bench.post(erasure_of_address("e1"))
    await bench.work()
    await bench.post(later("m1", "a", user))
    await bench.post(addressed(message("m2", "b", user=user)))
    await bench.work(after_s=1)
    await bench.work(after_s=60)
    await bench.work(after_s=60)
    await bench.work(after_s=60)
    assert bench.seen == ["DELETE users"] * 3 + ["POST events/a"]
    assert (await bench.outcomes("m2"))[1:] == [("m2-0", "skipped", "erased", "")]


async def test_nobody_else_waits_for_an_erasure_known_by_address_alone(bench):
    bench = bench(503)
    await bench.post(erasure_of_address("e1"))
    await bench.work()
    await bench.post(message("m1", "a"))
    await bench.work()
    assert bench.seen == ["DELETE users", "POST events/a"]


async def test_what_waits_for_an_erasure_says_that_it_waits_for_older_work(bench):
    bench = bench(503)
    await bench.post(erasure_of_address("e1"))
    await bench.work()
    await bench.post(later("m1", "a", "42"))
    await bench.work()
    assert (bench.seen, (await bench.status("m1")).reason) == (["DELETE users"], OTHER_LANES)


async def test_newer_data_waits_for_an_erasure_that_has_become_a_dead_letter_no_longer(bench):
    bench = bench(404)
    await bench.post(erasure_of_address("e1"))
    await bench.post(later("m1", "a", "42"))
    await bench.work()
    await bench.work(after_s=60)
    assert bench.seen == ["DELETE users", "POST events/a"]


async def test_an_alias_request_has_an_outcome_where_no_plugin_has_a_hook_for_it(bench):
    bench = bench()
    data = {"source_mpid": "1", "destination_mpid": "42"}
    await bench.post({"request_type": "alias", "request_id": "a1", "api_key": "k", "data": data})
    await bench.work()
    assert (bench.seen, await bench.outcomes("mpid:1")) == ([], [("alias:a1", "skipped", "not_supported", "")])


async def test_a_member_waits_for_the_audience_and_nobody_else_does(bench):
    bench = bench(503)
    await bench.post(subscription("s1"))
    await bench.work()
    await bench.post(membership("p1"))
    await bench.post(message("m1", "a", user="43"))
    await bench.work()
    assert (bench.seen, (await bench.status("p1")).reason) == (
        ["PUT audiences/5150", "POST events/a"],
        OTHER_LANES,
    )
    await bench.work(after_s=60)
    await bench.work(after_s=60)
    assert bench.seen[2:] == ["PUT audiences/5150", "POST members/5150"]


async def test_an_audience_is_removed_after_older_memberships_have_been_sent(bench):
    bench = bench(503)
    await bench.post(membership("p1"))
    await bench.work()
    await bench.post(subscription("s1", action="remove"))
    await bench.work()
    assert (bench.seen, (await bench.status("s1")).reason) == (["POST members/5150"], OTHER_LANES)
    await bench.work(after_s=60)
    await bench.work(after_s=60)
    assert bench.seen[1:] == ["POST members/5150", "PUT audiences/5150"]


async def test_a_hook_that_raises_costs_its_own_batch_alone(bench):
    bench = bench()
    await bench.post(message("m1", "a", "raises"))
    await bench.post(message("m2", "b"))
    await bench.work()
    dead = [(word, reason) for _, word, reason, _ in await bench.outcomes("m1")]
    assert (bench.seen, dead) == (["POST events/b"], [("dead", "plugin_error")] * 2)
    assert "hush" not in repr(await bench.outcomes("m1"))


async def test_a_batch_that_processes_died_of_is_set_aside(bench):
    bench = bench()
    await bench.post(message("m1", "a"))
    (lane,) = await bench.journal.claim("post", now_ms=bench.clock.now_ms(), lanes=1, items=1)
    for _ in range(3):
        await bench.journal.crashed("post", lane.user, lane.items[0].seq, "plan")
    await bench.journal.settle(put_back(lane, bench.clock.now_ms(), NO_REASON))
    await bench.post(message("m2", "b"))
    await bench.work(after_s=2 * HOUR_S)
    detail = "post 0 plan: the process died of it 3 times"
    assert (bench.seen, await bench.outcomes("m1")) == (["POST events/b"], [("m1-0", "dead", "crashed", detail)])


async def test_a_restart_goes_on_after_the_last_recorded_call(bench):
    bench = bench(200, 503)
    await bench.post(message("m1", "a", "b", "c"))
    await bench.work()
    bench.restart()
    await bench.work(after_s=60)
    assert bench.seen == ["POST events/a", "POST events/b", "POST events/b", "POST events/c"]
    assert {word for _, word, *_ in await bench.outcomes("m1")} == {"delivered"}


async def test_what_one_message_remembers_the_next_one_finds(bench):
    bench = bench()
    await bench.post(message("m1", "remembers"))
    await bench.post(message("m2", "a"))
    await bench.work()
    assert bench.body == b'{"remembered":{"seen":0}}'
    await bench.post(message("m3", "b"))
    await bench.work()
    assert bench.body == b'{"remembered":{"seen":0}}'


async def test_a_message_for_all_connections_and_again_for_one_is_sent_twice(bench):
    bench = bench()
    await bench.post(message("m1", "a"))
    await bench.post(message("m1", "a"), only="post")
    await bench.work()
    assert bench.seen == ["POST events/a"] * 2


async def test_nothing_is_planned_while_the_plugin_rests_for_what_it_cost_others(bench):
    bench = bench()
    bench.box.charge("post", MAX_DEBT_S + 1.0)
    bench.restart()
    await bench.post(message("m1", "a"))
    await bench.work()
    assert bench.seen == []
    await bench.work(after_s=60)
    assert bench.seen == ["POST events/a"]


async def test_an_operators_pause_keeps_the_work(bench):
    bench = bench()
    await bench.post(message("m1", "a"))
    await bench.journal.pause("post", None)
    await bench.work()
    assert bench.seen == []
    await bench.journal.pause("post", 0)
    await bench.work()
    assert bench.seen == ["POST events/a"]


async def test_it_works_until_it_is_stopped_and_gives_its_lanes_back(bench):
    bench = bench()
    running = asyncio.create_task(bench.dispatcher.run())
    await bench.post(message("m1", "a"))
    while not await bench.outcomes("m1"):
        await asyncio.sleep(0.01)
    bench.dispatcher.stopped.set()
    await asyncio.wait_for(running, 10)
    assert (bench.seen, bench.dispatcher.working) == (["POST events/a"], set())


class LosesClaims:
    """A journal in which another dispatcher gives every claimed lane back."""

    def __init__(self, journal, clock):
        self.journal, self.clock = journal, clock

    async def claim(self, *given, **named):
        lanes = await self.journal.claim(*given, **named)
        for lane in lanes:
            await self.journal.settle(put_back(lane, self.clock.now_ms() + HOUR_S * 1000, NO_REASON))
        return lanes

    def __getattr__(self, name):
        return getattr(self.journal, name)


async def test_a_lost_claim_ends_the_work_on_the_lane(bench):
    bench = bench()
    await bench.post(message("m1", "a", "b"))
    bench.dispatcher.journal = LosesClaims(bench.journal, bench.clock)
    with structlog.testing.capture_logs() as logged:
        await bench.work()
    assert bench.seen == ["POST events/a"]
    assert [entry["event"] for entry in logged] == ["claim lost"]
