from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gateway_sailthru
from gateway.sdk import Call, IdentityChange, Memory, Remember, Reply, Skip, User, delivered, refused, rejected, retry
from gateway.testing import Answer, Request, batch, custom_event, identity, plan_with, user
from gateway_sailthru.fake import FakeSailthru
from gateway_sailthru.settings import SailthruSettings
from gateway_sailthru.user_keys import find_email, normalise_address

VALUES = {"api_key": "test-key", "api_secret": "test-secret"}
SETTINGS = SailthruSettings.model_validate(VALUES)
OLD, NEW, SID = "old@example.com", "new@example.com", "5f0000000000000000000abc"


def email(value: str | None, **fields):
    return None if value is None else identity("email", value, **fields)


def changed(old: str | None, new: str | None, type: str = "email") -> IdentityChange:
    return IdentityChange(type=type, old=email(old), new=email(new))


def plan(*changes: IdentityChange, who: User | None = None, memory=None, events=(), **settings) -> list:
    said = batch(*events, user=who or user(email=NEW), identity_changes=changes)
    items = plan_with(gateway_sailthru, said, {**VALUES, **settings}, memory=memory or Memory())
    return [item for item in items if getattr(item, "path", "") != "event"]


def upsert(id: str, **fields) -> Call:
    payload = {"id": id, "key": "email", "keysconflict": "merge", **fields}
    return Call(method="POST", path="user", json=payload, scope="POST user")


def look_up(old: str, new: str, *, create: bool = True) -> Call:
    return Call(
        method="GET",
        path="user",
        json={"id": old, "key": "email", "fields": {"keys": 1}},
        scope="GET user",
        memo={"step": "move:look_up", "old": old, "new": new, "create": create},
    )


def move(old: str, new: str) -> Call:
    return Call(
        method="POST",
        path="user",
        json={"id": SID, "key": "sid", "keys": {"email": new}, "keysconflict": "merge", "fields": {"keys": 1}},
        scope="POST user",
        memo={"step": "move:by_sid", "old": old, "new": new, "create": True},
    )


def answer(call: Call, body, status: int = 200):
    return gateway_sailthru.on_reply(call, Reply(status=status, body=json.dumps(body).encode()), SETTINGS)


def not_found(id: str) -> dict:
    return {"error": 99, "errormsg": f"User not found with email: {id}"}


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("jo@example.com", "jo@example.com"),
        ("  Jo@Example.COM ", "jo@example.com"),
        ("jo+tag@sub.example.com", "jo+tag@sub.example.com"),
        ("o'brian@example.com", "o'brian@example.com"),
        ("jö@exämple.com", "jö@exämple.com"),
        ("jo", None),
        ("jo@example", None),
        ("jo@@example.com", None),
        ("jo@example..com", None),
        ("jo doe@example.com", None),
        ("a@example.com,b@example.com", None),
        ("jo@example.com\n", "jo@example.com"),
        ("jo\x00@example.com", None),
        ("j" * 242 + "@example.com", "j" * 242 + "@example.com"),
        ("j" * 243 + "@example.com", None),
    ],
)
def test_an_address_is_trimmed_and_in_lower_case_or_none_at_all(value, kept):
    assert normalise_address(email(value)) == kept


@given(st.text(max_size=20))
def test_an_address_once_read_is_read_alike_again(text):
    once = normalise_address(email(f"{text}@example.com"))
    assert once is None or normalise_address(email(once)) == once


def test_a_hash_is_never_taken_for_an_address():
    assert normalise_address(email("jo@example.com", encoding="sha256")) is None


def test_a_blank_or_hashed_address_does_not_hide_one_that_can_be_used():
    who = User(identities=(email("  "), email("9f86", encoding="md5"), email(NEW)))
    assert plan(changed(None, NEW), who=who) == [upsert(NEW)]


def test_a_first_address_creates_the_profile():
    assert plan(changed(None, NEW)) == [upsert(NEW)]


def test_a_changed_address_is_begun_with_a_look_at_the_old_one():
    assert plan(changed(OLD, NEW)) == [look_up(OLD, NEW)]


@pytest.mark.parametrize("spelt", ["NEW@example.com", " new@example.com ", "New@Example.Com"])
def test_an_address_that_changed_only_in_its_spelling_is_no_change(spelt):
    assert plan(changed(NEW, spelt), who=user(email=spelt)) == [Skip(reason="unchanged")]


def test_an_address_that_changed_twice_creates_a_profile_only_for_the_last():
    assert plan(changed("a@example.com", OLD), changed(OLD, NEW)) == [
        look_up("a@example.com", OLD, create=False),
        look_up(OLD, NEW),
    ]


@pytest.mark.parametrize(
    ("who", "created"),
    [
        (user(email=NEW), [False, True]),
        (user(email=OLD), [True, False]),
        (user(email="third@example.com"), [False, False]),
        (user(customer_id="c-1"), [False, True]),
    ],
)
def test_a_profile_is_created_only_for_the_address_that_the_user_has(who, created):
    planned = plan(changed("a@example.com", OLD), changed("b@example.com", NEW), who=who)
    assert [item.memo["create"] for item in planned if isinstance(item, Call)] == created


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (IdentityChange(type="email", old=email(OLD)), "removed_email"),
        (IdentityChange(type="email", old=email(OLD), new=email("9f86", encoding="md5")), "hashed_email"),
        (changed(OLD, "nonsense"), "invalid_email"),
        (changed(None, "second@example.com"), "further_email"),
    ],
)
def test_a_change_that_sailthru_cannot_follow_is_skipped_and_named(change, reason):
    assert plan(change) == [Skip(reason=reason, what="email"), Skip(reason="unchanged")]


@pytest.mark.parametrize("old", ["nonsense", "  "])
def test_a_change_from_what_was_no_address_is_a_first_address(old):
    assert plan(changed(old, NEW)) == [upsert(NEW)]


@pytest.mark.parametrize("old", [None, OLD])
def test_an_address_that_is_some_other_kind_of_identity_is_no_address(old):
    planned = plan(changed(old, NEW, type="google"))
    assert planned == [Skip(reason="not_forwarded", what="google"), Skip(reason="unchanged")]


@pytest.mark.parametrize("type", ["customer_id", "facebook", "other_id_2", "brand_new_type"])
def test_other_identities_are_not_forwarded_by_default(type):
    change = IdentityChange(type=type, new=identity(type, "x-1"))
    assert plan(change) == [Skip(reason="not_forwarded", what=type), Skip(reason="unchanged")]


def test_a_customer_id_becomes_the_key_extid_where_the_settings_say_so():
    change = IdentityChange(type="customer_id", new=identity("customer_id", "c-1"))
    who = user(email=NEW, customer_id="c-1")
    expected = [upsert(NEW, keys={"email": NEW, "extid": "c-1"})]
    assert plan(change, who=who, customer_id_as_extid=True) == expected
    assert plan(changed(None, NEW), who=who, customer_id_as_extid=True) == expected


def test_no_other_identity_becomes_the_extid():
    change = IdentityChange(type="other", new=identity("other", "o-1"))
    planned = plan(change, who=user(email=NEW, customer_id="c-1"), customer_id_as_extid=True)
    assert planned == [Skip(reason="not_forwarded", what="other"), Skip(reason="unchanged")]


def test_a_removed_customer_id_is_not_forwarded():
    change = IdentityChange(type="customer_id", old=identity("customer_id", "c-1"))
    assert plan(change, customer_id_as_extid=True)[0] == Skip(reason="not_forwarded", what="customer_id")


@pytest.mark.parametrize(
    ("who", "reason"),
    [
        (user(customer_id="c-1"), "no_email"),
        (user(email="nonsense"), "invalid_email"),
        (User(identities=(email("9f86", encoding="sha1"),)), "hashed_email"),
    ],
)
def test_somebody_without_an_address_is_skipped_with_the_reason(who, reason):
    assert plan(who=who) == [Skip(reason=reason)]


def test_a_profile_is_created_ahead_of_events_once_where_the_settings_say_so():
    (made, created) = plan(events=(custom_event(),), create_before_events=True)
    assert made == upsert(NEW)
    assert created.key == "created"
    again = plan(events=(custom_event(),), memory=Memory(user={"created": created.value}), create_before_events=True)
    assert again == [Skip(reason="unchanged")]
    other = Memory(user={"created": "of another address"})
    assert plan(events=(custom_event(),), memory=other, create_before_events=True) == [made, created]


def test_no_profile_is_created_ahead_of_nothing():
    assert plan(create_before_events=True) == [Skip(reason="unchanged")]


def test_what_is_remembered_of_a_created_profile_is_no_address():
    (_, created) = plan(events=(custom_event(),), create_before_events=True)
    assert isinstance(created, Remember)
    assert "example" not in str(created.value)


def test_a_profile_found_by_its_old_address_gets_the_new_one_by_sid():
    assert answer(look_up(OLD, NEW), {"keys": {"sid": SID, "email": OLD}}) == move(OLD, NEW)


@pytest.mark.parametrize("status", [200, 400, 404])
def test_nobody_with_the_old_address_means_a_profile_with_the_new_one(status):
    assert answer(look_up(OLD, NEW), not_found(OLD), status) == upsert(NEW)


def test_nobody_with_an_address_in_between_is_left_alone():
    assert answer(look_up(OLD, NEW, create=False), not_found(OLD), 400) == delivered("already_changed")


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (500, not_found(OLD), retry("error_99")),
        (400, {"error": 98, "errormsg": f"User not found with email: {OLD}"}, rejected("error_98")),
        (400, {"error": 99, "errormsg": f"No. User not found with email: {OLD}"}, rejected("error_99")),
        (200, ["User not found with"], retry("no_json")),
        (500, {"keys": {"sid": SID}}, None),
        (200, {"keys": {"sid": SID}, "error": 9, "errormsg": "no"}, retry("error_9")),
    ],
)
def test_what_only_looks_like_an_answer_to_the_look_up_is_none(status, body, expected):
    assert answer(look_up(OLD, NEW), body, status) == expected


@pytest.mark.parametrize("body", [{}, {"keys": None}, {"keys": {}}, {"keys": {"sid": 7}}, {"keys": "x"}])
def test_a_profile_without_a_sid_is_a_dead_letter(body):
    assert answer(look_up(OLD, NEW), body) == rejected("no_sid")


@pytest.mark.parametrize("step", [look_up(OLD, NEW), move(OLD, NEW)], ids=["look_up", "move"])
@pytest.mark.parametrize(
    ("status", "code", "verdict"),
    [
        (401, 5, refused("signature")),
        (500, 9, retry("error_9")),
        (400, 11, rejected("invalid_email")),
        (400, 99, rejected("error_99")),
        (409, 99, rejected("error_99")),
    ],
)
def test_a_step_that_fails_is_judged_like_any_call(step, status, code, verdict):
    assert answer(step, {"error": code, "errormsg": "no"}, status) == verdict


def test_a_move_is_done_when_the_profile_tells_the_new_address():
    assert answer(move(OLD, NEW), {"ok": True, "keys": {"sid": SID, "email": NEW}}) is None
    assert answer(move(OLD, NEW), {"ok": True, "keys": {"sid": SID, "email": NEW.upper()}}) is None
    assert answer(move(OLD, NEW), {"ok": True}) is None


def test_a_move_that_left_the_old_address_is_a_dead_letter():
    assert answer(move(OLD, NEW), {"ok": True, "keys": {"sid": SID, "email": OLD}}) == rejected("address_not_changed")


def test_a_move_of_a_profile_that_went_away_begins_again():
    assert answer(move(OLD, NEW), {"error": 99, "errormsg": f"User not found with sid: {SID}"}, 400) == look_up(
        OLD, NEW
    )


@pytest.fixture
def known(bench):
    """A fake that knows somebody by the old address, with a history."""
    here = bench()
    here.vendor.seed({"users": [{"id": OLD, "sid": SID, "vars": {"a": "1"}, "lists": {"Gold": 1}}]})
    return here


MOVED = batch(user=user(email=NEW), identity_changes=(changed(OLD, NEW),))
HISTORY = {"keys": {"email": NEW}, "vars": {"a": "1"}, "lists": ["Gold"], "optout": "none"}


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "spoilt",
    [{"close": True}, {"close": True, "after": True}, {"status": 502}, {"status": 502, "after": True}],
    ids=["lost", "taken and lost", "failed", "taken and failed"],
)
def test_a_change_that_fails_at_any_step_can_be_made_again(known, method, spoilt):
    known.fault(method=method, path="user", **spoilt)
    assert known.deliver(MOVED)[0].startswith("retry ")
    assert known.deliver(MOVED) == ["delivered"]
    assert (known.emails(), known.sid(NEW), known.user(NEW)) == ([NEW], SID, HISTORY)


def test_a_changed_address_keeps_sid_vars_and_lists(known):
    assert known.deliver(MOVED) == ["delivered"]
    assert known.journal() == ["GET /user 200", "POST /user 200"]
    assert (known.emails(), known.sid(NEW), known.user(NEW)) == ([NEW], SID, HISTORY)


def test_a_change_that_is_made_twice_changes_nothing_more(known):
    assert known.deliver(MOVED) == known.deliver(MOVED) == ["delivered"]
    assert (known.emails(), known.sid(NEW), known.user(NEW)) == ([NEW], SID, HISTORY)


def test_a_change_whose_answer_was_lost_can_be_made_again(known):
    known.ask("POST", "user", move(OLD, NEW).json)
    assert known.deliver(MOVED) == ["delivered"]
    assert (known.emails(), known.sid(NEW), known.user(NEW)) == ([NEW], SID, HISTORY)


def test_a_change_to_an_address_that_is_taken_merges_the_two(known):
    known.vendor.seed({"users": [{"id": NEW, "vars": {"a": "theirs", "b": "2"}, "optout_email": "all"}]})
    assert known.deliver(MOVED) == ["delivered"]
    assert (known.emails(), known.sid(NEW)) == ([NEW], SID)
    assert known.user(NEW) == {**HISTORY, "vars": {"a": "1", "b": "2"}, "optout": "all"}


def test_a_change_of_somebody_unknown_creates_them_under_the_new_address(bench):
    here = bench()
    assert here.deliver(MOVED) == ["delivered"]
    assert here.emails() == [NEW]


def test_attributes_and_events_of_the_same_batch_find_the_new_address(known):
    said = batch(custom_event(), user=user(email=NEW, attributes={"b": "2"}), identity_changes=(changed(OLD, NEW),))
    assert known.deliver(said) == ["delivered"] * 3
    assert known.user(NEW)["vars"] == {"a": "1", "b": "2"}
    assert [event["profile"]["keys"]["sid"] for event in known.vendor.events] == [SID]


class Rival(FakeSailthru):
    """Somebody else changes the address between our two calls."""

    def answer(self, request: Request) -> Answer:
        if request.method == "POST" and OLD in self.emails():
            self.users.post({"id": OLD, "key": "email", "keys": {"email": NEW}}, 0, self.options)
        return super().answer(request)

    def emails(self) -> list[str]:
        return [person.keys["email"] for person in self.users.profiles.values()]


def test_a_race_for_the_new_address_ends_with_one_profile(bench):
    here = bench(Rival())
    here.vendor.seed({"users": [{"id": OLD, "sid": SID}]})
    assert here.deliver(MOVED) == ["delivered"]
    assert (here.emails(), here.sid(NEW)) == ([NEW], SID)


def test_two_ids_of_one_person_end_as_one_profile_with_both(bench):
    here = bench()
    here.vendor.seed({"users": [{"id": OLD, "keys": {"extid": "c-1"}, "vars": {"a": "1"}}]})
    gained = IdentityChange(type="customer_id", new=identity("customer_id", "c-1"))
    said = batch(user=user(email=NEW, customer_id="c-1"), identity_changes=(changed(None, NEW), gained))
    assert here.deliver(said, customer_id_as_extid=True) == ["delivered"]
    assert here.user(NEW) == {"keys": {"email": NEW, "extid": "c-1"}, "vars": {"a": "1"}, "lists": [], "optout": "none"}


@pytest.mark.parametrize("odd", ["\u200b", "\ufffd", "\ue000", "\ufdd0"])
def test_an_address_with_a_character_that_no_address_has_is_invalid(odd):
    assert find_email(user(email=f"jo{odd}8@example.com")) == Skip(reason="invalid_email")
    assert find_email(user(email=f"{odd if odd == chr(0x200B) else ''}Jo8@example.com")) == "jo8@example.com"
