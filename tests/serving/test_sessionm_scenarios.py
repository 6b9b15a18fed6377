"""What a SessionM engineer would try: each scenario through a real gateway, over real sockets, to the fake.

Most share one gateway that stands for the whole module, each with a user of its own, whom the fake calls ME.
"""

import json
import time
from contextlib import ExitStack
from itertools import count

import pytest
from click.testing import CliRunner

from gateway.cli import main
from gateway.testing import running
from gateway.testing.vendor import Action, Fault, Match
from gateway_sessionm.fake import FakeSessionM

HERE = "/priv/v1/apps/KEY/"
CUSTOMER = [{"type": "customer", "encoding": "raw", "value": "c-1"}]
OPTIONS = {
    "apps": {"test-key": "test-secret"},
    "events": ["Signup", "Level", "Home"],
    "attributes": {},
    "undefined_attribute": "accept",
    "error_transport": "documented",
}
MPIDS = count(1000)


class Watched(FakeSessionM):
    """A fake SessionM that also notes when each request came."""

    url = ""
    mpid = ""

    def record(self, request, answer):
        return {**super().record(request, answer), "at": time.monotonic()}

    def steps(self):
        """Every request so far: method, path below the application, status, and the error where there is one."""
        return [
            " ".join(filter(None, (one["method"], self.at(one), str(one["status"]), one["error"])))
            for one in self.journal
        ]

    def at(self, one):
        """Where a request went."""
        return one["path"].removeprefix(HERE).replace(f"external/users/{self.mpid}", "ME")

    def list_users(self):
        """Everybody stored: their external ids with types, the fields that have a value, and the profile."""
        return [
            (
                {one["external_id"].replace(self.mpid, "ME"): one["external_id_type"] for one in user["identifiers"]},
                {name: user[name] for name in ("email", "first_name", "city") if user[name] is not None},
                {name: value for name, value in user["user_profile"].items() if name != "_version"},
            )
            for user in self.state()["users"]
        ]

    def sent(self):
        """The events stored: name and transaction id."""
        return [(one["name"], one["transaction_id"]) for one in self.state()["events"]]

    def spoil(self, method, path_regex, *, times=1, **action):
        """Queue a fault."""
        match = Match(method=method, path_regex=path_regex)
        self.faults.append(Fault(match=match, times=times, action=Action(**action)))

    def knows(self, **user):
        """Store a user, by default the one that the messages are about, and say nothing of it in the journal."""
        given = {"external_id": self.mpid, "external_id_type": "mparticle_mpid", **user}
        self.seed({"users": [given]})


@pytest.fixture
def engine():
    return "sqlite"


@pytest.fixture
def mpid():
    """A user whom no other test is about."""
    return str(next(MPIDS))


@pytest.fixture
def vendor(mpid):
    """A fake for this test alone."""
    fake = Watched(**OPTIONS)
    with running(fake) as url:
        fake.url, fake.mpid = url, mpid
        yield fake


@pytest.fixture(scope="module")
def standing(tmp_path_factory):
    """Where the fake and the gateway for most tests are kept, once the first of them has started these."""
    with ExitStack() as stack:
        fake = Watched(**OPTIONS)
        fake.url = stack.enter_context(running(fake))
        yield {"fake": fake, "directory": tmp_path_factory.mktemp("standing"), "stack": stack}


@pytest.fixture
def sessionm(standing, mpid):
    """The fake of the standing gateway, empty."""
    fake = standing["fake"]
    fake.reset()
    fake.configure(OPTIONS)
    fake.mpid = mpid
    return fake


@pytest.fixture
def shared(standing, gateway, sessionm):
    """The standing gateway, with everything switched on."""
    if "gateway" not in standing:
        made = type(gateway)(standing["directory"], sessionm.url)
        standing["stack"].callback(lambda: made.kill_all())
        standing["gateway"] = made.start()
    return standing["gateway"]


@pytest.fixture
def message(message, mpid):
    """A Firehose message about this test's user."""

    def make(number=1, *, user=mpid, **fields):
        return {**message(number, user=user, **fields), "id": f"00000000-0000-4000-8000-{int(mpid):08d}{number:04d}"}

    return make


def event(name, id, **attributes):
    return {
        "type": "custom_event",
        "id": id,
        "timestamp_ms": 1_714_565_696_789,
        "name": name,
        "attributes": attributes,
    }


def told(gateway, message, id=None):
    """What ``gateway explain`` says of each fact of a message: word, reason, and what was left out."""
    done = CliRunner().invoke(main, ["explain", id or message["id"], "-c", str(gateway.config), "--json"])
    (row,) = map(json.loads, done.stdout.splitlines())
    return {
        fact["fact"]: (fact["word"], fact["reason"], [(one["what"], one["reason"]) for one in fact["left_out"]])
        for fact in row["facts"]
    }


DELIVERED = ("delivered", "", [])


def test_scenario_1_a_new_user_is_written_to_then_created_then_gets_their_events(shared, sessionm, message):
    shared.post(message(1))
    shared.wait(shared.drained)
    assert sessionm.steps() == [
        "PUT ME 404 user_not_found",
        "POST users 200",
        "POST ME/events 200",
    ]
    assert sessionm.list_users() == [({"ME": "mparticle_mpid"}, {}, {"Colour": "red"})]
    assert sessionm.sent() == [("Signup", "e-1-0")]


def test_scenario_2_a_user_known_by_customer_id_alone_gets_the_mpid_and_no_double(shared, sessionm, message):
    sessionm.knows(external_id="c-1", external_id_type="customer_id", id="5e55", first_name="Jo")
    shared.post(message(1, user_identities=CUSTOMER))
    shared.wait(shared.drained)
    assert sessionm.steps() == [
        "PUT ME 404 user_not_found",
        "GET external/users/c-1 200",
        "PUT users/5e55 200",
        "POST ME/events 200",
    ]
    assert sessionm.list_users() == [
        ({"c-1": "customer_id", "ME": "mparticle_mpid"}, {"first_name": "Jo"}, {"Colour": "red"}),
    ]


@pytest.mark.parametrize("error_transport", ["documented", "all200"])
def test_scenario_3_errors_inside_status_200_come_to_the_same(shared, sessionm, message, error_transport):
    sessionm.configure({"error_transport": error_transport})
    sessionm.knows(external_id="c-1", external_id_type="customer_id")
    new, linked = message(1, user=41), message(2, user_identities=CUSTOMER)
    new["events"] = [event("Unheard Of", "u-1"), event("Signup", "s-1")]
    for one in (new, linked):
        shared.post(one)
    shared.wait(shared.drained)
    assert sorted(sessionm.list_users(), key=str) == [
        ({"41": "mparticle_mpid"}, {}, {"Colour": "red"}),
        ({"c-1": "customer_id", "ME": "mparticle_mpid"}, {}, {"Colour": "red"}),
    ]
    assert sorted(sessionm.sent()) == [("Signup", "e-2-0"), ("Signup", "s-1")]
    assert told(shared, new) == {"attributes": DELIVERED, "u-1": ("dead", "undefined_event", []), "s-1": DELIVERED}
    assert told(shared, linked) == {"identities": DELIVERED, "attributes": DELIVERED, "e-2-0": DELIVERED}


def test_scenario_4_a_wrong_secret_is_alerted_once_and_loses_nothing(gateway, vendor, message, monkeypatch):
    monkeypatch.setenv("GATEWAY_DELIVERY__PAUSE_S", "4")
    gateway.start(secret="test-wrong")
    for number in range(3):
        gateway.post(message(number))
    gateway.wait(lambda: "connection refused" in gateway.log)
    assert gateway.stop() == 0
    assert vendor.steps() == ["PUT ME 401 access_denied"]
    alerts = [line for line in map(json.loads, gateway.log.splitlines()) if line["level"] == "error"]
    assert [(one["event"], one["connection"], one["reason"]) for one in alerts] == [
        ("connection refused", "loyalty", "access_denied")
    ]
    (row,) = gateway.explain(message(2)["id"])
    assert (row["state"], row["attempts"], row["reason"]) == ("waiting", 0, "refused: access_denied")
    gateway.start(secret="test-secret")
    gateway.wait(gateway.drained)
    assert vendor.sent() == [("Signup", f"e-{number}-0") for number in range(3)]
    assert gateway.facts()["loyalty", "delivered"] == 6


def test_scenario_5_503_twice_and_then_fine_is_delivered_once(shared, sessionm, message):
    sessionm.knows()
    sessionm.spoil("POST", "/events$", times=2, status=503)
    shared.post(message(1))
    shared.wait(shared.drained)
    assert sessionm.steps() == [
        "PUT ME 200",
        "POST ME/events 503",
        "POST ME/events 503",
        "POST ME/events 200",
    ]
    assert sessionm.sent() == [("Signup", "e-1-0")]


def test_scenario_6_429_waits_as_long_as_it_says(shared, sessionm, message):
    sessionm.knows()
    sessionm.spoil("PUT", sessionm.mpid, status=429, headers={"retry-after": "2"})
    shared.post(message(1))
    shared.wait(shared.drained)
    assert sessionm.steps() == ["PUT ME 429", "PUT ME 200", "POST ME/events 200"]
    complaint, again = (one["at"] for one in sessionm.journal[:2])
    assert 2 <= again - complaint < 4


def test_scenario_7_an_event_that_was_stored_before_the_line_broke_is_stored_once(shared, sessionm, message):
    sessionm.knows()
    sessionm.spoil("POST", "/events$", close=True, after=True)
    shared.post(message(1))
    shared.wait(shared.drained)
    posted = [one for one in sessionm.journal if one["path"].endswith("/events")]
    assert [one["body"]["events"]["Signup"]["transaction_id"] for one in posted] == ["e-1-0", "e-1-0"]
    assert posted[1]["duplicate"] == ["Signup"]
    assert sessionm.sent() == [("Signup", "e-1-0")]
    assert told(shared, message(1)) == {"attributes": DELIVERED, "e-1-0": DELIVERED}


def test_scenario_8_an_undefined_event_is_dead_alone(shared, sessionm, message):
    sessionm.knows()
    one = message(1)
    one["events"] = [event("Signup", "s-1"), event("Unheard Of", "u-1"), event("Level", "l-1")]
    shared.post(one)
    shared.wait(shared.drained)
    assert sessionm.sent() == [("Signup", "s-1"), ("Level", "l-1")]
    assert told(shared, one) == {
        "attributes": DELIVERED,
        "s-1": DELIVERED,
        "u-1": ("dead", "undefined_event", []),
        "l-1": DELIVERED,
    }


def test_scenario_9_of_twelve_attributes_the_first_ten_arrive(shared, sessionm, message):
    sessionm.knows()
    attributes = {f"a{number}": str(number) for number in range(12, 0, -1)}
    one = message(1)
    one["events"] = [event("Signup", "twelve", **attributes)]
    shared.post(one)
    shared.wait(shared.drained)
    (stored,) = sessionm.state()["events"]
    assert list(stored["context"].items()) == list(attributes.items())[:10]
    assert told(shared, one, "twelve") == {
        "attributes": DELIVERED,
        "twelve": ("delivered", "", [("a2", "over_limit"), ("a1", "over_limit")]),
    }


def test_scenario_10_of_230_attributes_the_request_holds_200(shared, sessionm, message):
    sessionm.knows()
    attributes = {f"a{number}": "v" for number in range(229)} | {"$City": "Rome"}
    one = message(1, user_attributes=attributes, events=0)
    shared.post(one)
    shared.wait(shared.drained)
    (written,) = sessionm.journal
    assert written["body"] == {
        "user": {"city": "Rome", "user_profile": {f"a{number}": "v" for number in range(199)}},
    }
    left_out = [(f"a{number}", "over_limit") for number in range(199, 229)]
    assert told(shared, one) == {"attributes": ("delivered", "", left_out)}


def test_scenario_11_a_wrong_casing_shows_at_sessionm_and_is_no_error(shared, sessionm, message):
    sessionm.configure({"attributes": {"Colour": {}}, "undefined_attribute": "ignore"})
    sessionm.knows()
    shared.post(message(1, user_attributes={"colour": "red", "Colour": "blue"}, events=0))
    shared.wait(shared.drained)
    (written,) = sessionm.journal
    assert written["ignored_attributes"] == ["colour"]
    assert sessionm.list_users() == [({"ME": "mparticle_mpid"}, {}, {"Colour": "blue"})]
    assert told(shared, message(1)) == {"attributes": DELIVERED}


def test_scenario_12_a_full_profile_takes_what_it_has_room_for_and_is_no_error(shared, sessionm, message):
    stored = {f"s{number}": "old" for number in range(199)}
    sessionm.knows(user_profile=stored)
    shared.post(message(1, user_attributes={"s0": "new", **dict.fromkeys("abcde", "v")}, events=0))
    shared.wait(shared.drained)
    (written,) = sessionm.journal
    assert written["over_limit_attributes"] == ["b", "c", "d", "e"]
    assert sessionm.list_users() == [({"ME": "mparticle_mpid"}, {}, {**stored, "s0": "new", "a": "v"})]
    assert told(shared, message(1)) == {"attributes": DELIVERED}


def test_scenario_13_a_reply_cut_short_is_asked_for_again_with_the_same_transaction(shared, sessionm, message):
    sessionm.knows()
    sessionm.spoil("POST", "/events$", truncate=True)
    sessionm.spoil("POST", "/events$", status=200, body='{"status":"o', after=True)
    shared.post(message(1))
    shared.wait(shared.drained)
    assert sessionm.steps() == ["PUT ME 200", *["POST ME/events 200"] * 3]
    assert sessionm.sent() == [("Signup", "e-1-0")]
    assert told(shared, message(1)) == {"attributes": DELIVERED, "e-1-0": DELIVERED}


def test_scenario_14_two_gateways_that_create_one_user_at_once_leave_one_user(gateway, vendor, message, tmp_path):
    vendor.spoil(
        "PUT", vendor.mpid, times=2, delay_ms=800
    )  # both are told that there is no such user before either creates
    with ExitStack() as stack:
        (tmp_path / "second").mkdir()
        second = type(gateway)(tmp_path / "second", vendor.url)
        stack.callback(second.kill_all)
        gateway.start()
        second.start()
        gateway.post(message(1, user_attributes={"one": "1"}))
        second.post(message(2, user_attributes={"two": "2"}))
        for one in (gateway, second):
            one.wait(one.drained)
    creations = [step for step in vendor.steps() if step.startswith("POST users")]
    assert sorted(creations) == ["POST users 200", "POST users 200 validation"]
    assert vendor.list_users() == [({"ME": "mparticle_mpid"}, {}, {"one": "1", "two": "2"})]
    assert sorted(vendor.sent()) == [("Signup", "e-1-0"), ("Signup", "e-2-0")]


def test_a_user_whom_somebody_else_was_faster_to_create_gets_the_ids_too(shared, sessionm, message):
    sessionm.knows()
    unknown = json.dumps({"status": "error", "errors": {"code": "user_not_found"}})
    sessionm.spoil("PUT", sessionm.mpid, status=404, body=unknown)
    shared.post(message(1, user_identities=CUSTOMER))
    shared.wait(shared.drained)
    assert sessionm.steps() == [
        "PUT ME 404",
        "GET external/users/c-1 404 user_not_found",
        "POST users 200 validation",
        *["PUT ME 200", "PUT ME 200", "GET ME 200", "PUT ME 200"],
        "POST ME/events 200",
    ]
    assert sessionm.list_users() == [({"ME": "mparticle_mpid", "c-1": "customer_id"}, {}, {"Colour": "red"})]
    assert told(shared, message(1)) == {"identities": DELIVERED, "attributes": DELIVERED, "e-1-0": DELIVERED}


def test_scenario_15_the_ids_that_sessionm_has_survive_an_update_that_replaces(shared, sessionm, message):
    sessionm.knows(identifiers=[{"external_id": "card-9", "external_id_type": "till"}])
    shared.post(message(1, user_identities=CUSTOMER, events=0))
    shared.post(message(2, user_identities=CUSTOMER, user_attributes={"Colour": "blue"}, events=0))
    shared.wait(shared.drained)
    ((ids, _, profile),) = sessionm.list_users()
    assert ids == {"card-9": "till", "ME": "mparticle_mpid", "c-1": "customer_id"}
    assert profile == {"Colour": "blue"}
    writes = [one["body"]["user"] for one in sessionm.journal if one["method"] == "PUT"]
    assert [[each["external_id"] for each in one["identifiers"]] for one in writes if "identifiers" in one] == [
        ["card-9", sessionm.mpid, "c-1"]
    ]


def erasure(mpid):
    return {
        "type": "dsr_processing_request",
        "id": f"00000000-0000-4000-9000-{int(mpid):012d}",
        "timestamp_ms": 1_714_565_696_789,
        "firehose_version": "3.2.0",
        "subject_request_id": f"r-{mpid}",
        "subject_request_type": "erasure",
        "regulation": "gdpr",
        "subject_identities": {"controller_customer_id": {"encoding": "raw", "value": "c-1"}},
        "extensions": {
            "opendsr.mparticle.com": {"subject_identities": {"mpid": {"encoding": "raw", "value": mpid}}},
        },
    }


def test_an_erasure_deletes_the_user_and_drops_what_waits_for_them_while_sessionm_is_down(shared, sessionm, message):
    sessionm.knows(identifiers=[{"external_id": "c-1", "external_id_type": "customer_id"}])
    sessionm.spoil(None, None, times=1_000_000, status=503)
    shared.post(message(1))
    shared.wait(lambda: sessionm.journal)
    shared.post(erasure(sessionm.mpid))
    older = message(3)
    older["events"][0]["timestamp_ms"] -= 1
    shared.post(older)
    shared.post(message(4, user=77))
    shared.wait(lambda: any(one["method"] == "DELETE" for one in sessionm.journal))
    sessionm.faults.clear()
    shared.wait(shared.drained)
    erased = ("skipped", "erased", [])
    assert told(shared, message(1)) == {"attributes": erased, "e-1-0": erased}
    assert told(shared, erasure(sessionm.mpid)) == {f"erasure:r-{sessionm.mpid}": DELIVERED}
    assert told(shared, message(3)) == {"attributes": erased, "e-3-0": erased}
    assert told(shared, message(4)) == {"attributes": DELIVERED, "e-4-0": DELIVERED}
    assert sessionm.list_users() == [({"77": "mparticle_mpid"}, {}, {"Colour": "red"})]
    assert [step for step in sessionm.steps() if step.startswith("DELETE") and not step.endswith("503")] == [
        "DELETE ME 200",
        "DELETE external/users/c-1 404 user_not_found",
    ]


def test_explain_names_each_attribute_left_out_and_why(gateway, vendor, message):
    vendor.knows()
    gateway.start(more='user_attributes = { "Hidden" = false }')
    attributes = {"fav color": "1", "fav-color": "2", "имя": "3", "$Zip": None, "Hidden": "4", "$City": "Rome"}
    one = message(1, user_attributes=attributes)
    one["events"] = [event("Signup", "s-1", empty=None, full="1"), event(" ", "blank"), {"type": "session_start"}]
    one["events"][2] |= {"id": "session", "timestamp_ms": 1_714_565_696_790}
    gateway.post(one)
    gateway.wait(gateway.drained)
    assert told(gateway, one) == {
        "attributes": (
            "delivered",
            "",
            [("имя", "empty_key"), ("$Zip", "null_reserved"), ("fav-color", "key_collision")],
        ),
        "s-1": ("delivered", "", [("empty", "null_value")]),
        "blank": ("skipped", "missing_event_name", []),
        "session": ("skipped", "unsupported_event_type", []),
    }
    assert vendor.list_users() == [({"ME": "mparticle_mpid"}, {"city": "Rome"}, {"fav_color": "1"})]


def test_profile_updates_that_wait_become_one_call_and_every_event_arrives(shared, sessionm, message):
    sessionm.knows()
    sessionm.spoil(None, None, times=1_000_000, status=503)
    shared.post(message(1, user_attributes={"a": "1", "b": "1"}))
    shared.wait(lambda: sessionm.journal)
    shared.post(message(2, user_attributes={"b": "2"}))
    shared.post(message(3, user_attributes={"c": "3"}))
    shared.wait(lambda: "c" in sessionm.journal[-1]["body"].get("user", {}).get("user_profile", {}))
    seen = len(sessionm.journal)
    sessionm.faults.clear()
    shared.wait(shared.drained)
    fine = [one for one in sessionm.journal[seen - 1 :] if one["status"] == 200]
    assert [(one["method"], one["body"].get("user")) for one in fine] == [
        ("PUT", {"user_profile": {"a": "1", "b": "2", "c": "3"}}),
        *[("POST", None)] * 3,
    ]
    assert sessionm.sent() == [("Signup", f"e-{number}-0") for number in (1, 2, 3)]
    for number in (1, 2, 3):
        assert told(shared, message(number)) == {"attributes": DELIVERED, f"e-{number}-0": DELIVERED}


def test_an_unknown_user_is_skipped_where_the_settings_say_so(gateway, vendor, message, monkeypatch):
    monkeypatch.setenv("GATEWAY_CONNECTIONS__LOYALTY__SETTINGS__ON_UNKNOWN_USER", "skip")
    gateway.start()
    gateway.post(message(1))
    gateway.wait(gateway.drained)
    assert told(gateway, message(1)) == {
        "attributes": ("skipped", "unknown_user", []),
        "e-1-0": ("skipped", "unknown_user", []),
    }
    assert vendor.list_users() == []


def test_two_ids_of_two_customers_are_dead_with_a_reason_and_nothing_is_written(shared, sessionm, message):
    sessionm.knows(external_id="c-1", external_id_type="customer_id", user_profile={})
    sessionm.knows(external_id="o-1", external_id_type="other", user_profile={})
    shared.post(message(1, user_identities=[*CUSTOMER, {"type": "other", "encoding": "raw", "value": "o-1"}]))
    shared.wait(shared.drained)
    conflict = ("dead", "identity_conflict", [])
    assert told(shared, message(1)) == {"identities": conflict, "attributes": conflict, "e-1-0": conflict}
    assert sessionm.list_users() == [({"c-1": "customer_id"}, {}, {}), ({"o-1": "other"}, {}, {})]


def test_neither_key_nor_secret_is_in_the_log_or_the_ledger(shared, sessionm, message):
    sessionm.spoil("PUT", sessionm.mpid, status=404, body="<html>")
    shared.post(message(1))
    shared.wait(shared.drained)
    assert "PUT ME 404" in sessionm.steps()
    ledger = json.dumps(shared.explain(message(1)["id"]))
    files = b"".join(path.read_bytes() for path in shared.directory.glob("shared.db*"))
    for word in ("test-key", "test-secret", "dGVzdC1rZXk6dGVzdC1zZWNyZXQ="):
        assert word not in shared.log
        assert word not in ledger
        assert word.encode() not in files
