"""Sailthru's own Python client against the fake: it signs, encodes, uploads and reads answers in its own way."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sailthru.sailthru_client import SailthruClient

JO, MO = "jo@example.com", "mo@example.com"


@pytest.fixture
def here(bench):
    return bench(job_polls=0)


@pytest.fixture
def client(here):
    """Its calls: ``client("get", "user", {…})`` is the status, the answer, and whether it is good."""

    def call(method: str, endpoint: str, data: Any, *more: Any, key: str = "test-key", secret: str = "test-secret"):
        made = SailthruClient(key, secret, here.url)
        answer = getattr(made, f"api_{method}")(endpoint, data, *more)
        return answer.get_status_code(), json.loads(answer.get_response().content), answer.is_ok()

    return call


def refused(status: int, code: int, message: str) -> tuple[int, dict[str, Any], bool]:
    return status, {"error": code, "errormsg": message}, False


@pytest.mark.parametrize(
    ("credentials", "answer"),
    [
        ({"key": "other"}, refused(401, 3, "Invalid API key: other")),
        ({"secret": "other"}, refused(401, 5, "Signature hash does not match")),
    ],
)
def test_wrong_credentials_are_told_apart(client, credentials, answer):
    assert client("get", "user", {"id": JO, "key": "email"}, **credentials) == answer


def test_a_user_who_is_not_there_is_400_to_look_up_and_404_to_delete(client):
    message = f"User not found with email: {JO}"
    assert client("get", "user", {"id": JO, "key": "email"}) == refused(400, 99, message)
    assert client("delete", "user", {"id": JO, "key": "email"}) == refused(404, 99, message)


def test_a_profile_keeps_what_it_is_given(client):
    variables = {"name": "Jörg ✓ 💛", "none": None, "nested": {"a": [1, {"b": False}]}, "number": 1.5}
    data = {"id": JO, "key": "email", "keys": {"extid": "c-1"}, "lists": {"Gold": 1}, "vars": variables}
    assert client("post", "user", data) == (200, {"ok": True}, True)
    fields = {"keys": 1, "vars": 1, "lists": 1}
    _, found, good = client("get", "user", {"id": "c-1", "key": "extid", "fields": fields})
    assert (found["vars"], [*found["lists"]], found["keys"]["email"], good) == (variables, ["Gold"], JO, True)


def test_an_address_changes_and_the_sid_stays_and_profiles_are_merged_if_that_is_asked_for(here, client):
    client("post", "user", {"id": JO, "key": "email", "vars": {"a": 1}})
    sid = here.sid(JO)
    rename = {"id": JO, "key": "email", "keys": {"email": "new@example.com"}, "keysconflict": "merge"}
    assert client("post", "user", rename) == (200, {"ok": True}, True)
    assert here.sid("new@example.com") == sid
    client("post", "user", {"id": MO, "key": "email", "vars": {"b": 2}})
    join = {"id": sid, "key": "sid", "keys": {"email": MO}}
    assert client("post", "user", {**join, "keysconflict": "error"})[0] == 409
    assert client("post", "user", {**join, "keysconflict": "merge"}) == (200, {"ok": True}, True)
    assert (here.emails(), here.user(MO)["vars"]) == ([MO], {"a": 1, "b": 2})


def test_events_lists_and_purchases(here, client):
    assert client("post", "event", {"id": JO, "event": "wishlist add"}) == (200, {"ok": True}, True)
    assert client("post", "event", {"id": JO, "event": "click"})[1]["error"] == 99
    assert client("get", "list", {"list": "Gold"}) == refused(404, 15, "Unknown list: Gold")
    assert client("post", "list", {"list": "Gold", "type": "normal"})[1]["type"] == "natural"
    assert client("get", "list", {"list": "Gold"})[1]["type"] == "normal"
    assert client("delete", "list", {"list": "Gold"}) == (200, {"list": "Gold", "ok": True}, True)
    item = {"qty": 2, "title": "Cup", "price": 999, "id": "sku-1", "url": "https://shop.example/cup"}
    status, bought, good = client("post", "purchase", {"email": JO, "items": [item]})
    assert (status, bought["purchase"]["qty"], bought["purchase"]["price"], good) == (200, 2, 1998, True)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaves its file open
@pytest.mark.parametrize("third", [(), (["file"],)], ids=["its path goes along", "it goes alone"])
def test_a_job_updates_by_a_file_and_starts_no_flow(here, client, tmp_path, third):
    file = tmp_path / "updates.json"
    file.write_text('{"id":"jo@example.com","key":"email","lists":{"Gold":1}}\n{"id":"mo@example.com"}\n')
    _, begun, _ = client("post", "job", {"job": "update", "file": str(file)}, *third)
    assert client("get", "job", {"job_id": begun["job_id"]})[1]["status"] == "completed"
    assert (sorted(here.emails()), here.user(JO)["lists"], here.vendor.users.flow_entries) == ([JO, MO], ["Gold"], [])


def test_a_job_imports_addresses(here, client):
    _, begun, _ = client("post", "job", {"job": "import", "list": "Gold", "emails": f"{JO},{MO}"})
    client("get", "job", {"job_id": begun["job_id"]})
    assert [here.user(email)["lists"] for email in (JO, MO)] == [["Gold"], ["Gold"]]


def test_erasure_methods_and_limits(here, client):
    client("post", "user", {"id": JO, "key": "email"})
    assert client("delete", "user", {"id": JO, "key": "email"}) == (200, {"ok": True}, True)
    assert client("get", "event", {}) == refused(405, 1, "Unsupported HTTP method: GET")
    here.vendor.configure({"limits": {"POST user": 1}})
    answer = client("post", "user", {"id": JO, "key": "email"})
    assert answer == refused(429, 43, "Too many POST requests this minute to /user API")
    made = SailthruClient("test-key", "test-secret", here.url)
    made.api_post("user", {"id": JO})
    told = made.get_last_rate_limit_info("user", "POST")
    assert (told["limit"], told["remaining"], told["reset"] % 60) == (1, 0, 0)
