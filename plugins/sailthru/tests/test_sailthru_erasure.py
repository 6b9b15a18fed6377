from __future__ import annotations

import json

import msgspec
import pytest

import gateway_sailthru
from gateway.sdk import (
    AttributeChange,
    Batch,
    Call,
    Erasure,
    Memory,
    Remember,
    Reply,
    Skip,
    User,
    delivered,
    refused,
    rejected,
    retry,
)
from gateway.testing import Answer, Request, batch, custom_event, identity, membership, plan_with, session, user
from gateway_sailthru.fake import FakeSailthru
from gateway_sailthru.settings import SailthruSettings

VALUES = {"api_key": "test-key", "api_secret": "test-secret"}
JO = "jo@example.com"
ERASED_MS = 1_714_565_696_789
TOMBSTONE = Remember(key="erased_ms", value=ERASED_MS)
BURIED = Memory(user={"erased_ms": ERASED_MS})


def erasing(who: User | None = None, **fields) -> Batch:
    return batch(user=who or user(email=JO), erasure=Erasure(request_id="r-1", **fields.pop("erasure", {})), **fields)


def plan(said: Batch, memory=None, **settings) -> list:
    return plan_with(gateway_sailthru, said, {**VALUES, **settings}, memory=memory or Memory())


def look_up(value: str, key: str = "email", left: int = 3) -> Call:
    return Call(
        method="GET",
        path="user",
        json={"id": value, "key": key, "fields": {"keys": 1}},
        scope="GET user",
        memo={"step": "erase:look_up", "value": value, "key": key, "left": left},
    )


MISSING = Reply(status=400, body=json.dumps({"error": 99, "errormsg": f"User not found with email: {JO}"}).encode())


def later(*, left: int) -> Call:
    first = look_up(JO, left=left)
    return msgspec.structs.replace(first, memo={**first.memo, "again": True}, after_s=7)


def test_an_erased_user_is_looked_up_and_a_tombstone_is_kept():
    assert plan(erasing()) == [look_up(JO), TOMBSTONE]


def test_all_else_that_was_remembered_of_them_is_forgotten():
    memory = Memory(user={"created": "x", "profile": "y", "erased_ms": 1})
    forgotten = [Remember(key=key, value=None) for key in ("created", "profile")]
    assert plan(erasing(), memory) == [look_up(JO), *forgotten, TOMBSTONE]


@pytest.mark.parametrize(("submitted_ms", "value"), [(7, 7), (None, None)])
def test_a_request_without_a_time_of_its_own_is_dated_by_its_submission(submitted_ms, value):
    said = erasing(received_ms=None, erasure={"submitted_ms": submitted_ms})
    assert plan(said)[-1] == Remember(key="erased_ms", value=value)


def test_every_address_of_the_user_is_erased_and_each_once():
    who = User(identities=tuple(identity("email", value) for value in (JO, "JO@example.com", "jo2@example.com")))
    assert plan(erasing(who)) == [look_up(JO), look_up("jo2@example.com"), TOMBSTONE]


def test_the_extid_is_erased_too_where_it_is_sent():
    who = user(email=JO, customer_id="c-1")
    assert plan(erasing(who), customer_id_as_extid=True) == [look_up(JO), look_up("c-1", "extid"), TOMBSTONE]
    assert plan(erasing(who)) == [look_up(JO), TOMBSTONE]


@pytest.mark.parametrize(
    ("who", "reason"),
    [
        (user(customer_id="c-1"), "no_email"),
        (user(email="nonsense"), "invalid_email"),
        (User(identities=(identity("email", "9f86", encoding="md5"),)), "hashed_email"),
    ],
)
def test_somebody_who_cannot_be_addressed_is_skipped_and_said_so(who, reason):
    assert plan(erasing(who)) == [Skip(reason=reason), TOMBSTONE]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize(
    ("status", "code", "verdict"),
    [
        (401, 5, refused("signature")),
        (500, 9, retry("error_9")),
        (400, 11, rejected("invalid_email")),
        (400, 99, rejected("error_99")),
    ],
)
def test_a_step_that_fails_is_judged_like_any_call(method, status, code, verdict):
    memo = {"step": "erase:look_up" if method == "GET" else "erase:by_sid", "value": JO, "key": "email", "left": 3}
    call = Call(method=method, path="user", json={"id": JO, "key": "email"}, memo=memo)
    told = Reply(status=status, body=json.dumps({"error": code, "errormsg": "no"}).encode())
    assert gateway_sailthru.on_reply(call, told, SailthruSettings.model_validate(VALUES)) == verdict


def test_a_profile_without_a_sid_is_a_dead_letter():
    told = Reply(status=200, body=b'{"keys": {}}')
    assert gateway_sailthru.on_reply(look_up(JO), told, SailthruSettings.model_validate(VALUES)) == rejected("no_sid")


LATER, BEFORE = {"received_ms": ERASED_MS + 1}, {"received_ms": ERASED_MS}
WHO = user(email=JO)
SAID = [
    {"user": WHO, "attribute_changes": (AttributeChange(name="a", value="1"),)},
    {"user": WHO, "memberships": (membership(),)},
    {"user": WHO},
]


@pytest.mark.parametrize("said", SAID)
def test_what_was_said_before_the_erasure_does_not_bring_the_user_back(said):
    assert set(map(repr, plan(batch(**said, **BEFORE), BURIED))) == {repr(Skip(reason="erased"))}


@pytest.mark.parametrize("said", SAID[:2])
def test_what_is_said_after_the_erasure_is_sent(said):
    assert [item.path for item in plan(batch(**said, **LATER), BURIED) if isinstance(item, Call)] == ["user"]


@pytest.mark.parametrize(("time_ms", "is_sent"), [(ERASED_MS - 1, False), (ERASED_MS, False), (ERASED_MS + 1, True)])
@pytest.mark.parametrize("kind", [custom_event, session])
def test_an_event_counts_by_the_time_at_which_it_happened(kind, time_ms, is_sent):
    items = plan(batch(kind(time_ms=time_ms), user=WHO, **LATER), BURIED)
    assert isinstance(items[-1], Call) is is_sent
    assert (items[-1] == Skip(reason="erased")) is not is_sent


@pytest.mark.parametrize(
    ("times", "is_sent"),
    [([-1], False), ([-1, 0], False), ([-1, 1], True), ([None], True), ([-1, None], True), ([], True)],
)
def test_a_profile_that_came_along_with_events_counts_by_the_last_of_them(times, is_sent):
    events = [custom_event(time_ms=None if time is None else ERASED_MS + time) for time in times]
    said = batch(*events, user=user(email=JO, attributes={"a": "1"}), **LATER)
    assert any(isinstance(item, Call) and item.path == "user" for item in plan(said, BURIED)) is is_sent
    changed = msgspec.structs.replace(said, attribute_changes=(AttributeChange(name="a", value="1"),))
    assert any(isinstance(item, Call) and item.path == "user" for item in plan(changed, BURIED))


def test_an_event_without_a_time_counts_by_that_of_its_message():
    assert plan(batch(custom_event(time_ms=None), user=WHO, **BEFORE), BURIED)[-1] == Skip(reason="erased")
    assert isinstance(plan(batch(custom_event(time_ms=None), user=WHO, **LATER), BURIED)[-1], Call)


def test_what_has_no_time_at_all_is_sent():
    assert isinstance(plan(batch(custom_event(time_ms=None), user=WHO, received_ms=None), BURIED)[-1], Call)


def test_without_a_tombstone_everything_is_sent():
    assert isinstance(plan(batch(custom_event(time_ms=0), user=WHO, **BEFORE))[-1], Call)


def test_the_profile_is_gone_afterwards_and_seen_to_be_gone(bench):
    here = bench()
    here.vendor.seed({"users": [{"id": JO, "lists": {"Gold": 1}}, {"id": "other@example.com"}]})
    assert here.deliver(erasing()) == ["delivered gone"]
    assert here.journal() == ["GET /user 200", "DELETE /user 200", "GET /user 400"]
    assert here.emails() == ["other@example.com"]


def test_somebody_unknown_counts_as_erased_once_a_second_look_has_missed_them_too(bench):
    here = bench()
    assert here.deliver(erasing()) == here.deliver(erasing()) == ["delivered gone"]
    assert here.journal() == ["GET /user 400", "GET /user 400"] * 2


@pytest.mark.parametrize(
    ("lag_s", "age_s", "settings", "seen", "left"),
    [
        (5, 1, {}, ["GET 400", "GET 200", "DELETE 200", "GET 400"], []),
        (5, 6, {}, ["GET 200", "DELETE 200", "GET 400"], []),
        (12, 1, {}, ["GET 400", "GET 400"], [JO]),
        (12, 1, {"look_again_s": 12}, ["GET 400", "GET 200", "DELETE 200", "GET 400"], []),
        (12, 13, {}, ["GET 200", "DELETE 200", "GET 200", "DELETE 404", "GET 400"], []),
        (0, 1, {"look_again_s": 0}, ["GET 200", "DELETE 200", "GET 400"], []),
    ],
)
def test_a_look_is_late_enough_to_see_what_reads_that_lag_behind_do_not_tell_yet(
    bench, lag_s, age_s, settings, seen, left
):
    here = bench(read_lag_s=lag_s)
    here.vendor.clock.set(1_000_000)
    here.ask("POST", "user", {"id": JO, "key": "email"})
    here.vendor.journal.clear()
    here.vendor.clock.advance(age_s)
    assert here.deliver(erasing(), **settings) == ["delivered gone"]
    assert [one.replace("/user ", "") for one in here.journal()] == seen
    assert here.emails() == left


class Belated(FakeSailthru):
    """Nobody is seen at first sight; and a profile comes back so many times after it was deleted."""

    looks, returns = 0, 0

    def answer(self, request: Request) -> Answer:
        if request.method == "GET" and not self.looks:
            self.users.delete({"id": JO, "key": "email"})
        answer = super().answer(request)
        self.looks += request.method == "GET"
        if self.looks == 1 or (request.method == "DELETE" and self.returns):
            self.returns -= request.method == "DELETE"
            self.users.post({"id": JO, "key": "email"}, 0, self.options)
        return answer


@pytest.mark.parametrize(("returns", "verdict"), [(2, "delivered gone"), (3, "retry still_there")])
def test_the_longest_erasure_comes_to_an_end(bench, returns, verdict):
    here = bench(Belated())
    here.vendor.seed({"users": [{"id": JO}]})
    here.vendor.returns = returns
    assert here.deliver(erasing()) == [verdict]
    assert len(here.journal()) == 8


@pytest.mark.parametrize("told", [Reply(status=200, body=b'{"ok": true}'), MISSING])
def test_what_follows_a_deletion_and_a_first_look_that_misses_is_a_later_look(told):
    settings = SailthruSettings.model_validate({**VALUES, "look_again_s": 7})
    memo = {"step": "erase:by_sid", "value": JO, "key": "email", "left": 3}
    deletion = Call(method="DELETE", path="user", json={"id": "s", "key": "sid"}, memo=memo)
    assert gateway_sailthru.on_reply(deletion, told, settings) == later(left=2)
    assert gateway_sailthru.on_reply(look_up(JO), MISSING, settings) == later(left=3)
    assert gateway_sailthru.on_reply(later(left=3), MISSING, settings) == delivered("gone")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("after", [False, True])
def test_an_erasure_that_fails_at_any_step_can_be_made_again(bench, method, after):
    here = bench()
    here.vendor.seed({"users": [{"id": JO}]})
    here.fault(method=method, close=True, after=after)
    assert here.deliver(erasing()) == ["retry closed"]
    assert here.deliver(erasing()) == ["delivered gone"]
    assert here.emails() == []


class Raced(FakeSailthru):
    """Somebody else deletes the profile just before we do."""

    def answer(self, request: Request) -> Answer:
        if request.method == "DELETE":
            self.users.delete({"id": JO, "key": "email"})
        return super().answer(request)


def test_a_profile_that_is_gone_when_it_is_to_be_deleted_counts_as_erased(bench):
    here = bench(Raced())
    here.vendor.seed({"users": [{"id": JO}]})
    assert here.deliver(erasing()) == ["delivered gone"]
    assert here.journal() == ["GET /user 200", "DELETE /user 404", "GET /user 400"]


class Stubborn(FakeSailthru):
    """A profile that comes back so many times after it was deleted."""

    returns = 0

    def answer(self, request: Request) -> Answer:
        answer = super().answer(request)
        if request.method == "DELETE" and self.returns:
            self.returns -= 1
            self.users.post({"id": JO, "key": "email"}, 0, self.options)
        return answer


@pytest.mark.parametrize(
    ("returns", "verdict", "deletions"),
    [(0, "delivered gone", 1), (1, "delivered gone", 2), (2, "delivered gone", 3), (3, "retry still_there", 3)],
)
def test_a_profile_that_comes_back_is_deleted_again_three_times_at_most(bench, returns, verdict, deletions):
    here = bench(Stubborn())
    here.vendor.seed({"users": [{"id": JO}]})
    here.vendor.returns = returns
    assert here.deliver(erasing()) == [verdict]
    assert here.journal().count("DELETE /user 200") == deletions


def test_reads_that_lag_behind_do_not_make_an_erasure_fail_for_good(bench):
    here = bench(read_lag_s=60)
    here.vendor.clock.set(1_000_000)
    here.vendor.seed({"users": [{"id": JO}]})
    (verdict,) = here.drive(here.plan(erasing()))
    assert (verdict.word, verdict.reason, verdict.after_s, verdict.restart) == ("retry", "still_there", 60.0, True)
    here.vendor.clock.advance(61)
    assert here.deliver(erasing()) == ["delivered gone"]


@pytest.mark.parametrize(("code", "verdict"), [("1", "rejected method_not_permitted"), ("9", "retry error_9")])
def test_a_deletion_that_is_not_permitted_or_fails_is_no_success(bench, code, verdict):
    here = bench()
    here.vendor.seed({"users": [{"id": JO}]})
    here.fault(method="DELETE", error_code=code)
    assert here.deliver(erasing()) == [verdict]
    assert here.emails() == [JO]
