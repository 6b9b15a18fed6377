from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gateway_sailthru
from gateway.plan import check
from gateway.sdk import Call, File, Reply, delivered, rejected, retry
from gateway.testing import batch, membership, plan_with, user
from gateway.testing.driving import send
from gateway_sailthru import bulk, calls
from gateway_sailthru.calls import POLL_POOL
from gateway_sailthru.fake import FakeSailthru
from gateway_sailthru.settings import SailthruSettings
from gateway_sailthru.steps import DeliveryStep

VALUES = {"api_key": "test-key", "api_secret": "test-secret", "bulk_from": 2}
SETTINGS = SailthruSettings.model_validate(VALUES)

updates = st.builds(
    calls.upsert,
    st.sampled_from(["jo@example.com", "mo@example.com", "no@example.com"]),
    vars=st.dictionaries(st.sampled_from("xyz"), st.none() | st.integers(0, 3) | st.text("aé\n", max_size=2)),
    lists=st.dictionaries(st.sampled_from(["Gold", "Silver"]), st.sampled_from([0, 1])),
    keys=st.sampled_from([{}, {"email": "x", "extid": "c-1"}, {"email": "x", "extid": "c-2"}]),
    optout_email=st.none() | st.just("all"),
)
pooled = st.lists(updates, min_size=2, max_size=6)


def pool(*updates: Call, pool: str = bulk.ROW_POOL) -> tuple[Call, ...]:
    """Calls as a pool offers them: each of another lane."""
    return tuple(
        msgspec.structs.replace(
            call,
            json={
                **call.json,
                **({"keys": {**call.json["keys"], "email": call.json["id"]}} if "keys" in call.json else {}),
            },
            id=str(place),
            lane=str(place),
            pool=pool,
        )
        for place, call in enumerate(updates)
    )


def coalesced(offered, **settings) -> list[Call]:
    return gateway_sailthru.coalesce(tuple(offered), SailthruSettings.model_validate({**VALUES, **settings}))


def lines(job: Call) -> list[dict]:
    return [json.loads(line) for line in job.file.content.decode().splitlines()]


def users(fake: FakeSailthru) -> list:
    """Return the known profiles, in an order that does not depend on their arrival."""
    told = [
        {**one, "keys": {k: v for k, v in one["keys"].items() if k in ("email", "extid")}}
        for one in fake.state()["users"]
    ]
    return sorted(({k: v for k, v in one.items() if k != "sid"} for one in told), key=json.dumps)


def after(made: list[Call]) -> FakeSailthru:
    """The fake once these calls were made in order, each job run to its end."""
    fake = FakeSailthru("test-key", "test-secret")
    fake.clock.set(1_000_000)
    for call in made:
        if call.path == "job":
            told = fake.jobs.post({"job": "update"}, call.file.content)
            for _ in range(2):
                fake.jobs.get({"job_id": told["job_id"]}, "", fake.options)
            assert fake.jobs.all[told["job_id"]].bad_rows == 0
        else:
            fake.users.post(call.json, 1_000_000, fake.options)
    return fake


@given(pooled)
def test_what_a_pool_becomes_leaves_the_same_profiles_as_its_calls_in_order(offered):
    calls = pool(*offered)
    made = coalesced(calls)
    in_order = sorted(calls, key=lambda call: _place(call, calls, made))
    assert users(after(made)) == users(after(in_order))


def _place(call: Call, offered: tuple[Call, ...], made: list[Call]) -> tuple[int, int]:
    """Where a call's effect comes: lanes have no order among each other, but one person's calls keep theirs."""
    place, stands_for = next(
        (place, one.covers) for place, one in enumerate(made) if call.id in (one.covers or (one.id,))
    )
    beside = [other for other in offered if other is call or other.id in stands_for]
    return place, min(int(other.id) for other in beside if other.json["id"] == call.json["id"])


@given(pooled, st.integers(2, 7))
def test_each_call_of_a_pool_is_covered_once_and_every_call_can_be_made(offered, least):
    calls = pool(*offered)
    made = coalesced(calls, bulk_from=least)
    assert sorted(id for call in made for id in (call.covers or (call.id,))) == [call.id for call in calls]
    assert all(call.id in call.covers for call in made if call.covers)
    assert [check(call) for call in made] == made


def test_enough_memberships_become_one_job_and_fewer_are_left_as_they_are():
    offered = pool(*(calls.upsert(f"u{n}@example.com", lists={"Gold": n % 2}) for n in range(3)))
    (job,) = coalesced(offered, bulk_from=3)
    assert (job.method, job.path, job.form, job.covers) == (
        "POST",
        "job",
        {"json": '{"job": "update"}'},
        ("0", "1", "2"),
    )
    assert lines(job) == [{"id": f"u{n}@example.com", "key": "email", "lists": {"Gold": n % 2}} for n in range(3)]
    assert coalesced(offered, bulk_from=4) == list(offered)


def test_a_conflict_of_keys_is_settled_in_a_job_as_it_is_elsewhere():
    one, two = calls.upsert("a@b.cd", keys={"extid": "1"}, lists={"Gold": 1}), calls.upsert("b@b.cd", lists={"Gold": 1})
    (job,) = coalesced(pool(one, two))
    assert [line.get("keysconflict") for line in lines(job)] == ["merge", None]


def test_one_persons_rows_are_one_and_the_last_word_counts():
    said = [{"Gold": 1}, {"Gold": 0, "New": 1}]
    (job,) = coalesced(pool(*(calls.upsert("jo@example.com", lists=lists) for lists in said)))
    assert ([line["lists"] for line in lines(job)], job.covers) == ([{"Gold": 0, "New": 1}], ("0", "1"))


def test_an_opt_out_is_never_in_a_job():
    out = calls.upsert("jo@example.com", lists={"Gold": 1}, optout_email="all")
    others = [calls.upsert(f"u{n}@example.com", lists={"Gold": 1}) for n in range(2)]
    assert [(call.path, call.covers) for call in coalesced(pool(out, *others))] == [("job", ("1", "2")), ("user", ())]


def test_a_file_stays_below_what_sailthru_takes():
    offered = pool(*(calls.upsert(f"u{n}@example.com", vars={"x": "y" * 1_000_000}) for n in range(20)))
    jobs = coalesced(offered)
    assert [len(job.covers) for job in jobs] == [8, 8, 4]
    assert all(len(job.file.content) < 9_000_000 for job in jobs)


def test_questions_after_one_job_are_one_question():
    asked = [
        calls.request("GET", "job", {"job_id": id}, memo={"step": DeliveryStep.POLL_JOB}) for id in ("j1", "j2", "j1")
    ]
    assert [call.covers for call in coalesced(pool(*asked, pool=POLL_POOL))] == [("0", "2"), ()]


@pytest.mark.parametrize(("bulk_from", "pool"), [(0, ""), (2, "rows")])
def test_memberships_alone_gather_and_only_where_jobs_are_wanted(bulk_from, pool):
    said = batch(user=user(email="jo@example.com", attributes={"a": "1"}), memberships=(membership("Gold", "add"),))
    items = plan_with(gateway_sailthru, said, {**VALUES, "bulk_from": bulk_from}, ids=True)
    made = [item for item in items if isinstance(item, Call)]
    assert [call.pool for call in made] == ["", pool]
    (merged,) = gateway_sailthru.coalesce(tuple(made), SETTINGS)
    assert (merged.pool, merged.json["vars"], merged.json["lists"]) == (pool, {"a": "1"}, {"Gold": 1})


def answered(step: str, body: object, status: int = 200, attempt: int = 1) -> object:
    reply = Reply(status=status, body=json.dumps(body).encode(), attempt=attempt)
    return gateway_sailthru.on_reply(Call(method="GET", path="job", memo={"step": step}), reply, SETTINGS)


def test_a_job_that_has_begun_is_asked_after_in_a_while():
    asked = answered(DeliveryStep.START_JOB, {"job_id": "j1", "status": "pending"})
    assert (asked.method, asked.path, asked.json, asked.pool, asked.after_s) == (
        "GET",
        "job",
        {"job_id": "j1"},
        "asking",
        5,
    )


@pytest.mark.parametrize(
    ("step", "status", "body", "verdict"),
    [
        (DeliveryStep.START_JOB, 200, {"ok": True}, rejected("no_job_id")),
        (DeliveryStep.START_JOB, 400, {"error": 99, "errormsg": "?"}, rejected("error_99")),
        (DeliveryStep.START_JOB, 500, {"error": 9, "errormsg": "?"}, retry("error_9")),
        (DeliveryStep.POLL_JOB, 200, {"status": "completed"}, delivered()),
        (DeliveryStep.POLL_JOB, 200, {"status": "error"}, rejected("job_failed")),
        (DeliveryStep.POLL_JOB, 404, {"error": 99, "errormsg": "Invalid job_id"}, rejected("error_99")),
    ],
)
def test_what_an_answer_about_a_job_means(step, status, body, verdict):
    assert answered(step, body, status) == verdict


def test_a_pending_job_is_asked_after_less_and_less_often_and_not_for_ever():
    verdicts = [
        answered(DeliveryStep.POLL_JOB, {"status": "pending"}, attempt=attempt) for attempt in (1, 2, 3, 4, 359, 360)
    ]
    assert [one.after_s for one in verdicts] == [10, 20, 40, 60, 60, None]
    assert verdicts[-1] == rejected("job_hangs")


def test_a_job_is_signed_without_its_file_and_taken_by_the_fake(bench):
    one = bench(job_polls=0)
    file = File(
        field="file",
        name="updates.json",
        content='{"id":"é@example.com","key":"email"}\n{"id":"jo@example.com","key":"email","lists":{"Gold":1}}'.encode(),
    )
    connection = one.connection(integration="us")
    begun = send(connection, calls.upload("job", {"job": "update"}, file)).json()
    assert send(connection, calls.request("GET", "job", {"job_id": begun["job_id"]})).json()["status"] == "completed"
    assert (one.user("jo@example.com")["lists"], one.vendor.users.flow_entries) == (["Gold"], [])
