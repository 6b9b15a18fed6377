"""The endpoint over a real socket: what is accepted, what is refused, and how each is answered."""

import gzip
import json
import socket
import time
from urllib.parse import urlsplit

import httpx
import pytest
import structlog
from support.postgres_server import QUOTED

from gateway.ingest.app import create
from gateway.settings import IngressSettings

pytestmark = [pytest.mark.timeout(120), pytest.mark.anyio]


def test_a_firehose_message_is_answered_with_its_typed_response_and_delivered(gateway, vendor, message):
    gateway.start()
    status, answer = gateway.post(message(1))
    assert (status, answer["type"], answer["id"]) == (200, "event_processing_response", message(1)["id"])
    gateway.wait(gateway.drained)
    assert [entry["body"]["events"]["Signup"]["transaction_id"] for entry in vendor.events()] == ["e-1-0"]


def test_an_events_batch_is_answered_with_its_ids(gateway):
    gateway.start()
    event = {"event_type": "custom_event", "data": {"event_name": "Signup"}}
    one = {"message_id": "m-1", "mpid": 42, "environment": "production", "events": [event]}
    assert gateway.post(one) == (202, {"accepted": ["m-1"]})
    assert gateway.post([one, {**one, "message_id": "m-2"}]) == (202, {"accepted": ["m-1", "m-2"]})
    gateway.wait(gateway.drained)
    assert gateway.facts()["loyalty", "received"] == 2


def test_a_repeated_message_is_answered_alike_and_sent_once(gateway, vendor, message):
    gateway.start()
    first, second = gateway.post(message(1)), gateway.post(message(1))
    assert (first[0], first[1]["id"]) == (second[0], second[1]["id"])
    gateway.wait(gateway.drained)
    assert len(vendor.events()) == 1


def test_batches_of_two_users_are_kept_apart_though_they_have_one_id(gateway):
    gateway.start()
    event = {"event_type": "custom_event", "data": {"event_name": "Signup"}}
    both = [{"message_id": "m-1", "mpid": mpid, "environment": "production", "events": [event]} for mpid in (1, 2)]
    assert [gateway.post(both), gateway.post(both)] == [(202, {"accepted": ["m-1", "m-1"]})] * 2
    gateway.wait(gateway.drained)
    assert gateway.facts()["loyalty", "received"] == 2


def test_a_compressed_message_is_taken(gateway, vendor, message):
    gateway.start()
    body = gzip.compress(json.dumps(message(1)).encode())
    assert gateway.post(body, **{"Content-Encoding": "gzip"})[0] == 200
    gateway.wait(gateway.drained)
    assert len(vendor.events()) == 1


def test_a_message_for_one_connection_goes_to_it_alone(gateway, message):
    gateway.start(more=OTHER.format(vendor=gateway.vendor))
    assert gateway.post(message(1), "/mparticle/loyalty")[0] == 200
    gateway.wait(gateway.drained)
    assert ("other", "received") not in gateway.facts()
    assert gateway.post(message(2), "/mparticle/nowhere") == (
        503,
        {"error": "no connection named 'nowhere' is configured"},
    )


def test_a_message_for_all_and_for_one_connection_is_two_batches_that_do_not_get_into_each_others_way(
    gateway, vendor, message
):
    gateway.start(role="ingest")
    for path in ("/mparticle", "/mparticle/loyalty"):
        assert gateway.post(message(1), path)[0] == 200
    gateway.stop()
    gateway.start(role="all")
    gateway.wait(gateway.drained)
    assert [entry["path"].rpartition("/")[2] for entry in vendor.journal].count("events") == 2
    assert gateway.facts()["loyalty", "delivered"] == gateway.facts()["loyalty", "received"]


OTHER = """
[connections.other]
plugin = "sessionm"
settings = {{ host = "{vendor}", api_key = "test-key", api_secret = "test-secret" }}
"""

DEEP = b'{"type":"event_processing_request","id":"1","x":' + b"[" * 10_000 + b"]" * 10_000 + b"}"
BAD = {
    "empty": (b"", 400),
    "truncated": (b'{"type":"event_processing_request","id":"1"', 400),
    "no UTF-8": (b'{"type":"event_processing_request","id":"\xff"}', 400),
    "nested too deeply": (DEEP, 400),
    "not a number": (b'{"events":[],"mpid":NaN}', 400),
    "two documents": (b'{"events":[]}\n{"events":[]}', 400),
    "no format": (b'{"hello":"world"}', 400),
    "a response": (b'{"type":"event_processing_response","id":"1"}', 400),
    "too large": (b'{"events":["' + b"x" * 1_048_576 + b'"]}', 413),
    "a bomb": (gzip.compress(b'{"events":["' + b"x" * 50_000_000 + b'"]}'), 413),
    "too many elements": (
        b'{"type":"audience_membership_change_request","id":"m","user_profiles":[' + b"1," * 400_000 + b"1]}",
        400,
    ),
    "too much to store": (
        b'{"type":"audience_membership_change_request","id":"%b","user_profiles":[%b1]}'
        % (b"x" * 10_000, b"1," * 9_000),
        413,
    ),
    "a wrong type": (b'{"type":"event_processing_request","id":"1","user_attributes":[1]}', 400),
}


def test_whatever_is_posted_has_its_answer_and_the_process_goes_on_serving(gateway, vendor, message):
    gateway.start()
    pid = gateway.children()["ingest"]
    answers = {}
    for name, (body, _) in BAD.items():
        headers = {"Content-Encoding": "gzip"} if name == "a bomb" else {}
        status, answer = gateway.post(body, **headers)
        answers[name] = status
        assert answer["error"], name
    assert answers == {name: status for name, (_, status) in BAD.items()}
    assert gateway.post(b"\x28\xb5\x2f\xfd", **{"Content-Encoding": "zstd"})[0] == 415
    refused = [json.loads(line)["status"] for line in gateway.log.splitlines() if "post refused" in line]
    assert refused == [*answers.values(), 415]
    assert gateway.post(message(1))[0] == 200
    gateway.wait(gateway.drained)
    assert (len(vendor.events()), gateway.children()["ingest"]) == (1, pid)
    assert gateway.memory_mb(pid) < 200


def test_duplicate_keys_are_taken_the_last_one_wins(gateway):
    gateway.start()
    body = (
        b'{"message_id":"m-1","message_id":"m-2","mpid":1,"mpid":2,"events":[{"event_type":"custom_event","data":{}}]}'
    )
    assert gateway.post(body) == (202, {"accepted": ["m-2"]})
    assert gateway.explain("mpid:2")
    assert not gateway.explain("mpid:1")


def test_a_hundred_megabytes_are_refused_without_being_read(gateway):
    gateway.start()
    parts = urlsplit(gateway.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as wire:
        head = "POST /mparticle HTTP/1.1\r\nhost: x\r\nauthorization: Token test\r\ncontent-length: 104857600\r\n\r\n"
        wire.sendall(head.encode() + b"{" * 1000)
        assert wire.recv(100).startswith(b"HTTP/1.1 413")


def test_a_body_without_a_length_is_cut_off_at_the_bound(gateway):
    gateway.start()
    parts = urlsplit(gateway.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as wire:
        head = "POST /mparticle HTTP/1.1\r\nhost: x\r\nauthorization: Token test\r\ntransfer-encoding: chunked\r\n\r\n"
        wire.sendall(head.encode())
        chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
        answer = b""
        for _ in range(100):
            try:
                wire.sendall(chunk)
            except OSError:
                break
        wire.settimeout(5)
        answer = wire.recv(100)
    assert answer.startswith(b"HTTP/1.1 413")
    assert gateway.get("/healthz")[0] == 200


@pytest.mark.parametrize("given", [None, "", "Token tesT", "token test", "Basic dGVzdA==", "Token test, Token test"])
def test_a_stranger_is_told_so_and_nothing_is_stored(gateway, message, given):
    gateway.start()
    headers = {} if given is None else {"Authorization": given}
    status, answer = gateway.request("POST", "/mparticle", json.dumps(message(1)), headers)
    assert (status, "Authorization" in json.loads(answer)["error"]) == (401, True)
    assert gateway.request("POST", "/mparticle", b"{nonsense", headers)[0] == 401
    assert gateway.facts() == {}


def test_registration_is_answered_to_anybody(gateway):
    gateway.start()
    request = {"type": "module_registration_request", "id": "r-1", "timestamp_ms": 1}
    status, answer = gateway.request("POST", "/mparticle", json.dumps(request))
    told = json.loads(answer)
    assert (status, told["type"], told["id"], told["name"]) == (200, "module_registration_response", "r-1", "SessionM")


def test_several_authorizations_work_at_once_while_rotating(gateway, message):
    gateway.start(token='Token old", "Token new')
    for number, token in enumerate(("Token old", "Token new")):
        body = json.dumps(message(number))
        assert gateway.request("POST", "/mparticle", body, {"Authorization": token})[0] == 200


def test_keep_alives_are_answered_and_store_nothing(gateway):
    gateway.start()
    ping = {"type": "audience_membership_change_request", "id": "p-1", "timestamp_ms": 1, "account": {"account_id": 1}}
    assert gateway.post(ping)[1]["type"] == "audience_membership_change_response"
    empty = {"type": "event_processing_request", "id": "p-2", "timestamp_ms": 1, "events": []}
    assert gateway.post(empty)[1]["type"] == "event_processing_response"
    assert gateway.post({}) == (202, {"accepted": []})
    assert gateway.facts() == {}


def test_other_methods_and_paths_have_their_answers(gateway):
    gateway.start()
    paths = ("/mparticle", "/nowhere", "/nowhere/", "/healthz", "/healthz/", "/readyz")
    assert [gateway.get(path)[0] for path in paths] == [405, 404, 404, 200, 404, 200]


@pytest.mark.parametrize("path", ["/mparticle/", "/mparticle/loyalty", "/mparticle/loyalty/"])
def test_a_slash_at_the_end_changes_nothing(gateway, message, path):
    gateway.start()
    assert gateway.post(message(1), path)[0] == 200


def test_a_large_message_is_taken_whole(gateway, vendor):
    gateway.start()
    batches = [{"message_id": f"m-{n}", "mpid": n, "user_attributes": {"a": "x" * 100}} for n in range(1, 1001)]
    status, answer = gateway.post([*batches, 5])
    assert (status, answer["accepted"]) == (202, [f"m-{n}" for n in range(1, 1001)])
    gateway.wait(gateway.drained, seconds=60)
    assert gateway.facts()["loyalty", "received"] == 1001


class Broken:
    """A journal with a fault of our own in it."""

    salt = b""

    async def accept(self, entries, connections, sealed):
        raise KeyError("Jo@Example.com")


async def test_a_fault_of_our_own_is_answered_503_and_logged_without_values():
    application = create(IngressSettings(anonymous=True), Broken(), {}, configured=frozenset({"loyalty"}))
    body = {"mpid": 1, "user_attributes": {"email": "Jo@Example.com"}}
    transport = httpx.ASGITransport(application)
    with structlog.testing.capture_logs() as logged:
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as mparticle:
            answer = await mparticle.post("/mparticle", json=body)
    assert (answer.status_code, answer.json()) == (503, {"error": "the gateway failed; try again"})
    assert answer.headers["retry-after"] == "5"
    (entry,) = logged
    assert (entry["event"], entry["kind"], entry["at"][-1].split()[-1]) == ("post failed", "KeyError", "accept")
    assert "Jo@" not in str(logged)


def test_a_body_that_does_not_come_is_answered_408_which_mparticle_repeats(gateway, message):
    gateway.start(ingress="read_timeout_s = 0.2")
    parts = urlsplit(gateway.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as wire:
        head = b"POST /mparticle HTTP/1.1\r\nhost: x\r\nauthorization: Token test\r\ncontent-length: 100\r\n\r\n"
        wire.sendall(head + b"{")
        assert wire.recv(65536).startswith(b"HTTP/1.1 408")
    assert gateway.post(message(1))[0] == 200


def test_a_post_that_is_not_admitted_is_logged_without_what_was_given(gateway, message):
    gateway.start()
    body = json.dumps(message(1)).encode()
    assert gateway.request("POST", "/mparticle", body, {"Authorization": "Token hush"})[0] == 401
    gateway.stop()
    refused = [json.loads(line) for line in gateway.log.splitlines() if "post refused" in line]
    assert [(entry["status"], "hush" in str(entry)) for entry in refused] == [(401, False)]


def test_nothing_configured_is_answered_503(gateway, message):
    gateway.start()
    gateway.stop()
    text = gateway.config.read_text()
    gateway.config.write_text(text[: text.index("[connections.loyalty]")])
    gateway.start_as_it_is()
    assert gateway.post(message(1)) == (503, {"error": "no connection is configured"})


def test_the_answer_is_durable_before_it_is_given(gateway, vendor, message):
    gateway.start()
    assert gateway.post(message(1))[0] == 200
    gateway.kill_all()
    gateway.start()
    gateway.wait(gateway.drained)
    assert {entry["body"]["events"]["Signup"]["transaction_id"] for entry in vendor.events()} == {"e-1-0"}


def test_no_credential_of_a_customer_reaches_the_disk_or_the_log(gateway, stored, message):
    gateway.start()
    gateway.post(message(1))
    gateway.wait(gateway.drained)
    gateway.stop()
    files = b"".join(path.read_bytes() for path in gateway.directory.iterdir() if path.name != "gateway.toml")
    written = files + stored()
    assert b"Signup" in written
    secrets = (b"hush-hush", b"test-secret", b"Token test", QUOTED.encode())
    assert [secret for secret in secrets if secret in written] == []


def test_a_slow_partner_does_not_delay_an_answer(gateway, vendor, message):
    vendor.configure({"latency_ms": 2_000})
    gateway.start()
    for number in range(50):
        gateway.post(message(number, user=100 + number))
    times = []
    for number in range(50, 100):
        before = time.perf_counter()
        gateway.post(message(number, user=100 + number))
        times.append(time.perf_counter() - before)
    assert sorted(times)[25] < 1


def test_the_log_has_one_entry_for_each_message_and_each_batch_delivered(gateway, message):
    gateway.start()
    gateway.post(message(1))
    gateway.wait(gateway.drained)
    gateway.stop()
    entries = [json.loads(line) for line in gateway.log.splitlines()]
    about = [e["event"] for e in entries if message(1)["id"] in (*e.get("ids", ()), e.get("message"))]
    assert about == ["accepted", "finished"]


def sends(vendor):
    return [entry["body"]["events"]["Signup"]["transaction_id"] for entry in vendor.events()]


NIL_IDS = [
    "00000000-0000-0000-0000-000000000000",
    "{00000000-0000-0000-0000-000000000000}",
    "00000000000000000000000000000000",
    "0",
    "null",
]


@pytest.mark.parametrize("id", NIL_IDS)
def test_messages_under_an_id_that_means_none_are_all_delivered(gateway, vendor, message, id):
    gateway.start()
    for number in (1, 2):
        assert gateway.post({**message(number), "id": id})[0] == 200
    gateway.wait(lambda: len(vendor.events()) == 2)
    assert sends(vendor) == ["e-1-0", "e-2-0"]


def test_an_id_used_for_other_content_is_delivered_counted_and_found_under_both_ids(gateway, vendor, message):
    gateway.start()
    first, other = message(1), {**message(2), "id": message(1)["id"]}
    for body in (first, other, first, other):
        assert gateway.post(body)[0] == 200
    gateway.wait(lambda: len(vendor.events()) == 2)
    gateway.wait(gateway.drained)
    assert sends(vendor) == ["e-1-0", "e-2-0"]
    found = sorted({row["message"] for row in gateway.explain(first["id"])})
    assert (found[0], found[1].partition(".")[0]) == (first["id"], first["id"])
    assert {row["message"] for row in gateway.explain(found[1])} == {found[1]}
    assert b"gateway_message_id_conflicts_total 1.0" in gateway.get("/metrics")[1]
    assert gateway.log.count("message id used for other content") == 1


def test_an_erasure_under_the_id_of_an_earlier_message_is_carried_out(gateway, email, message):
    gateway.start(more=email.connection)
    who = [{"type": "email", "encoding": "raw", "value": "mara@example.com"}]
    change = {"type": "user_attribute_change", "id": "c-1", "added": {"Colour": "red"}}
    gateway.post({**message(1, user_identities=who), "events": [change]})
    gateway.wait(lambda: len(email.users.profiles) == 1)
    erasure = {
        "type": "dsr_processing_request",
        "id": message(1)["id"],
        "timestamp_ms": 1_714_565_696_789,
        "firehose_version": "3.2.0",
        "subject_request_id": message(1)["id"],
        "subject_request_type": "erasure",
        "submitted_time": -1e300,
        "subject_identities": {"email": {"encoding": "raw", "value": "mara@example.com"}},
        "extensions": {"opendsr.mparticle.com": {"subject_identities": {"mpid": {"encoding": "raw", "value": "42"}}}},
    }
    assert gateway.post(erasure)[0] == 200
    gateway.wait(lambda: email.users.profiles == {})


ELSEWHERE = ["/", "/MPARTICLE", "//mparticle", "/mparticle/loyalty/more", "/events"]


@pytest.mark.parametrize("path", ELSEWHERE)
def test_a_post_to_a_path_that_nothing_listens_at_is_to_be_retried(gateway, message, path):
    gateway.start()
    status, answer = gateway.post(message(1), path)
    assert (status, "post to /mparticle" in answer["error"]) == (503, True)
    assert "nothing listens at the path" in gateway.log
    assert gateway.request("POST", path, b"{}")[0] == 401
    assert gateway.get("/nowhere")[0] == 404


REGISTRATION = {"type": "module_registration_request", "id": "r-1", "timestamp_ms": 1, "firehose_version": "3.2.0"}


def test_a_stranger_can_register_and_learns_nothing_else(gateway, message):
    gateway.start()

    def ask(body, path="/mparticle", **headers):
        status, answer = gateway.request("POST", path, body, headers)
        return status, json.loads(answer).get("error") or json.loads(answer)["id"]

    registration = json.dumps(REGISTRATION).encode()
    assert ask(registration) == ask(registration, "/mparticle/loyalty") == (200, "r-1")
    refused = ask(json.dumps(message(1)).encode())
    assert refused[0] == 401
    assert [
        ask(registration, "/mparticle/nobody"),
        ask(json.dumps(message(1)).encode(), "/mparticle/loyalty"),
        ask(json.dumps(message(1)).encode(), "/mparticle/nobody"),
        ask(gzip.compress(registration), **{"Content-Encoding": "gzip"}),
        ask(registration + b" " * 5_000),
        ask(b"no json"),
    ] == [refused] * 6
