"""Changes of names and values, applied after the filter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.facts import iter_facts
from gateway.govern.changes import Changes
from gateway.govern.decisions import GovernedBatch, WithheldFact
from gateway.journal.types import KeptBack
from gateway.sdk import (
    AttributeChange,
    AudienceAttribute,
    Batch,
    Erasure,
    Membership,
    Product,
    ProductAction,
    User,
)
from gateway.settings.filtering import Change
from gateway.testing import batch, custom_event, membership, screen_view, session, user


def changed(said: Batch, *changes: dict) -> GovernedBatch:
    steps = Changes([Change.model_validate(change) for change in changes], "connections.post")
    return steps.apply(GovernedBatch(batch=said, facts=tuple(iter_facts(said))))


def attributes(given, *changes):
    """Return a user's attributes as changed, and the names of those lost."""
    result = changed(batch(user=user(attributes=given)), *changes)
    return result.batch.user.attributes, result.kept_back.get("attributes", ())


def off(cause, *names):
    return KeptBack(cause=f"connections.post.changes.{cause}", names=names)


@pytest.mark.parametrize(
    ("given", "change", "expected", "lost"),
    [
        ({"a": 1, "b": 2}, {"rename": {"a": "A"}}, {"A": 1, "b": 2}, ()),
        ({"a": 1, "b": 2}, {"rename": {"a": "b", "b": "a"}}, {"a": 2, "b": 1}, None),
        ({"a": 1, "A": 2}, {"rename": {"a": "A"}}, {"A": 2}, (off("0.rename", "a"),)),
        ({"favoritecolor": "r"}, {"spell": ["FavoriteColor"]}, {"FavoriteColor": "r"}, ()),
        ({"FAVORITECOLOR": "r", "FavoriteColor": "b"}, {"spell": ["FavoriteColor"]}, {"FavoriteColor": "b"}, None),
        ({"fAV": 1, "FAV": 2}, {"spell": ["Fav"]}, {"Fav": 2}, (off("0.spell", "fAV"),)),
        ({"Größe": 1}, {"spell": ["GRÖSSE"]}, {"GRÖSSE": 1}, ()),
        ({"Fav Color": "r"}, {"case": "lower"}, {"fav color": "r"}, ()),
        ({"Fav Color": "r"}, {"case": "upper"}, {"FAV COLOR": "r"}, ()),
        ({"a": 1}, {"set": {"source": "mparticle", "vip": True}}, {"a": 1, "source": "mparticle", "vip": True}, ()),
        ({"a": 1}, {"set": {"a": 2}}, {"a": 2}, ()),
        ({}, {"set": {"a": 2}}, {}, ()),
        ({"a": 1, "b": 2, "c": 3}, {"drop": ["c", "b"]}, {"a": 1}, (off("0.drop", "b", "c"),)),
        (
            {"name": "Jo van Dam", "x": 1},
            {"split": {"name": {"by": " ", "into": ["$FirstName", "$LastName"]}}},
            {"$FirstName": "Jo", "$LastName": "van Dam", "x": 1},
            (),
        ),
        ({"name": "Jo"}, {"split": {"name": {"by": " ", "into": ["first", "last"]}}}, {"first": "Jo"}, ()),
        ({"sizes": "S, M,,L"}, {"split": {"sizes": {"by": ","}}}, {"sizes": ["S", "M", "L"]}, ()),
        ({"name": " "}, {"split": {"name": {"by": " ", "into": ["first"]}}}, {"name": " "}, ()),
        (
            {"first": "Al", "name": "Jo Dam"},
            {"split": {"name": {"by": " ", "into": ["first", "last"]}}},
            {"first": "Al", "last": "Dam"},
            (off("0.split", "name"),),
        ),
        (
            {"name": "Jo Dam", "born": "Jo Lee", "x": 1},
            {
                "split": {
                    "name": {"by": " ", "into": ["first", "last"]},
                    "born": {"by": " ", "into": ["first", "maiden"]},
                }
            },
            {"first": "Jo", "last": "Dam", "maiden": "Lee", "x": 1},
            (off("0.split", "name"),),
        ),
        ({"sizes": 42}, {"split": {"sizes": {"by": ","}}}, {"sizes": 42}, ()),
    ],
)
def test_a_users_attributes_are_changed(given, change, expected, lost):
    result, kept_back = attributes(given, change)
    assert result == expected
    assert lost is None or kept_back == lost


def test_each_change_applies_to_the_result_of_the_one_before():
    assert attributes({"Full Name": "Jo Dam"}, {"case": "lower"}, {"rename": {"full name": "name"}}) == (
        {"name": "Jo Dam"},
        (),
    )
    assert attributes({"B": 1, "c": 2}, {"case": "lower"}, {"drop": ["b"]}) == ({"c": 2}, (off("1.drop", "b"),))


def test_changes_apply_to_removals_and_to_attributes_shared_with_audiences():
    said = batch(
        user=User(attributes={"Name": "Jo Dam"}, removed_attributes=("Old", "Name")),
        attribute_changes=(
            AttributeChange(name="Name", value="Jo Dam"),
            AttributeChange(name="Old", removed=True),
            AttributeChange(name="Name", removed=True),
        ),
        memberships=(membership(attributes=(AudienceAttribute(name="Name", value="Jo Dam"),)),),
    )
    result = changed(said, {"split": {"Name": {"by": " ", "into": ["first", "last"]}}}, {"rename": {"Old": "old"}})
    assert result.batch.user.removed_attributes == ("old", "first", "last")
    first, last = AttributeChange(name="first", value="Jo"), AttributeChange(name="last", value="Dam")
    told = (
        first,
        last,
        AttributeChange(name="old", removed=True),
        AttributeChange(name="first", removed=True),
        AttributeChange(name="last", removed=True),
    )
    assert result.batch.attribute_changes == told
    asked = {fact.hook: next(iter(fact.arguments.values())) for fact in result.facts}
    assert asked["on_attributes"] == told
    assert asked["on_membership"].attributes == (
        AudienceAttribute(name="first", value="Jo"),
        AudienceAttribute(name="last", value="Dam"),
    )


SAID = batch(
    custom_event("sign up", id="a", attributes={"Plan": "gold", "secret": 1}),
    screen_view("home", id="b", attributes={"Plan": "gold"}),
    session(id="c"),
    ProductAction(
        id="d", type="commerce_event", action="purchase", products=(Product(name="x", attributes={"Size": "L"}),)
    ),
)


def events(*changes):
    result = changed(SAID, *changes)
    assert result.batch.events == tuple(next(iter(fact.arguments.values())) for fact in result.facts)
    return result, {event.id: event for event in result.batch.events}


def test_names_of_events_and_screens_are_changed_and_other_kinds_are_not():
    rename = {"sign up": "Signup", "home": "no"}
    _, by_id = events({"of": "events", "rename": rename}, {"of": "screens", "case": "upper"})
    assert (by_id["a"].name, by_id["b"].name, len(by_id)) == ("Signup", "HOME", 4)


def test_an_event_that_is_dropped_is_withheld_by_the_change():
    result, by_id = events({"of": "events", "spell": ["Signup"]}, {"of": "events", "drop": ["sign up"]})
    assert list(by_id) == ["b", "c", "d"]
    assert result.withheld == (WithheldFact(fact="a", reason="dropped", cause="connections.post.changes.1.drop"),)


def test_attributes_of_events_are_changed_by_kind_and_by_name():
    lower = {"case": "lower"}
    result, by_id = events(
        {"of": "event_attributes", "only": ["sign up"], "drop": ["secret"]},
        {"of": "event_attributes", "only": ["other"], "drop": ["Plan"]},
        {"of": "commerce_attributes", **lower},
    )
    assert by_id["a"].attributes == {"Plan": "gold"}
    assert by_id["b"].attributes == {"Plan": "gold"}
    assert by_id["d"].products[0].attributes == {"size": "L"}
    assert result.kept_back == {"a": (off("0.drop", "secret"),)}


def test_a_user_without_any_attribute_left_is_withheld():
    result = changed(batch(user=user(attributes={"a": 1})), {"case": "lower"}, {"drop": ["a"]})
    assert (result.facts, [each.reason for each in result.withheld]) == ((), ["dropped"])


def test_an_erasure_is_not_changed():
    said = batch(user=user(attributes={"a": 1}), erasure=Erasure(request_id="r"))
    assert changed(said, {"drop": ["a"]}).batch == said


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, "must have exactly one of"),
        ({"drop": ["a"], "case": "lower"}, "must have exactly one of"),
        ({"of": "events", "set": {"a": 1}}, "set changes attribute values"),
        ({"of": "events", "only": ["a"], "drop": ["a"]}, "only works with event_attributes"),
        ({"only": ["a"], "drop": ["a"]}, "only works with event_attributes"),
        ({"split": {"a": {"by": ""}}}, "at least 1 character"),
        ({"spell": ["Colour", "COLOUR"]}, "lists a name twice, in different case"),
    ],
)
def test_a_change_that_says_nothing_or_too_much_is_an_error(change, problem):
    with pytest.raises(ValidationError, match=problem):
        Change.model_validate(change)


@given(st.dictionaries(st.text(), st.integers()), st.sampled_from([{"case": "lower"}, {"spell": ["A", "ß", "İ"]}]))
def test_no_value_is_made_up_and_every_one_lost_is_named(values, change):
    result, kept_back = attributes(values, change)
    lost = sum(len(one.names) + one.more for one in kept_back)
    assert (len(result) + lost, set(result.values()) <= set(values.values())) == (len(values), True)


def test_a_membership_without_attributes_stays_as_it_is():
    said = batch(memberships=(membership(),))
    (fact,) = changed(said, {"case": "lower"}).facts
    assert fact.arguments == {"membership": Membership(audience_id="1234", audience_name="Gold", action="add")}


def test_an_attribute_of_a_membership_that_is_dropped_is_named():
    said = batch(memberships=(membership(attributes=(AudienceAttribute(name="tier", value="1"),)),))
    assert changed(said, {"drop": ["tier"]}).kept_back == {"membership:1234:add": (off("0.drop", "tier"),)}


def test_a_renamed_attribute_never_replaces_the_owner_of_its_new_name():
    removed = AttributeChange(name="old", removed=True)
    result = changed(
        batch(user=user(attributes={"tier": "gold"}, removed_attributes=("old",)), attribute_changes=(removed,)),
        {"rename": {"old": "tier"}},
    )
    assert (result.batch.user.attributes, result.batch.user.removed_attributes) == ({"tier": "gold"}, ())
    assert result.batch.attribute_changes == ()
    told = AttributeChange(name="old", value="bronze")
    both = batch(user=user(attributes={"old": "bronze", "tier": "gold"}), attribute_changes=(told,))
    result = changed(both, {"rename": {"old": "tier"}})
    assert (result.batch.user.attributes, result.batch.attribute_changes) == ({"tier": "gold"}, ())
