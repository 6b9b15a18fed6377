"""One gateway, many customers: each message brings its own settings, and nobody is touched by another's trouble."""

import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from base64 import b64encode
from contextlib import closing

import pytest

from gateway.testing import running
from gateway.testing.vendor import Action, Fault, Match
from gateway_sessionm.fake import FakeSessionM

OLD_KEY, NEW_KEY, OTHER_KEY = (b64encode(letter * 32).decode() for letter in (b"o", b"n", b"x"))
SECRETS = {"key-ann": "hush-ann", "key-bob": "hush-bob"}
ROTATED = "hush-ann-rotated"
ANN, BOB = 7, 8
CONFIG = """
[ingress]
bind = "127.0.0.1:{port}"
authorization = ["Token test"]
[journal]
{journal}
[delivery]
retry_first_s = 0.05
retry_most_s = 0.5
pause_s = 0.3
[connections.loyalty]
plugin = "sessionm"
credentials = "account"
login_identities = []
[connections.loyalty.settings]
host = "{vendor}"
requests_per_second = 0
[connections.loyalty.filter]
new_data_points = true
{more}
"""


EITHER_ENGINE = pytest.mark.parametrize("engine", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])


@pytest.fixture
def engine():
    """One engine will do where the journal is not what is tested."""
    return "sqlite"


class Partner(FakeSessionM):
    def taken(self):
        """The users whose events were taken, in order."""
        events = [one for one in self.journal if one["path"].endswith("/events") and one["status"] == 200]
        return [one["body"]["events"]["Signup"]["transaction_id"].split("-")[1] for one in events]

    def rotate(self, secret):
        """Have Ann's secret be another one from now on."""
        self.configure({"apps": {**SECRETS, "key-ann": secret}})

    def refused(self):
        return sum(one["status"] == 401 for one in self.journal)


@pytest.fixture
def partner():
    fake = Partner(apps=dict(SECRETS), events=["Signup"], undefined_attribute="accept")
    with running(fake) as url:
        fake.url = url
        yield fake


@pytest.fixture
def host(gateway, partner, monkeypatch):
    """Start a hosted gateway: ``host(*sealing_keys)``."""

    def start(*keys, more=""):
        if keys:
            monkeypatch.setenv("GATEWAY_ACCOUNTS__SEALING_KEYS", json.dumps(keys))
        else:
            monkeypatch.delenv("GATEWAY_ACCOUNTS__SEALING_KEYS", raising=False)
        gateway.config.write_text(CONFIG.format(**{**gateway.fields, "vendor": partner.url, "more": more}))
        return gateway.start_as_it_is()

    return start


@pytest.fixture
def said(message):
    """A message of a customer's: ``said(number, account, key, secret)``."""

    def make(number, account=ANN, key="key-ann", secret="hush-ann", *, told_ms=1_714_565_696_789, **fields):
        settings = {"api_key": key, "api_secret": secret, "on_unknown_user": None, **fields.pop("settings", {})}
        account = {"account_id": account, "account_settings": settings}
        return {**message(number, **fields), "timestamp_ms": told_ms, "account": account}

    return make


def run(gateway, *arguments):
    command = [sys.executable, "-m", "gateway", *arguments, "-c", str(gateway.config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "300"})
    return done.returncode, done.stdout, done.stderr


def accounts(gateway):
    return {one["account"]: one for one in map(json.loads, run(gateway, "accounts", "--json")[1].splitlines())}


@EITHER_ENGINE
def test_each_customers_data_goes_out_with_their_own_credentials(gateway, host, partner, said):
    host(NEW_KEY)
    for number in range(6):
        whose = (ANN, "key-ann", "hush-ann") if number % 2 else (BOB, "key-bob", "hush-bob")
        assert gateway.post(said(number, *whose, user=100 + number))[0] == 200
    gateway.wait(gateway.drained)
    assert (sorted(partner.taken()), partner.refused()) == ([str(number) for number in range(6)], 0)
    assert {row["connection"] for number in range(6) for row in gateway.explain(f"e-{number}-0")} == {
        "loyalty/7",
        "loyalty/8",
    }
    facts = {account: (one["received"], one["delivered"], one["trouble"]) for account, one in accounts(gateway).items()}
    assert facts == {"7": (6, 6, ""), "8": (6, 6, "")}
    assert {connection for connection, _ in gateway.facts()} == {"loyalty"}


@EITHER_ENGINE
def test_one_customers_refused_credentials_pause_that_customer_alone(gateway, host, partner, said):
    host(NEW_KEY)
    for number in range(3):
        gateway.post(said(number, ANN, "key-ann", "hush-wrong", user=100 + number))
    gateway.wait(lambda: accounts(gateway)["7"]["trouble"])
    before = partner.refused()
    for number in range(3, 23):
        gateway.post(said(number, BOB, "key-bob", "hush-bob", user=100 + number))
    gateway.wait(lambda: len(partner.taken()) == 20)
    assert sorted(partner.taken(), key=int) == [str(number) for number in range(3, 23)]
    assert partner.refused() - before < 20  # one call at a time looks whether Ann's are accepted by now
    status, shown, _ = run(gateway, "accounts")
    assert (status, bool(re.search(r"loyalty/7 .*refused: ", shown))) == (1, True)
    (row,) = gateway.explain("e-0-0")
    assert (row["state"] in ("waiting", "in_hand"), row["trouble"][:8]) == (True, "refused:")
    assert gateway.facts()["loyalty", "delivered"] == 40


@EITHER_ENGINE
def test_a_rotated_password_releases_what_waits(gateway, host, partner, said):
    host(NEW_KEY)
    gateway.post(said(1))
    gateway.wait(gateway.drained)
    partner.rotate(ROTATED)
    gateway.post(said(2, user=43))
    gateway.wait(lambda: accounts(gateway)["7"]["trouble"])
    gateway.post(said(3, secret=ROTATED, user=44, told_ms=1_714_565_696_790))
    gateway.wait(gateway.drained)
    assert sorted(partner.taken()) == ["1", "2", "3"]
    assert accounts(gateway)["7"]["trouble"] == ""
    gateway.post(
        said(4, secret="hush-ann", user=45, told_ms=1_714_565_696_700)
    )  # repeated late, with what was true then
    gateway.wait(gateway.drained)
    assert sorted(partner.taken()) == ["1", "2", "3", "4"]


def test_credentials_that_are_put_right_at_the_partner_are_found_to_be(gateway, host, partner, said):
    host(NEW_KEY)
    gateway.post(said(1, secret="hush-later"))
    gateway.wait(lambda: accounts(gateway)["7"]["trouble"])
    partner.rotate("hush-later")
    gateway.wait(gateway.drained)
    gateway.wait(lambda: not accounts(gateway)["7"]["trouble"])


def test_an_audience_of_a_customer_whose_credentials_are_refused_is_suspended(gateway, host, partner, said):
    host(NEW_KEY)

    def answer(number, **of):
        profile = {"mpid": "42", "audiences": [{"audience_id": 5, "audience_name": "A", "action": "add"}]}
        asked = {**said(number, **of), "type": "audience_membership_change_request", "user_profiles": [profile]}
        status, body = gateway.post(asked)
        assert (status, body["type"]) == (200, "audience_membership_change_response")
        return body["suspend_subscription"]

    assert answer(1, secret="hush-wrong") is False
    gateway.post(said(2, secret="hush-wrong"))
    gateway.wait(lambda: accounts(gateway)["7"]["trouble"])
    assert answer(3, secret="hush-wrong") is True
    assert answer(4, account=BOB, key="key-bob", secret="hush-bob") is False
    assert answer(5, secret="hush-ann", told_ms=1_714_565_696_790) is False
    gateway.wait(lambda: not accounts(gateway)["7"]["trouble"])
    assert answer(6, secret="hush-ann", told_ms=1_714_565_696_791) is False


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"api_key": None}, "account 7.api_key: Field required"),
        ({"api_key": "key: odd-value"}, "account 7.api_key: api_key must not hold a colon"),
        ({"event_mappings": "{odd-value"}, "account 7: event_mappings: not JSON"),
        ({"no_such": "odd-value"}, "account 7.no_such: no such setting"),
        ({"on_unknown_user": "odd-value"}, "account 7.on_unknown_user: Input should be 'create' or 'skip'"),
    ],
)
def test_settings_that_cannot_be_used_are_named_and_never_shown_and_the_work_is_kept(
    gateway, host, partner, said, settings, problem
):
    host(NEW_KEY)
    gateway.post(said(1, settings=settings))
    gateway.post(said(2, BOB, "key-bob", "hush-bob", user=43))
    gateway.wait(lambda: accounts(gateway)["7"]["trouble"])
    gateway.wait(lambda: partner.taken() == ["2"])
    trouble = accounts(gateway)["7"]["trouble"]
    assert trouble.startswith(problem)
    assert gateway.explain("e-1-0")[0]["trouble"] == trouble
    assert f"{trouble}; goes on once a message brings other settings" in run(gateway, "explain", "e-1-0")[1]
    assert trouble in run(gateway, "status", "--over", "0")[1]
    assert problem in gateway.log
    assert "odd-value" not in gateway.log + trouble
    gateway.post(said(3, user=44, told_ms=1_714_565_696_790))
    gateway.wait(gateway.drained)
    assert sorted(partner.taken()) == ["1", "2", "3"]


def test_settings_that_the_file_gives_stay_as_it_says_and_others_are_read_as_mparticle_sends_them(
    gateway, host, partner, said
):
    host(NEW_KEY)
    brought = {
        "host": "https://evil.example",
        "sessionm.event_mappings": '{"Signup": "Signup"}',
        "erasure_identities": '["customer_id"]',
        "sailthru.api_key": "of another plugin",
        "user_tag_value": "",
        "requests_in_flight": "2",
    }
    gateway.post(said(1, settings=brought))
    gateway.wait(gateway.drained)
    assert partner.taken() == ["1"]


@pytest.mark.parametrize(
    "host_name",
    ["http://127.0.0.1:1", "https://169.254.169.254", "https://vault.internal", "https://[64:ff9b::a9fe:a9fe]"],
)
def test_no_customer_can_have_the_gateway_call_what_is_within_our_own_walls(
    gateway, partner, said, monkeypatch, host_name
):
    monkeypatch.setenv("GATEWAY_ACCOUNTS__SEALING_KEYS", json.dumps([NEW_KEY]))
    text = CONFIG.format(**{**gateway.fields, "vendor": "", "more": ""})
    gateway.config.write_text(text.replace('host = ""\n', ""))
    gateway.start_as_it_is()
    gateway.post(said(1, settings={"host": host_name}))
    gateway.wait(lambda: accounts(gateway)["7"]["trouble"])
    assert accounts(gateway)["7"]["trouble"] == "account 7: the destination must be a public address"


def test_what_comes_without_an_account_is_skipped_and_says_why(gateway, host, partner, said, email):
    host(NEW_KEY, more=email.connection)
    batch = {"mpid": 5, "message_id": "b-1", "user_identities": {"email": "jo@example.com"}, "events": []}
    batch["events"] = [{"event_type": "custom_event", "data": {"event_name": "Signup", "custom_event_type": "other"}}]
    assert gateway.post(batch)[0] == 202
    without = said(1)
    del without["account"]
    gateway.post(without)
    gateway.wait(lambda: gateway.drained() and gateway.drained("email"))
    for id in ("b-1", without["id"]):
        (row,) = [row for row in gateway.explain(id) if row["connection"] == "loyalty"]
        words = {(fact["word"], fact["reason"], fact["cause"]) for fact in row["facts"]}
        assert words == {("skipped", "no_account", "connections.loyalty.credentials")}
    assert [row["connection"] for row in gateway.explain("b-1")] == ["email", "loyalty"]
    assert ("email", "delivered") in gateway.facts()
    assert gateway.log.count("message without an account") == 2


def test_posts_to_the_connection_alone_are_told_apart_by_account_too(gateway, host, partner, said, email):
    host(NEW_KEY, more=email.connection)
    gateway.post(said(1), path="/mparticle/loyalty")
    gateway.post(said(2, BOB, "key-bob", "hush-bob", user=43), path="/mparticle/loyalty")
    gateway.wait(lambda: len(partner.taken()) == 2)
    gateway.post(said(3), path="/mparticle/email")
    gateway.wait(lambda: gateway.drained("email"))
    connections = [row["connection"] for number in (1, 2, 3) for row in gateway.explain(f"e-{number}-0")]
    assert connections == ["loyalty/7", "loyalty/8", "email"]


@EITHER_ENGINE
def test_an_erasure_reaches_the_data_of_its_own_customer_and_nobody_elses(gateway, host, partner, said):
    host(NEW_KEY)
    identities = [{"type": "email", "encoding": "raw", "value": "jo@example.com"}]
    gateway.post(said(1, user=42, user_identities=identities))
    gateway.post(said(2, BOB, "key-bob", "hush-bob", user=42, user_identities=identities))
    gateway.wait(gateway.drained)
    account = said(3)["account"]
    asked = {
        "type": "dsr_processing_request",
        "id": "00000000-0000-4000-9000-000000000003",
        "timestamp_ms": 1_714_565_696_789,
        "account": account,
        "subject_request_id": "r-3",
        "subject_request_type": "erasure",
        "subject_identities": {"email": {"encoding": "raw", "value": "jo@example.com"}},
        "extensions": {"opendsr.mparticle.com": {"subject_identities": {"mpid": {"value": "42"}}}},
    }
    gateway.post(asked)
    gateway.wait(gateway.drained)
    assert [gateway.explain(f"e-{number}-0")[0]["document"] for number in (1, 2)] == ["removed", "kept"]
    late = said(4, BOB, "key-bob", "hush-bob", user=42)
    late["events"][0]["timestamp_ms"] = 1
    gateway.post(late)
    gateway.wait(gateway.drained)
    assert "4" in partner.taken()


@EITHER_ENGINE
def test_keys_are_rotated_without_a_message_lost(gateway, host, partner, said):
    host(OLD_KEY)
    gateway.post(said(1, secret="hush-wrong"))
    gateway.wait(lambda: accounts(gateway)["7"]["trouble"])
    assert gateway.stop() == 0
    before = partner.refused()
    host(NEW_KEY, OLD_KEY)
    gateway.wait(lambda: partner.refused() > before)  # by then everything has been sealed anew
    assert gateway.stop() == 0
    partner.rotate("hush-wrong")
    host(NEW_KEY)
    gateway.wait(gateway.drained)
    assert partner.taken() == ["1"]
    gateway.wait(lambda: not accounts(gateway)["7"]["trouble"])


def test_without_the_key_nothing_is_sent_or_lost_and_check_says_whose_settings_are_locked(gateway, host, partner, said):
    host(OLD_KEY)
    gateway.post(said(1, secret="hush-wrong"))
    gateway.wait(lambda: accounts(gateway)["7"]["trouble"])
    assert gateway.stop() == 0
    host(OTHER_KEY)
    locked = "sealed with a key that is not among accounts.sealing_keys"
    gateway.wait(lambda: locked in accounts(gateway)["7"]["trouble"])
    assert run(gateway, "check")[::2] == (1, f"gateway: account loyalty/7: {locked}\n")
    partner.rotate("hush-wrong")
    gateway.post(said(2, secret="hush-wrong", user=43))  # mParticle brings the settings again, now sealed with this key
    gateway.wait(gateway.drained)
    assert sorted(partner.taken()) == ["1", "2"]
    assert run(gateway, "check")[0] == 0


@pytest.mark.parametrize("how", ["changed", "another customer's"])
def test_sealed_settings_that_somebody_tampered_with_are_not_used(gateway, host, partner, said, how):
    host(NEW_KEY)
    gateway.post(said(1, secret="hush-wrong"))
    gateway.post(said(2, BOB, "key-bob", "hush-bob", user=43))
    gateway.wait(lambda: accounts(gateway)["7"]["trouble"] and "2" in partner.taken())
    assert gateway.stop() == 0
    with closing(sqlite3.connect(gateway.directory / "gateway.db")) as database:
        sealed = dict(database.execute("SELECT connection, sealed FROM accounts"))
        put = sealed["loyalty/8"] if how != "changed" else sealed["loyalty/7"][:-1] + b"\0"
        database.execute("UPDATE accounts SET sealed = ? WHERE connection = 'loyalty/7'", (put,))
        database.commit()
    host(NEW_KEY)
    gateway.wait(lambda: "changed since it was sealed" in accounts(gateway)["7"]["trouble"])
    assert "changed since it was sealed" in run(gateway, "check")[2]
    assert partner.taken() == ["2"]


def test_a_missing_or_odd_sealing_key_is_told_and_the_gateway_does_not_start(gateway, host, partner, monkeypatch):
    host(NEW_KEY)
    assert gateway.stop() == 0
    monkeypatch.delenv("GATEWAY_ACCOUNTS__SEALING_KEYS")
    for command in ("check", "serve"):
        status, _, problem = run(gateway, command)
        assert (status, problem.startswith("gateway: accounts.sealing_keys: is empty")) == (1, True)
    monkeypatch.setenv("GATEWAY_ACCOUNTS__SEALING_KEYS", '["hush-short"]')
    status, _, problem = run(gateway, "check")
    assert (status, "accounts.sealing_keys.0: must be 32 bytes in base64" in problem) == (1, True)
    assert "hush-short" not in problem


def test_check_names_what_is_wrong_in_the_file_and_says_what_accounts_bring(gateway, host, partner):
    host(NEW_KEY)
    _, shown, _ = run(gateway, "check")
    assert re.search(
        r"each account brings: api_key, api_secret, audience_attributes, erasure_identities, event_mappings,", shown
    )
    text = gateway.config.read_text()
    gateway.config.write_text(text.replace("requests_per_second = 0", 'requests_per_second = -1\nhots = "x"'))
    _, _, problem = run(gateway, "check")
    assert {line.partition(": ")[2].partition(":")[0] for line in problem.splitlines()} == {
        "connections.loyalty.settings.requests_per_second",
        "connections.loyalty.settings.hots",
    }


def test_registration_asks_customers_for_what_the_file_leaves_open(gateway, host, partner, email):
    host(NEW_KEY, more=email.connection)
    ids = {}
    for name in ("loyalty", "email", "sailthru"):
        document = json.loads(run(gateway, "registration", name)[1])
        ids[name] = {one["id"] for one in document["event_processing_registration"]["account_settings"]}
    assert {"api_key", "api_secret", "event_mappings"} <= ids["loyalty"]
    assert ids["loyalty"].isdisjoint({"host", "requests_per_second"})
    assert (ids["email"], {"api_key", "base_url"} <= ids["sailthru"]) == (set(), True)
    _, body = gateway.request("POST", "/mparticle", json.dumps({"type": "module_registration_request", "id": "r"}))
    both = json.loads(body)["event_processing_registration"]["account_settings"]
    assert {one["id"] for one in both} == {f"sessionm.{id}" for id in ids["loyalty"]}


def test_preview_uses_the_settings_that_the_message_brings_and_hides_them(gateway, host, partner, said, tmp_path):
    host(NEW_KEY)
    (tmp_path / "message.json").write_text(json.dumps(said(1)))
    _, shown, _ = run(gateway, "preview", str(tmp_path / "message.json"), "--json")
    calls = [json.loads(line) for line in shown.splitlines()]
    assert {(one["connection"], one["kind"]) for one in calls} == {("loyalty/7", "call")}
    assert ("hush-ann" in shown, "key-ann" in shown) == (False, False)
    (tmp_path / "message.json").write_text(json.dumps({"mpid": 1, "user_attributes": {"Colour": "red"}}))
    _, shown, _ = run(gateway, "preview", str(tmp_path / "message.json"), "--json")
    assert [json.loads(line)["reason"] for line in shown.splitlines()] == ["no_account"]
    (tmp_path / "message.json").write_text(json.dumps(said(1, settings={"api_secret": None})))
    status, _, problem = run(gateway, "preview", str(tmp_path / "message.json"))
    assert (status, problem) == (1, "gateway: account 7.api_secret: Field required\n")


@EITHER_ENGINE
def test_no_secret_is_found_anywhere_that_the_gateway_writes(gateway, host, partner, said, tmp_path, stored):
    host(NEW_KEY)
    gateway.post(said(1))
    gateway.post(said(2, secret="hush-wrong", user=43, told_ms=1_714_565_696_790))
    gateway.post(said(3, settings={"api_key": "key-odd:hush-in-a-key"}, user=44, account=9))
    gateway.post(said(4, user=45, account=0))
    gateway.post({**said(5, user=46), "events": "hush-in-a-body"})
    gateway.wait(lambda: accounts(gateway)["7"]["trouble"] and accounts(gateway)["9"]["trouble"])
    seen = "".join(gateway.get(path)[1].decode() for path in ("/metrics", "/readyz"))
    for arguments in (("accounts",), ("explain", "e-2-0", "--json"), ("explain", "43"), ("check",)):
        seen += "".join(run(gateway, *arguments)[1:])
    time.sleep(0.2)
    os.kill(gateway.children()["dispatch"], 9)  # nothing is tidied up before we look
    gateway.kill_all()
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert "serve.log" in written
    everything = seen.encode() + stored() + b"".join(written.values())
    assert b"Colour" in everything
    secrets = [*SECRETS, *SECRETS.values(), "hush", NEW_KEY, "key-odd", "n" * 32]
    assert [secret for secret in secrets if secret.encode() in everything] == []


@EITHER_ENGINE
def test_a_customers_facts_are_replayed_with_their_own_credentials(gateway, host, partner, said):
    host(NEW_KEY)
    partner.faults.append(Fault(action=Action(status=400), match=Match(path_regex="/events$"), times=10**6))
    gateway.post(said(1, ANN, "key-ann", "hush-ann", user=101))
    gateway.post(said(2, BOB, "key-bob", "hush-bob", user=102))
    gateway.wait(gateway.drained)
    partner.faults.clear()
    survey = json.loads(run(gateway, "replay", "--connection", "loyalty", "--json")[1])
    assert [row["connection"] for row in survey["selected"]] == ["loyalty/7", "loyalty/8"]
    assert [row["connection"] for row in survey["calls"]] == ["loyalty/7", "loyalty/8"]
    assert "hush" not in json.dumps(survey)
    assert run(gateway, "replay", "--connection", "loyalty/8", "--yes")[0] == 0
    gateway.wait(gateway.drained)
    assert (partner.taken(), partner.refused()) == (["2"], 0)
    assert run(gateway, "replay", "--connection", "loyalty", "--yes")[0] == 0
    gateway.wait(gateway.drained)
    assert (partner.taken(), partner.refused()) == (["2", "1"], 0)
