from __future__ import annotations

import json

import pytest

import gateway_sessionm
from gateway.sdk import Call, Memory, Remember, Reply, Skip, delivered, refused, rejected, retry
from gateway.testing import Answer, Request, batch, custom_event, plan_with, user
from gateway_sessionm.fake import FakeSessionM
from gateway_sessionm.settings import SessionMSettings
from gateway_sessionm.user_keys import Identifier, remember_identifiers

MPID = "7346244611012968789"
ME = f"external/users/{MPID}"
VALUES = {"host": "https://api-acme.stg-sessionm.com", "api_key": "test-key", "api_secret": "test-secret"}
SETTINGS = SessionMSettings.model_validate(VALUES)
TRANSPORTS = pytest.mark.parametrize("error_transport", ["documented", "all200", "strict"])


def statuses(here) -> list[int]:
    return [entry["status"] for entry in here.vendor.journal]


def steps(here) -> list[str]:
    return [line.rpartition(" ")[0] for line in here.journal()]


def seed(here, **user) -> str:
    """Store one user; returns SessionM's id of them."""
    here.vendor.seed({"users": [user]})
    return list(here.vendor.users)[-1].id


JO = user(attributes={"$FirstName": "Jo", "tier": "Gold"}, email="jo@example.com", customer_id="c-1")


@TRANSPORTS
def test_an_unknown_user_is_created_with_everything(bench, error_transport):
    here = bench(error_transport=error_transport)
    assert here.deliver(batch(user=JO)) == ["delivered"]
    assert steps(here) == [f"PUT {ME}", "GET external/users/c-1", "POST users"]
    created = here.user(MPID)
    assert (created["first_name"], created["email"]) == ("Jo", "jo@example.com")
    assert created["user_profile"] == {"_version": 1, "tier": "Gold"}
    assert here.identifiers(MPID) == {MPID: "mparticle_mpid", "c-1": "customer_id"}


@TRANSPORTS
def test_a_user_known_under_another_id_gets_the_mpid_and_no_double(bench, error_transport):
    here = bench(error_transport=error_transport)
    known = seed(here, external_id="c-1", external_id_type="customer_id", last_name="Doe")
    assert here.deliver(batch(user=JO)) == ["delivered"]
    assert steps(here) == [f"PUT {ME}", "GET external/users/c-1", f"PUT users/{known}"]
    assert len(list(here.vendor.users)) == 1
    assert (here.user(MPID)["first_name"], here.user(MPID)["last_name"]) == ("Jo", "Doe")
    assert here.identifiers(MPID) == {MPID: "mparticle_mpid", "c-1": "customer_id"}


@pytest.mark.parametrize("identifiers_on_put", ["replace", "append"])
def test_an_adopted_user_keeps_their_ids_and_gets_all_of_ours(bench, identifiers_on_put):
    here = bench(identifiers_on_put=identifiers_on_put)
    seed(here, external_id="c-1", external_id_type="customer_id", identifiers=[{"external_id": "card"}])
    assert here.deliver(batch(user=user(customer_id="c-1", other="o-1"))) == ["delivered"]
    assert here.identifiers(MPID) == {
        "card": None,
        "c-1": "customer_id",
        "o-1": "other",
        MPID: "mparticle_mpid",
    }


@TRANSPORTS
def test_two_identities_of_two_users_are_a_conflict_and_nothing_is_written(bench, error_transport):
    here = bench(error_transport=error_transport)
    seed(here, external_id="c-1")
    seed(here, external_id="o-1")
    person = user(attributes={"a": "1"}, customer_id="c-1", other="o-1")
    assert here.deliver(batch(user=person)) == ["rejected identity_conflict"]
    assert [line for line in steps(here) if not line.startswith("GET")] == [f"PUT {ME}"]
    assert [person.profile for person in here.vendor.users] == [{}, {}]


def test_two_identities_of_one_user_are_no_conflict(bench):
    here = bench()
    known = seed(here, external_id="c-1", external_id_type="customer_id", identifiers=[{"external_id": "o-1"}])
    person = user(attributes={"a": "1"}, customer_id="c-1", other="o-1")
    assert here.deliver(batch(user=person)) == ["delivered"]
    assert steps(here)[-1] == f"PUT users/{known}"


@TRANSPORTS
def test_an_unknown_user_is_skipped_where_the_settings_say_so(bench, error_transport):
    here = bench(error_transport=error_transport)
    here.deliver(batch(custom_event(), user=JO), on_unknown_user="skip")
    assert list(here.vendor.users) == []
    assert {line.partition(" ")[0] for line in steps(here)} == {"PUT", "GET", "POST"}
    assert "POST users" not in steps(here)


def test_skipping_an_unknown_user_is_recorded_as_a_skip():
    call = plan_with(gateway_sessionm, batch(user=user(attributes={"a": "1"})), VALUES)[0]
    settings = SETTINGS.model_copy(update={"on_unknown_user": "skip"})
    assert gateway_sessionm.on_reply(call, unknown(), settings) == Skip(reason="unknown_user")


LOST_RACE = retry("lost_race", after_s=0, restart=True)


class Rival(FakeSessionM):
    """Somebody else creates the same user just before we do."""

    def answer(self, request: Request) -> Answer:
        if request.method == "POST" and request.path.endswith("/users"):
            self.seed({"users": [{"external_id": MPID, "external_id_type": "mparticle_mpid"}]})
        return super().answer(request)


@TRANSPORTS
def test_a_lost_race_to_create_ends_with_one_user_who_has_the_profile(bench, error_transport):
    here = bench(Rival(error_transport=error_transport, undefined_attribute="accept"))
    (write,) = here.plan(batch(user=JO))
    assert here.drive([write]) == [LOST_RACE]
    assert steps(here) == [f"PUT {ME}", "GET external/users/c-1", "POST users", f"PUT {ME}"]
    here.vendor.journal.clear()
    assert here.drive([write]) == [delivered()]
    assert steps(here) == [f"PUT {ME}", f"GET {ME}", f"PUT {ME}"]
    assert len(list(here.vendor.users)) == 1
    assert here.user(MPID)["first_name"] == "Jo"
    assert here.identifiers(MPID) == {MPID: "mparticle_mpid", "c-1": "customer_id"}


@TRANSPORTS
def test_a_lost_race_of_ids_alone_ends_with_the_ids_at_sessionm(bench, error_transport):
    here = bench(Rival(error_transport=error_transport))
    (check,) = here.plan(batch(user=user(customer_id="c-1")))
    assert here.drive([check, check]) == [LOST_RACE, delivered()]
    assert steps(here) == [
        *[f"GET {ME}", "GET external/users/c-1", "POST users", f"GET {ME}"],
        *[f"GET {ME}", f"PUT {ME}"],
    ]
    assert here.identifiers(MPID) == {MPID: "mparticle_mpid", "c-1": "customer_id"}


def test_a_lost_race_without_ids_to_confirm_ends_with_the_profile(bench):
    here = bench(Rival(undefined_attribute="accept"))
    assert here.deliver(batch(user=user(attributes={"a": "1"}))) == ["delivered"]
    assert steps(here) == [f"PUT {ME}", "POST users", f"PUT {ME}"]


def test_a_lost_race_of_an_event_stores_the_event_once(bench):
    here = bench(Rival(events=["Reward Claimed"]))
    assert here.deliver(batch(custom_event())) == ["delivered"]
    assert steps(here) == [f"POST {ME}/events", "POST users", f"POST {ME}/events"]
    assert len(here.vendor.stored_events) == 1


class Overtaker(FakeSessionM):
    """Somebody else creates a user of this MPID just before we give it to the user whom we found."""

    def answer(self, request: Request) -> Answer:
        if request.method == "PUT" and "/external/" not in request.path:
            self.seed({"users": [{"external_id": MPID, "external_id_type": "mparticle_mpid"}]})
        return super().answer(request)


@TRANSPORTS
def test_a_lost_race_to_link_a_user_writes_the_profile_of_whoever_has_the_mpid(bench, error_transport):
    here = bench(Overtaker(error_transport=error_transport, events=["Reward Claimed"], undefined_attribute="accept"))
    known = seed(here, external_id="c-1", external_id_type="customer_id")
    (write, event) = here.plan(batch(custom_event(), user=JO))
    assert here.drive([write]) == [LOST_RACE]
    assert steps(here) == [f"PUT {ME}", "GET external/users/c-1", f"PUT users/{known}", f"PUT {ME}"]
    assert (here.user(MPID)["first_name"], here.user("c-1")["first_name"]) == ("Jo", None)
    assert here.drive([event, write]) == [delivered(), rejected("identity_conflict")]


@TRANSPORTS
def test_a_profile_that_sessionm_will_not_take_is_rejected_with_its_reason_after_linking_fails(bench, error_transport):
    definitions = {"tier": {"type": "integer"}}
    here = bench(error_transport=error_transport, attributes=definitions)
    seed(here, external_id="c-1", external_id_type="customer_id")
    assert here.deliver(batch(user=JO)) == ["rejected validation"]
    assert here.vendor.users.find_by_external_id(MPID) is None


def test_a_user_who_was_created_before_the_line_broke_is_created_once(bench):
    here = bench()
    create = chain(unknown(), unknown())
    here.vendor.faults.append(fault(method="POST", close=True, after=True))
    assert [verdict.word for verdict in here.drive([create])] == ["retry"]
    assert here.drive([create]) == [LOST_RACE]
    assert steps(here) == ["POST users", "POST users", f"PUT {ME}"]
    assert len(list(here.vendor.users)) == 1
    assert here.user(MPID)["first_name"] == "Jo"


@TRANSPORTS
def test_a_user_whom_sessionm_will_not_create_is_rejected_with_the_first_reason(bench, error_transport):
    here = bench(error_transport=error_transport)
    seed(here, external_id="someone", email="JO@example.com")
    assert here.deliver(batch(custom_event(), user=JO)) == ["rejected validation", "rejected validation"]
    assert len(list(here.vendor.users)) == 1


@TRANSPORTS
def test_an_event_of_an_unknown_user_is_posted_once_more_after_creating_them(bench, error_transport):
    here = bench(error_transport=error_transport)
    assert here.deliver(batch(custom_event())) == ["delivered"]
    assert steps(here) == [f"POST {ME}/events", "POST users", f"POST {ME}/events"]
    first, second = (entry["body"] for entry in here.vendor.journal if entry["path"].endswith("/events"))
    assert first == second
    assert here.identifiers(MPID) == {MPID: "mparticle_mpid"}


def test_an_event_of_a_user_known_otherwise_is_posted_once_more_after_linking_them(bench):
    here = bench()
    known = seed(here, external_id="c-1", external_id_type="customer_id", email="old@example.com")
    calls = [call for call in here.plan(batch(custom_event(), user=JO)) if call.method == "POST"]
    assert here.drive(calls) == [delivered()]
    assert steps(here) == [f"POST {ME}/events", "GET external/users/c-1", f"PUT users/{known}", f"POST {ME}/events"]
    assert here.user(MPID)["email"] == "old@example.com"


def test_a_minimal_profile_is_never_written_before_an_event(bench):
    here = bench()
    seed(here, external_id=MPID)
    assert here.deliver(batch(custom_event())) == ["delivered"]
    assert steps(here) == [f"POST {ME}/events"]


@pytest.mark.parametrize("identifiers_on_put", ["replace", "append"])
def test_new_identifiers_are_added_to_those_that_are_there(bench, identifiers_on_put):
    here = bench(identifiers_on_put=identifiers_on_put)
    seed(here, external_id=MPID, external_id_type="mparticle_mpid", identifiers=[{"external_id": "card"}])
    assert here.deliver(batch(user=JO)) == ["delivered"]
    assert steps(here) == [f"PUT {ME}", f"GET {ME}", f"PUT {ME}"]
    assert here.identifiers(MPID) == {"card": None, MPID: "mparticle_mpid", "c-1": "customer_id"}


def test_identifiers_that_are_there_already_are_not_written(bench):
    here = bench()
    seed(here, external_id=MPID, identifiers=[{"external_id": "c-1", "external_id_type": "customer_id"}])
    assert here.deliver(batch(user=JO)) == ["delivered"]
    assert steps(here) == [f"PUT {ME}", f"GET {ME}"]


def test_identifiers_that_are_remembered_are_not_even_read(bench):
    here = bench()
    seed(here, external_id=MPID)
    memory = remember_identifiers(MPID, [Identifier("c-1", "customer_id")])
    assert here.deliver(batch(user=JO), memory=Memory(user={memory.key: memory.value})) == ["delivered"]
    assert steps(here) == [f"PUT {ME}"]


def test_an_identifier_of_somebody_else_costs_neither_of_them_anything(bench):
    here = bench()
    seed(here, external_id=MPID)
    seed(here, external_id="c-1", external_id_type="customer_id")
    assert here.deliver(batch(user=JO)) == ["rejected identity_conflict"]
    assert here.user(MPID)["first_name"] == "Jo"
    assert here.identifiers("c-1") == {"c-1": "customer_id"}


@pytest.mark.parametrize(
    "value", ["a/b", "a?b=c", "a#b", "50% off", "jo@example.com", "имя", "a+b", "a b", "...", "%2e"]
)
def test_any_identity_value_can_be_looked_up_and_found(bench, value):
    here = bench()
    seed(here, external_id=value, external_id_type="customer_id")
    assert here.deliver(batch(user=user(attributes={"a": "1"}, customer_id=value))) == ["delivered"]
    assert here.identifiers(MPID) == {value: "customer_id", MPID: "mparticle_mpid"}


def test_the_longest_chains_stay_within_eight_further_calls(bench):
    many = {f"other_id_{number}": f"o-{number}" for number in range(2, 10)}
    here = bench(Rival(events=["Reward Claimed"], undefined_attribute="accept"))
    person = batch(user=user(attributes={"a": "1"}, customer_id="c-1", **many))
    assert here.drive(here.plan(person)) == [LOST_RACE]
    assert len(here.journal()) == 9
    looks = [f"GET external/users/{value}" for value in ("c-1", "o-2", "o-3", "o-4", "o-5", "o-6")]
    assert steps(here) == [f"PUT {ME}", *looks, "POST users", f"PUT {ME}"]
    late = bench(Overtaker(undefined_attribute="accept"))
    seed(late, external_id="c-1")
    assert late.drive(late.plan(person)) == [LOST_RACE]
    assert len(late.journal()) == 9
    here.vendor.reset()
    (*_, event) = here.plan(batch(custom_event(), user=user(customer_id="c-1", **many)))
    assert here.drive([event]) == [delivered()]
    assert len(here.journal()) == 9


def test_a_user_is_found_under_the_sixth_id(bench):
    here = bench()
    known = seed(here, external_id="o-6", external_id_type="other_id_6")
    others = {f"other_id_{number}": f"o-{number}" for number in range(2, 7)}
    assert here.deliver(batch(user=user(attributes={"a": "1"}, customer_id="c-1", **others))) == ["delivered"]
    assert steps(here)[-1] == f"PUT users/{known}"
    assert len(list(here.vendor.users)) == 1


def test_a_failure_in_the_middle_leaves_what_is_left_to_a_retry(bench):
    here = bench()
    here.vendor.faults.append(fault(path_regex="external/users/c-1", status=503))
    assert here.deliver(batch(user=JO)) == ["retry status_503"]
    assert list(here.vendor.users) == []


def fault(*, method: str | None = None, path_regex: str | None = None, **action):
    from gateway.testing.vendor import Action, Fault, Match

    return Fault(action=Action(**action), match=Match(method=method, path_regex=path_regex))


@TRANSPORTS
@pytest.mark.parametrize("status", [None, 400, 409, 422])
def test_ids_that_sessionm_will_not_add_are_a_conflict_however_it_says_so(bench, error_transport, status):
    here = bench(error_transport=error_transport)
    seed(here, external_id=MPID)
    seed(here, external_id="c-1")
    if status is not None:
        here.vendor.faults.append(fault(method="PUT", path_regex=ME, status=status))
    assert here.deliver(batch(user=user(customer_id="c-1"))) == ["rejected identity_conflict"]


def test_a_list_of_ids_that_leaves_the_mpid_out_is_never_written_so():
    shown = [{"external_id": "card", "external_id_type": "till"}]
    extended = chain(fine(), fine(identifiers=shown))
    assert extended.json == {"user": {"identifiers": [*shown, *BOTH]}}


def test_the_mpid_is_not_added_twice_where_it_is_known_by_another_name():
    shown = [{"external_id": MPID, "external_id_type": "mpid"}]
    extended = chain(fine(), fine(identifiers=shown))
    assert extended.json == {"user": {"identifiers": [*shown, BOTH[1]]}}


def test_a_404_that_is_not_sessionms_keeps_the_users_work_also_while_the_user_is_looked_for():
    looking = user(attributes={"a": "1"}, customer_id="c/1")
    assert chain(unknown(), Reply(status=404, body=b"<html>"), person=looking) == refused("status_404")


def test_a_user_created_by_their_attributes_alone_gets_their_email(bench):
    here = bench()
    (write,) = [call for call in plan_with(gateway_sessionm, batch(user=JO), here.values) if "first_name" in str(call)]
    assert here.drive([write]) == [delivered()]
    assert here.user(MPID)["email"] == "jo@example.com"


def unknown() -> Reply:
    return Reply(status=404, body=json.dumps({"status": "error", "errors": {"code": "user_not_found"}}).encode())


def fine(**user) -> Reply:
    return Reply(status=200, body=json.dumps({"status": "ok", "user": user}).encode())


def chain(*replies: Reply, person=JO, event: bool = False):
    """Return the plugin's answer to the last of these replies, each to the call that the one before led to."""
    items = plan_with(gateway_sessionm, batch(*([custom_event()] if event else []), user=person), VALUES)
    answer = gateway_sessionm.coalesce(tuple(item for item in items if isinstance(item, Call)))[-1 if event else 0]
    for reply in replies:
        calls = answer if isinstance(answer, list) else [answer]
        answer = gateway_sessionm.on_reply(next(item for item in calls if isinstance(item, Call)), reply, SETTINGS)
    return answer


CONFIRMED = remember_identifiers(MPID, [Identifier("c-1", "customer_id")])
SHOWN = [{"external_id": MPID, "external_id_type": "mparticle_mpid"}]
BOTH = [*SHOWN, {"external_id": "c-1", "external_id_type": "customer_id"}]


@pytest.mark.parametrize(
    "replies",
    [
        [fine(), fine(identifiers=BOTH)],
        [fine(), fine(identifiers=SHOWN), fine()],
        [unknown(), unknown(), fine()],
        [unknown(), fine(id="u", identifiers=BOTH), fine()],
        [unknown(), fine(id="u", identifiers=[]), fine()],
    ],
)
def test_identifiers_are_remembered_once_sessionm_has_them(replies):
    assert chain(*replies) == CONFIRMED


@pytest.mark.parametrize(
    "replies", [[unknown(), unknown(), fine()], [unknown(), fine(id="u", identifiers=BOTH), fine()]]
)
def test_an_event_that_settles_who_the_user_is_remembers_it_too(replies):
    memory, call = chain(*replies, event=True)
    assert memory == CONFIRMED
    assert call.path == f"{ME}/events"


def test_ids_that_are_not_shown_are_neither_written_nor_remembered():
    adopted = chain(unknown(), fine(id="u"))
    assert adopted.json["user"] == {
        "email": "jo@example.com",
        "first_name": "Jo",
        "user_profile": {"tier": "Gold"},
        "external_id": MPID,
        "external_id_type": "mparticle_mpid",
    }
    assert chain(unknown(), fine(id="u"), fine()) == delivered()
    assert chain(fine(), fine()) == rejected("identifiers_not_shown")


@pytest.mark.parametrize("user", [{}, {"id": 7}, {"id": ""}])
def test_a_user_found_without_an_id_is_unclear(user):
    assert chain(unknown(), fine(**user)) == retry("unclear_reply")


@pytest.mark.parametrize(
    "replies",
    [
        [fine(), unknown()],
        [fine(), fine(identifiers=SHOWN), unknown()],
        [unknown(), fine(id="u", identifiers=BOTH), unknown()],
    ],
)
def test_a_user_who_vanishes_meanwhile_is_rejected(replies):
    assert chain(*replies) == rejected("user_not_found")


@pytest.mark.parametrize("code", ["missing_data", "argument_error", "not_available"])
def test_a_creation_declined_for_itself_is_not_tried_under_the_mpid(code):
    declined = Reply(status=200, body=json.dumps({"status": "error", "errors": {"code": code}}).encode())
    assert chain(unknown(), unknown(), declined) == rejected(code)
    assert chain(unknown(), fine(id="u", identifiers=BOTH), declined) == rejected(code)


def test_a_user_is_looked_for_only_once_for_an_event():
    assert chain(unknown(), unknown(), fine(), unknown(), event=True) == rejected("user_not_found")


def test_the_memo_is_plain_json_without_a_credential():
    calls = [chain(), chain(unknown()), chain(unknown(), unknown()), chain(event=True), chain(unknown(), event=True)]
    for call in calls:
        assert json.loads(json.dumps(call.memo)) == call.memo
        assert "test-key" not in repr(call)
        assert "test-secret" not in repr(call)


def test_a_chain_that_was_stored_goes_on_as_if_it_had_not_been():
    look = chain(unknown())
    stored = Call(method=look.method, path=look.path, params=look.params, memo=json.loads(json.dumps(look.memo)))
    assert gateway_sessionm.on_reply(stored, unknown(), SETTINGS) == chain(unknown(), unknown())


def test_what_is_remembered_is_one_thing_per_user():
    assert isinstance(chain(unknown(), unknown(), fine()), Remember)
    assert not chain(unknown(), unknown(), fine()).shared
