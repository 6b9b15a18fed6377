from __future__ import annotations

import json

import msgspec
import pytest

import gateway_sailthru
from gateway.sdk import Call, Reply, delivered, rejected, retry
from gateway_sailthru import bulk, calls
from gateway_sailthru.settings import SailthruSettings

VALUES = {"api_key": "test-key", "api_secret": "test-secret"}
BULK = {"bulk": True, "bulk_threshold": 2}
START = calls.request("POST", "job", {}, memo={"step": "job:start"})
POLL = calls.request("GET", "job", {"job_id": "j-1"}, memo={"step": "job:poll"})


def settings(**values) -> SailthruSettings:
    return SailthruSettings.model_validate({**VALUES, **BULK, **values})


def lane(number: int, *offered: Call) -> list[Call]:
    """What waits for one user."""
    return [
        msgspec.structs.replace(call, id=f"{number}.{place}", lane=str(number)) for place, call in enumerate(offered)
    ]


def joins(number: int, name: str = "Gold", **fields) -> Call:
    return calls.upsert(f"u{number}@example.com", lists={name: 1}, **fields)


def coalesced(*lanes: list[Call], **values) -> list[Call]:
    return gateway_sailthru.coalesce(tuple(call for each in lanes for call in each), settings(**values))


def told(made: list[Call]) -> list[tuple[str, ...]]:
    return [(call.path, *(call.covers or (call.id,))) for call in made]


def answer(call: Call, body, status: int = 200, attempt: int = 1):
    reply = Reply(status=status, body=json.dumps(body).encode(), attempt=attempt)
    return gateway_sailthru.on_reply(call, reply, settings())


THREE = [lane(number, joins(number)) for number in range(3)]


def test_more_changes_of_one_list_than_the_threshold_become_a_job():
    (job,) = coalesced(*THREE)
    assert (job.method, job.path, job.scope, job.memo) == ("POST", "job", "POST job", {"step": "job:start"})
    assert (job.json, job.form, job.id, job.covers) == (None, {"job": "update"}, "0.0", ("0.0", "1.0", "2.0"))
    assert [json.loads(line) for line in job.file.content.splitlines()] == [
        {"id": f"u{number}@example.com", "key": "email", "lists": {"Gold": 1}} for number in range(3)
    ]


def test_no_job_is_made_unless_the_settings_allow_it_for_jobs_start_no_flows():
    assert told(coalesced(*THREE, bulk=False)) == [("user", "0.0"), ("user", "1.0"), ("user", "2.0")]
    assert settings().bulk is True
    assert SailthruSettings.model_validate(VALUES).bulk is False


def test_as_many_changes_as_the_threshold_stay_calls_of_their_own():
    assert told(coalesced(*THREE[:2])) == [("user", "0.0"), ("user", "1.0")]


def test_users_are_counted_for_each_list_and_not_calls():
    lanes = [lane(0, joins(0), joins(0)), lane(1, joins(1)), lane(2, joins(2, "Silver"))]
    assert told(coalesced(*lanes)) == [("user", "0.0", "0.1"), ("user", "1.0"), ("user", "2.0")]


def test_a_removal_and_vars_fit_a_line_too():
    lanes = [lane(n, calls.upsert(f"u{n}@example.com", lists={"Gold": 0}, vars={"a": "ü"})) for n in range(3)]
    (job,) = coalesced(*lanes)
    assert json.loads(job.file.content.splitlines()[0]) == {
        "id": "u0@example.com",
        "key": "email",
        "vars": {"a": "ü"},
        "lists": {"Gold": 0},
    }


@pytest.mark.parametrize("fields", [{"optout_email": "all"}, {"keys": {"extid": "c-1"}}])
def test_what_a_line_may_not_be_able_to_say_stays_a_call_of_its_own(fields):
    lanes = [*THREE, lane(3, joins(3, **fields))]
    assert told(coalesced(*lanes)) == [("job", "0.0", "1.0", "2.0"), ("user", "3.0")]


def test_only_what_stands_first_in_its_lane_is_carried_so_that_nothing_is_overtaken():
    event = calls.event("u3@example.com", "x", {})
    lanes = [*THREE, lane(3, event, joins(3)), lane(4, joins(4), calls.event("u4@example.com", "y", {}))]
    assert told(coalesced(*lanes)) == [
        ("job", "0.0", "1.0", "2.0", "4.0"),
        ("event", "3.0"),
        ("user", "3.1"),
        ("event", "4.1"),
    ]


def test_what_changes_no_list_stays_a_call_of_its_own():
    lanes = [*THREE, lane(3, calls.upsert("u3@example.com", vars={"a": "1"}))]
    assert told(coalesced(*lanes)) == [("job", "0.0", "1.0", "2.0"), ("user", "3.0")]


def test_a_job_is_not_folded_again():
    made = coalesced(*THREE)
    assert coalesced(made, lane(3, joins(3))) == [*made, *lane(3, joins(3))]


def test_a_file_holds_nine_megabytes_at_most():
    long = "x" * 1_000_000
    made = coalesced(*(lane(n, joins(n, vars={"a": long})) for n in range(20)))
    assert [call.path for call in made] == ["job"] * 3
    assert all(len(call.file.content) <= bulk.LARGEST_FILE for call in made)
    assert [id for call in made for id in call.covers] == [f"{n}.0" for n in range(20)]


def test_a_job_that_began_is_asked_about():
    assert answer(START, {"job_id": "j-1", "status": "pending"}) == POLL


@pytest.mark.parametrize(
    ("call", "body", "status", "verdict"),
    [
        (START, {}, 200, retry("no_job_id")),
        (START, {"error": 99, "errormsg": "no"}, 400, rejected("error_99")),
        (START, {"error": 9, "errormsg": "no"}, 500, retry("error_9")),
        (POLL, {"status": "completed"}, 200, delivered("by_job")),
        (POLL, {"status": "error"}, 200, retry("job_failed", restart=True)),
        (POLL, {"error": 99, "errormsg": "no"}, 404, retry("job_unknown", restart=True)),
        (POLL, {"error": 9, "errormsg": "no"}, 500, retry("error_9")),
        (POLL, None, 200, retry("no_json")),
    ],
)
def test_an_answer_about_a_job_means_what_it_says(call, body, status, verdict):
    assert answer(call, body, status) == verdict


@pytest.mark.parametrize(("attempt", "wait"), [(1, 5.0), (2, 10.0), (3, 20.0), (4, 40.0), (5, 60.0), (5000, 60.0)])
@pytest.mark.parametrize("status", ["pending", "running", None])
def test_a_job_under_way_is_asked_about_ever_more_slowly(attempt, wait, status):
    assert answer(POLL, {"status": status}, attempt=attempt) == retry("job_pending", after_s=wait)


def test_a_job_does_what_the_calls_would_have_done_but_starts_no_flows(bench):
    here = bench(job_polls=0)
    assert here.drive(coalesced(*THREE)) == [delivered("by_job")]
    assert [here.user(f"u{n}@example.com")["lists"] for n in range(3)] == [["Gold"]] * 3
    assert here.vendor.people.flow_entries == []
    assert here.journal() == ["POST /job 200", "GET /job 200"]


def test_a_job_that_failed_is_handed_over_again_whole(bench):
    here = bench(job_polls=0, job_fails=1)
    assert here.drive(coalesced(*THREE)) == [retry("job_failed", restart=True)]
    assert here.emails() == []
    assert here.drive(coalesced(*THREE)) == [delivered("by_job")]
    assert len(here.emails()) == 3
