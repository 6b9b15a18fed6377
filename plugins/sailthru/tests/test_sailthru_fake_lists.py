"""The fake's lists and the jobs that fill them."""

from __future__ import annotations

import json
import threading

import pytest

from gateway.testing import Answer, FakeVendor, Request, running

JO, MO = "jo@example.com", "mo@example.com"


def error(status: int, code: int, message: str) -> tuple[int, dict]:
    return status, {"error": code, "errormsg": message}


def post(here, endpoint: str, **data) -> dict:
    status, answer = here.ask("POST", endpoint, data)
    assert status == 200, answer
    return answer


def test_a_list_is_created_and_told(bench):
    here = bench(utc_offset_hours=-7)
    here.vendor.clock.set(1_633_218_417)
    made = post(here, "list", list="Gold", type="normal", primary=0)
    assert made == {"list": "Gold", "type": "natural", "list_id": made["list_id"]}
    assert here.ask("GET", "list", {"list_id": made["list_id"]}) == here.ask("GET", "list", {"list": "Gold"})
    assert here.ask("GET", "list", {"list": "Gold"})[1] == {
        "list_id": made["list_id"],
        "list": "Gold",
        "create_time": "Sat, 02 Oct 2021 16:46:57 -0700",
        "send_time": None,
        "count": 0,
        "type": "normal",
        "primary": False,
    }


def test_a_list_that_is_posted_again_is_changed(bench):
    here = bench()
    made = post(here, "list", list="Gold", vars={"a": 1})
    assert post(here, "list", list="Gold", vars={"b": 2}, public_name="Gold!", primary=1) == made
    told = here.ask("GET", "list", {"list": "Gold", "fields": {"vars": 1, "public_name": 1}})[1]
    assert (told["vars"], told["public_name"], told["primary"]) == ({"a": 1, "b": 2}, "Gold!", True)


def test_all_lists_are_told_with_how_many_are_on_them(bench):
    here = bench()
    post(here, "list", list="Empty")
    post(here, "user", id=JO, lists={"Gold": 1})
    told = here.ask("GET", "list")[1]["lists"]
    assert [(one["name"], one["email_count"], one["valid_count"]) for one in told] == [("Empty", 0, 0), ("Gold", 1, 1)]
    assert set(told[0]) == {"list_id", "name", "email_count", "valid_count", "create_time", "type"}


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_unknown_list_is_told_by_its_name(bench, method):
    here = bench()
    assert here.ask(method, "list", {"list": "Gold"}) == error(404, 15, "Unknown list: Gold")
    assert here.ask(method, "list", {"list_id": "l-1"}) == error(404, 15, "Unknown list: l-1")


def test_a_name_is_required_and_may_not_hold_a_dollar(bench):
    here = bench()
    assert here.ask("POST", "list") == error(400, 2, "Missing required parameter: list")
    assert here.ask("POST", "list", {"list": "$"}) == error(400, 99, "A list name may not contain $")
    here.steer("config", {"strict_list_names": False})
    assert here.ask("POST", "list", {"list": "$"})[0] == 200


def test_a_deleted_list_is_left_by_everybody(bench):
    here = bench()
    post(here, "user", id=JO, lists={"Gold": 1, "Silver": 1})
    assert here.ask("DELETE", "list", {"list": "Gold"}) == (200, {"list": "Gold", "ok": True})
    assert here.user(JO)["lists"] == ["Silver"]


def test_two_creations_in_flight_can_make_two_lists(bench):
    here = bench(duplicate_list_race=True)
    here.vendor.clock.set(1000)
    first, second = post(here, "list", list="Gold"), post(here, "list", list="Gold")
    assert first["list_id"] != second["list_id"]
    here.vendor.clock.advance(2)
    assert post(here, "list", list="Gold")["list_id"] == first["list_id"]


def test_addresses_posted_with_a_list_are_imported(bench):
    here = bench(job_polls=0)
    post(here, "list", list="Gold", emails=f"{JO},{MO}")
    (job,) = here.vendor.state()["jobs"]
    here.ask("GET", "job", {"job_id": job["job_id"]})
    assert {email: here.user(email)["lists"] for email in here.emails()} == {JO: ["Gold"], MO: ["Gold"]}


def upload(here, data: dict, content: str) -> dict:
    fields = here.fields(data)
    parts = [f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}' for name, value in fields.items()]
    parts.append(f'Content-Disposition: form-data; name="file"; filename="f"\r\n\r\n{content}')
    body = "".join(f"--edge\r\n{part}\r\n" for part in parts) + "--edge--\r\n"
    head = {"Content-Type": "multipart/form-data; boundary=edge"}
    status, answer, _ = here.raw("POST", "/job", body.encode(), head)
    return answer if status == 200 else {"status": status, **answer}


def poll(here, job: dict) -> dict:
    return here.ask("GET", "job", {"job_id": job["job_id"]})[1]


def test_a_job_is_pending_and_then_completed(bench):
    here = bench(job_polls=1)
    job = post(here, "job", job="import", list="Gold", emails=JO)
    assert job == {"job_id": job["job_id"], "name": "List Import: Gold", "list": "Gold", "status": "pending"}
    assert poll(here, job) == job
    assert here.emails() == []
    done = poll(here, job)
    assert {**job, "status": "completed", "start_time": done["start_time"], "end_time": done["end_time"]} == done
    assert here.user(JO)["lists"] == ["Gold"]


@pytest.mark.parametrize("text", ["email,a\njo@example.com,1\nnonsense,2\n", "a,Email\n1,jo@example.com\n2,nonsense\n"])
def test_an_import_reads_a_table_whose_columns_are_vars(bench, text):
    here = bench(job_polls=0)
    assert poll(here, upload(here, {"job": "import", "list": "Gold"}, text))["status"] == "completed"
    assert here.user(JO) == {"keys": {"email": JO}, "vars": {"a": "1"}, "lists": ["Gold"], "optout": "none"}
    assert here.vendor.state()["jobs"][0]["bad_rows"] == 1


def test_an_import_reads_addresses_one_a_line(bench):
    here = bench(job_polls=0)
    poll(here, upload(here, {"job": "import", "list": "Gold"}, f"{JO}\n\n{MO}\n"))
    assert here.emails() == [JO, MO]


def test_an_update_reads_a_change_a_line_over_one_for_all_and_counts_bad_lines(bench):
    here = bench(job_polls=0)
    lines = [{"id": JO, "key": "email", "vars": {"a": 1}}, {"email": MO, "lists": {"Gold": 1}}, {"id": "nonsense"}, [7]]
    text = "\n".join([*map(json.dumps, lines), "{broken"])
    job = upload(here, {"job": "update", "update": {"optout": "basic"}}, text)
    assert job == {"job_id": job["job_id"], "name": "Bulk Update", "update": [], "status": "pending"}
    assert poll(here, job)["status"] == "completed"
    assert {email: here.user(email)["optout"] for email in here.emails()} == {JO: "basic", MO: "basic"}
    assert (here.user(JO)["vars"], here.user(MO)["lists"]) == ({"a": 1}, ["Gold"])
    assert here.vendor.state()["jobs"][0]["bad_rows"] == 3


def test_jobs_start_no_flows(bench):
    here = bench(job_polls=0)
    poll(here, post(here, "job", job="import", list="Gold", emails=JO))
    poll(here, post(here, "job", job="update", emails=MO, update={"lists": {"Gold": 1}}))
    assert here.user(MO)["lists"] == ["Gold"]
    assert here.vendor.state()["flow_entries"] == []


def test_several_lists_are_erased_by_one_job(bench):
    here = bench(job_polls=0)
    post(here, "user", id=JO, lists={"Gold": 1, "Silver": 1, "New": 1})
    job = post(here, "job", job="list_erase", lists=["Gold", "Silver", "Unknown"])
    assert job["name"] == "Bulk List Erase: 3 requested"
    poll(here, job)
    assert (here.user(JO)["lists"], [one.name for one in here.vendor.lists.all]) == (["New"], ["New"])


@pytest.mark.parametrize(
    ("data", "refusal"),
    [
        ({}, error(400, 99, "Invalid job: None")),
        ({"job": "user_delete"}, error(400, 99, "Invalid job: user_delete")),
        ({"job": "import", "emails": JO}, error(400, 2, "Missing required parameter: list")),
        ({"job": "import", "list": "Gold"}, error(400, 99, "Exactly one of emails, url, file and query is required")),
        ({"job": "update"}, error(400, 99, "Exactly one of emails, url, file and query is required")),
        (
            {"job": "update", "emails": JO, "query": {}, "url": "https://example.com"},
            error(400, 99, "Exactly one of emails, url, file and query is required"),
        ),
    ],
)
def test_a_job_that_cannot_be_done_is_refused(bench, data, refusal):
    assert bench().ask("POST", "job", data) == refusal


def test_a_file_of_more_than_ten_megabytes_is_refused(bench):
    here = bench()
    assert upload(here, {"job": "update"}, "x" * 10_000_001)["errormsg"] == "The file is too large"
    assert upload(here, {"job": "update"}, "x" * 10_000_000)["status"] == "pending"


def test_a_job_that_nobody_began_is_unknown(bench):
    assert bench().ask("GET", "job", {"job_id": "j-1"}) == error(404, 99, "Invalid job_id")


def test_a_job_can_be_made_to_fail_and_changes_nothing(bench):
    here = bench(job_polls=0, job_fails=1)
    jobs = [post(here, "job", job="import", list="Gold", emails=email) for email in (JO, MO)]
    assert [poll(here, job)["status"] for job in jobs] == ["error", "completed"]
    assert here.emails() == [MO]


def test_only_so_many_jobs_run_at_once(bench):
    here = bench(job_polls=0, job_limit=1)
    first, second = (post(here, "job", job="import", list="Gold", emails=email) for email in (JO, MO))
    assert [poll(here, job)["status"] for job in (second, first, second)] == ["pending", "completed", "completed"]


class Listener(FakeVendor):
    """Somebody who waits to be told that a job ended."""

    def __init__(self) -> None:
        super().__init__()
        self.told = threading.Event()
        self.fields: dict[str, str] = {}

    def answer(self, request: Request) -> Answer:
        self.fields = request.form()
        self.told.set()
        return Answer(json={})


def test_the_end_of_a_job_is_posted_back_and_signed(bench):
    here, listener = bench(job_polls=0), Listener()
    with running(listener) as url:
        job = post(here, "job", job="import", list="Gold", emails=JO, postback_url=f"{url}/done")
        done = poll(here, job)
        assert listener.told.wait(10)
    sig = listener.fields.pop("sig")
    assert listener.fields == {**done, "api_key": "test-key"}
    assert here.fields({}, json=None, format=None, **listener.fields)["sig"] == sig
