"""Changes that no event states: a profile goes whole unless Sailthru is known to have it; no attribute is lost."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gateway_sailthru
from gateway.sdk import (
    AttributeChange,
    Audience,
    Batch,
    Call,
    IdentityChange,
    Memory,
    Quarantined,
    Remember,
    Skip,
    User,
)
from gateway.testing import batch, custom_event, identity, membership, plan_with, session, user

VALUES = {"api_key": "test-key", "api_secret": "test-secret"}
JO, OLD = "jo@example.com", "old@example.com"
UNCHANGED = Skip(reason="unchanged")
NOTHING = Memory()


def person(email: str = JO, **attributes) -> User:
    return user(email=email, attributes=attributes)


def change(name: str, value=None, **fields) -> AttributeChange:
    return AttributeChange(name=name, value=value, **fields)


def moved(old: str | None, new: str) -> IdentityChange:
    return IdentityChange(type="email", old=identity("email", old) if old else None, new=identity("email", new))


def told(*changes: AttributeChange, who: User, **fields) -> Batch:
    """A batch that tells of something the user did, and of the whole profile along with it."""
    return batch(custom_event(), user=who, attribute_changes=changes, **fields)


def plan(said: Batch, memory: Memory = NOTHING, **settings) -> list:
    return plan_with(gateway_sailthru, said, {**VALUES, **settings}, memory=memory)


def after(said: Batch, memory: Memory = NOTHING, **settings) -> Memory:
    """Return the memory once the batch was delivered."""
    kept = {item.key: item.value for item in plan(said, memory, **settings) if isinstance(item, Remember)}
    return Memory(user={**memory.user, **kept})


def vars_of(items: list) -> list[dict]:
    return [
        item.json["vars"] for item in items if isinstance(item, Call) and item.path == "user" and "vars" in item.json
    ]


ALONG = [
    {},
    {"events": (custom_event(),)},
    {"events": (session(),)},
    {"quarantined": (Quarantined(id="e-1", problem="no name"),)},
    {"memberships": (membership(),)},
    {"audience": Audience(id="1", name="Gold", action="add")},
    {"identity_changes": (IdentityChange(type="customer_id", new=identity("customer_id", "c-1")),)},
    {"identity_changes": (moved(None, JO),)},
    {"identity_changes": (moved(OLD, JO),)},
]


@pytest.mark.parametrize("along", ALONG)
def test_an_unknown_profile_is_sent_whole_whatever_it_came_along_with(along):
    said = batch(user=person(a="1", b="2"), **along)
    assert vars_of(plan(said)) == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize("along", ALONG)
def test_a_known_profile_is_not_sent_again_whatever_it_came_along_with(along):
    said = batch(user=person(a="1", b="2"), **along)
    assert vars_of(plan(said, after(told(who=person(a="1", b="2"))))) == []


def test_a_profile_without_change_is_skipped_as_unchanged():
    items = plan(told(who=person(a="1")), after(told(who=person(a="1"))))
    assert [item for item in items if not isinstance(item, Call)] == [UNCHANGED, UNCHANGED]


@pytest.mark.parametrize(
    "now",
    [{"a": "2"}, {"a": "1", "b": "2"}, {"b": "1"}, {"a": 1}, {"a": True}, {"a": None}, {"a": ["1", "2"]}, {"$a": "2"}],
)
def test_a_profile_that_differs_from_the_known_one_is_sent_whole_without_being_said_to_have_changed(now):
    known = after(told(who=person(a="1")))
    (sent,) = vars_of(plan(told(who=user(email=JO, attributes=now)), known))
    assert list(sent) == [name.removeprefix("$") for name in now]


def test_the_order_of_attributes_does_not_matter_nor_that_of_names_within_a_value():
    one, other = {"a": {"x": 1, "y": 2}, "b": "2"}, {"b": "2", "a": {"y": 2, "x": 1}}
    assert vars_of(plan(told(who=person(**other)), after(told(who=person(**one))))) == []


def test_a_profile_is_known_by_its_vars_so_that_new_settings_send_it_again():
    known = after(told(who=person(likes=["x"])))
    assert vars_of(plan(told(who=person(likes=["x"])), known, array_mode="keep")) == [{"likes": ["x"]}]


def test_a_change_alone_is_sent_where_all_the_rest_is_known():
    known = after(told(who=person(a="1", b="2")))
    said = told(change("a", "9", old="1"), change("c", "3"), who=person(a="9", b="2", c="3"))
    assert vars_of(plan(said, known)) == [{"a": "9", "c": "3"}]
    assert vars_of(plan(told(who=person(a="9", b="2", c="3")), after(said, known))) == []


def test_of_several_changes_of_one_attribute_the_first_tells_what_was_known():
    known = after(told(who=person(a="1", b="2")))
    said = told(change("a", "5", old="1"), change("a", "9", old="5"), who=person(a="9", b="2"))
    assert vars_of(plan(said, known)) == [{"a": "9"}]


def test_a_removal_alone_is_sent_where_all_the_rest_is_known():
    known = after(told(who=person(a="1", b="2")))
    said = told(change("a", removed=True, old="1"), who=person(b="2"))
    assert vars_of(plan(said, known)) == [{"a": None}]
    assert vars_of(plan(told(who=person(b="2")), after(said, known))) == []


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        (told(change("a", "9"), who=person(a="9", b="2")), {"a": "9", "b": "2"}),
        (told(change("a", "9", old="0"), who=person(a="9", b="2")), {"a": "9", "b": "2"}),
        (told(change("a", "9", old="1"), who=person(a="9", b="7")), {"a": "9", "b": "7"}),
        (told(change("a", removed=True), who=person(b="2")), {"a": None, "b": "2"}),
        (told(who=user(email=JO, attributes={"b": "2"}, removed=("a",))), {"a": None, "b": "2"}),
    ],
)
def test_a_change_takes_the_profile_along_where_something_else_may_differ_too(said, sent):
    assert vars_of(plan(said, after(told(who=person(a="1", b="2"))))) == [sent]


def test_a_change_that_is_said_is_sent_although_it_is_known():
    said = told(change("a", "1"), who=person(a="1", b="2"))
    assert vars_of(plan(said, after(said))) == [{"a": "1"}]
    assert [item for item in plan(said, after(said)) if isinstance(item, Remember)] == []


def test_a_changed_address_takes_the_vars_along_and_does_not_send_them_again():
    known = after(told(who=person(OLD, a="1")))
    said = told(
        who=person(a="1"), identity_changes=(moved(OLD, "between@example.com"), moved("between@example.com", JO))
    )
    assert vars_of(plan(said, known)) == []
    assert vars_of(plan(told(who=person(a="1")), after(said, known))) == []
    both = told(change("a", "2", old="1"), who=person(a="2", b="1"), identity_changes=(moved(OLD, JO),))
    assert vars_of(plan(both, after(told(who=person(OLD, a="1", b="1"))))) == [{"a": "2"}]


@pytest.mark.parametrize("changes", [(), (moved(None, JO),), (moved("third@example.com", JO),)])
def test_another_address_that_no_known_profile_moved_to_gets_the_whole_profile(changes):
    known = after(told(who=person(OLD, a="1")))
    assert vars_of(plan(told(who=person(a="1"), identity_changes=changes), known)) == [{"a": "1"}]


def test_an_optout_never_goes_with_a_profile_that_was_not_said_to_have_changed():
    items = plan(told(change("a", "1"), who=person(a="1", consent="all")), optout_attribute="consent")
    assert vars_of(items) == [{"a": "1", "consent": "all"}]
    assert not any("optout_email" in item.json for item in items if isinstance(item, Call))


def test_somebody_who_was_erased_is_sent_whole_when_they_come_back():
    known = after(told(who=person(a="1")))
    forgotten = Memory(user={"erased_ms": 0, **dict.fromkeys(known.user)})
    assert vars_of(plan(told(who=person(a="1")), forgotten)) == [{"a": "1"}]


def test_only_a_hash_of_the_profile_is_remembered():
    (kept,) = after(told(who=person(a="a secret"))).user.values()
    assert re.fullmatch(r"[0-9a-f]{16}", kept)


def test_nothing_is_remembered_of_somebody_without_an_address():
    assert after(told(who=user(customer_id="c-1", attributes={"a": "1"}))) == NOTHING


def test_what_is_remembered_belongs_to_the_attributes_so_that_a_dead_letter_of_theirs_forgets_it(bench):
    here = bench()
    said = batch(custom_event(), user=person(a="1"))
    here.fault(path="user", error_code="99")
    assert [word.split()[0] for word in here.deliver(said)] == ["rejected", "delivered"]
    assert here.deliver(said) == ["delivered", "delivered"]  # nothing was remembered, so it is sent again
    assert here.user(JO)["vars"] == {"a": "1"}
    assert here.deliver(said, memory=after(said)) == ["delivered"]


profiles = st.dictionaries(st.sampled_from(["a", "$a", "b"]), st.sampled_from(["1", "2", 3, None]), min_size=1)


@given(st.lists(st.tuples(profiles, st.sampled_from(["all", "some", "none"])), max_size=6))
def test_sailthru_has_every_attribute_of_the_profile_whatever_was_said_of_changes(tellings):
    known, has, before = NOTHING, {}, {}
    for profile, said_of in tellings:
        changed = [
            change(name, value, old=before.get(name)) for name, value in profile.items() if value != before.get(name)
        ]
        said = {"all": changed, "some": changed[:1], "none": []}[said_of]
        news = told(*said, who=user(email=JO, attributes=profile))
        for vars in vars_of(plan(news, known)):
            has.update(vars)
        expected = next(iter(vars_of(plan(told(who=user(email=JO, attributes=profile))))), {})
        assert {name: has.get(name) for name in expected} == expected
        known, before = after(news, known), profile
