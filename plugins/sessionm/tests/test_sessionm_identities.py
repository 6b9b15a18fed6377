from __future__ import annotations

import pytest

import gateway_sessionm
from gateway.sdk import Call, IdentityChange, Memory, Remember, Skip, User
from gateway.testing import batch, custom_event, identity, plan_with, user
from gateway_sessionm.user_keys import Identifier, collect_keys, find_missing, read_identifiers, remember_identifiers

VALUES = {"host": "https://api-acme.stg-sessionm.com", "api_key": "test-key", "api_secret": "test-secret"}
MPID = "7346244611012968789"


def plan(person: User, *events, memory: Memory = Memory(), **settings) -> list[Call | Skip | Remember]:  # noqa: B008  # a Memory does not change
    return plan_with(gateway_sessionm, batch(*events, user=person), {**VALUES, **settings}, memory=memory)


def reasons(items) -> list[tuple[str | None, str]]:
    return [(item.what, item.reason) for item in items if isinstance(item, Skip)]


def test_r05_an_email_is_written_to_its_own_field():
    (call,) = plan(user(email="Jo@Example.com "))
    assert (call.method, call.path, call.json) == (
        "PUT",
        f"external/users/{MPID}",
        {"user": {"email": "jo@example.com"}},
    )


def test_r05_another_identity_is_an_external_id_that_is_never_written_unseen():
    (call,) = plan(user(customer_id="c-1"))
    assert (call.method, call.path, call.json) == ("GET", f"external/users/{MPID}", None)
    assert call.params == {"show_identifiers": "true"}


@pytest.mark.parametrize("mpid", ["7346244611012968789", "-5227515829034156637", "9007199254740993", "1"])
def test_r15_every_request_carries_the_mpid(mpid):
    items = plan(user(mpid, attributes={"a": "1"}, email="jo@example.com"), custom_event())
    assert [item.path for item in items] == [f"external/users/{mpid}"] * 2 + [f"external/users/{mpid}/events"]


@pytest.mark.parametrize("mpid", [None, "", "0", " ", " 0 "])
def test_r15_nothing_is_sent_of_a_user_without_mpid(mpid):
    items = plan(user(mpid, attributes={"a": "1"}, email="jo@example.com"), custom_event())
    assert items == [Skip(reason="no_mpid")] * 3


@pytest.mark.parametrize("mpid", [".", "..", "\ud800"])
def test_an_mpid_that_would_aim_elsewhere_is_refused(mpid):
    items = plan(user(mpid, attributes={"a": "1"}, email="jo@example.com"), custom_event())
    assert items == [Skip(reason="bad_identity")] * 3


def test_a_strange_mpid_stays_one_quoted_segment():
    (call,) = plan(user("a/b?c=d#e %@", email="jo@example.com"))
    assert call.path == "external/users/a%2Fb%3Fc%3Dd%23e%20%25%40"


def test_r16_only_identities_that_are_given_appear_anywhere(bench):
    here = bench()
    here.deliver(batch(custom_event(), user=user(customer_id="c-1")))
    assert here.identifiers(MPID) == {"c-1": "customer_id", MPID: "mparticle_mpid"}
    assert here.user(MPID)["email"] is None


@pytest.mark.parametrize("value", ["A b", " c ", "ÄÖ", "x/y", "Jo@Example.COM", "0012"])
def test_r17_identity_values_are_sent_verbatim(value):
    assert collect_keys(user(customer_id=value), {}).identifiers == [Identifier(value, "customer_id")]


def test_customer_id_comes_first_and_the_rest_by_type():
    person = user(google="g", other_id_2="o2", customer_id="c", mobile_number="m", email="e")
    assert [each.external_id for each in collect_keys(person, {}).identifiers] == ["c", "g", "m", "o2"]


def test_a_mobile_number_is_an_external_id_and_no_phone():
    person = collect_keys(user(mobile_number="+390612345"), {})
    assert person.identifiers == [Identifier("+390612345", "mobile_number")]


def test_types_can_be_renamed():
    assert collect_keys(user(customer_id="c", other="o"), {"customer_id": "card"}).identifiers == [
        Identifier("c", "card"),
        Identifier("o", "other"),
    ]


def test_the_same_identifier_twice_is_one():
    person = User(mpid=MPID, identities=(identity("other", "x"), identity("other_id_2", "x")))
    assert collect_keys(person, {"other_id_2": "other"}).identifiers == [Identifier("x", "other")]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (identity("customer_id", ""), "empty_identity"),
        (identity("customer_id", "  "), "empty_identity"),
        (identity("email", ""), "empty_identity"),
        (identity("customer_id", "9f86d0", encoding="sha256"), "hashed_identity"),
        (identity("email", "9f86d0", encoding="md5"), "hashed_identity"),
        (identity("customer_id", "."), "bad_identity"),
        (identity("customer_id", ".."), "bad_identity"),
    ],
)
def test_identities_that_cannot_be_used_are_left_out_by_name(given, reason):
    items = plan(User(mpid=MPID, identities=(given,)))
    assert reasons(items) == [(given.type, reason), (None, "nothing_to_send")]


SIX = {"customer_id": "c", **{f"other_id_{number}": f"o-{number}" for number in range(2, 7)}}


@pytest.mark.parametrize(
    ("given", "types"),
    [
        (SIX, []),
        ({**SIX, "other_id_7": "o-2", "email": "jo@example.com"}, []),
        ({**SIX, "yahoo": "y"}, ["yahoo"]),
        ({**SIX, "facebook": "f", "yahoo": "y"}, ["other_id_6", "yahoo"]),
    ],
)
def test_identities_beyond_the_sixth_are_sent_but_the_user_is_not_looked_for_under_them(given, types):
    items = plan(user(**given), identity_types={"yahoo": "y-card"})
    assert reasons(items) == [(type, "not_looked_under") for type in types]
    (call,) = (item for item in items if isinstance(item, Call))
    assert len(call.memo["identifiers"]) == len(given) - ("email" in given)


def test_types_that_are_not_looked_under_are_named_once_and_not_where_the_ids_are_known():
    others = tuple(identity("other", f"o-{number}") for number in range(9))
    person = User(mpid=MPID, identities=others)
    assert reasons(plan(person)) == [("other", "not_looked_under")]
    memory = remember_identifiers(MPID, [Identifier(each.value, "other") for each in others])
    assert reasons(plan(person, memory=Memory(user={memory.key: memory.value}))) == [(None, "already_known")]


def test_a_second_email_is_left_out_by_name():
    addresses = ("a@example.com", "b@example.com", "a@example.com", "c@example.com")
    items = plan(User(mpid=MPID, identities=tuple(identity("email", address) for address in addresses)))
    assert items[0].json == {"user": {"email": "a@example.com"}}
    assert reasons(items) == [("email", "second_email")] * 2


def test_a_lost_identity_alone_sends_nothing():
    lost = IdentityChange(type="customer_id", old=identity("customer_id", "c-1"))
    items = plan_with(gateway_sessionm, batch(identity_changes=(lost,)), VALUES)
    assert items == [Skip(reason="nothing_to_send")]


def remembered(*identifiers: Identifier, mpid: str = MPID) -> Memory:
    memory = remember_identifiers(mpid, identifiers)
    return Memory(user={memory.key: memory.value})


CARD = Identifier("c-1", "customer_id")


def test_confirmed_identifiers_are_not_looked_at_again():
    assert plan(user(customer_id="c-1"), memory=remembered(CARD)) == [Skip(reason="already_known")]


def test_an_email_is_written_although_the_identifiers_are_confirmed():
    (call,) = plan(user(customer_id="c-1", email="jo@example.com"), memory=remembered(CARD))
    assert call.method == "PUT"
    assert "unconfirmed" not in call.memo


@pytest.mark.parametrize(
    "memory",
    [
        remembered(Identifier("c-2", "customer_id")),
        remembered(Identifier("c-1", "other")),
        remembered(CARD, mpid="77"),
        Memory(user={"identifiers": None}),
        Memory(shared={"identifiers": remember_identifiers(MPID, [CARD]).value}),
    ],
)
def test_what_was_confirmed_of_something_else_does_not_count(memory):
    (call,) = plan(user(customer_id="c-1"), memory=memory)
    assert call.method == "GET"


def test_fewer_identifiers_than_confirmed_are_confirmed():
    memory = remembered(CARD, Identifier("o", "other"))
    assert plan(user(other="o"), memory=memory) == [Skip(reason="already_known")]


def test_what_is_remembered_does_not_tell_the_identifier():
    assert "c-1" not in repr(remember_identifiers(MPID, [CARD]))


@pytest.mark.parametrize(
    ("listed", "known"),
    [
        (
            [{"external_id": "x", "external_id_type": "t", "more": 1}],
            [{"external_id": "x", "external_id_type": "t"}],
        ),
        ([{"external_id": "x"}], [{"external_id": "x"}]),
        ([{"external_id": "x", "external_id_type": None}], [{"external_id": "x"}]),
        ([], []),
        (None, None),
        ({}, None),
        ([{"external_id": 7}], None),
        ([{"external_id": "x"}, "y"], None),
    ],
)
def test_a_list_of_ids_is_used_only_where_all_of_it_can_be_read(listed, known):
    assert read_identifiers({"identifiers": listed}) == known


@pytest.mark.parametrize(
    ("known", "new"),
    [
        ([], ["c-1"]),
        ([{"external_id": "c-1", "external_id_type": "customer_id"}], []),
        ([{"external_id": "c-1"}], []),
        ([{"external_id": "c-1", "external_id_type": "card"}], ["c-1"]),
        ([{"external_id": "c-2", "external_id_type": "customer_id"}], ["c-1"]),
    ],
)
def test_an_id_is_missing_unless_it_is_shown_under_its_type_or_under_none(known, new):
    assert [each["external_id"] for each in find_missing([CARD], known)] == new


@pytest.mark.parametrize("odd", ["\u200b", "\ufffd", "\ue000", " "])
def test_an_address_with_a_character_that_no_address_has_is_left_out_and_named(odd):
    planned = plan(user(email=f"jo{odd}8@example.com", customer_id="c-8"))
    assert Skip(reason="invalid_email", what="email") in planned
    assert not any("email" in str(item.json) for item in planned if isinstance(item, Call))
