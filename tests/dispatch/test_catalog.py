"""The catalog counts the names in batches, and keeps no value."""

from msgspec.structs import replace

from gateway.dispatch import catalog
from gateway.dispatch.catalog import Catalog
from gateway.journal.types import DataPoint
from gateway.sdk import (
    AttributeChange,
    Audience,
    Device,
    Identity,
    IdentityChange,
    Product,
    ProductAction,
    PromotionAction,
)
from gateway.testing import batch, custom_event, membership, screen_view, session, user

IOS = Device(platform="ios")
SECRET = "secret-value"
SAID = batch(
    custom_event("Signup", id="a", attributes={"plan": SECRET, "count": 1}),
    custom_event("Signup", id="b", attributes={"plan": SECRET, "gift": True}),
    screen_view("Home", id="c"),
    session(id="d"),
    ProductAction(
        id="e",
        type="commerce_event",
        action="purchase",
        attributes={"till": 7},
        products=(Product(attributes={"size": SECRET}), Product(attributes={"size": SECRET, "till": 8})),
    ),
    PromotionAction(id="f", type="commerce_event", action="click"),
    user=user(email=SECRET, attributes={"colour": SECRET, "sizes": [SECRET], "vip": None}, removed=("old",)),
    device=IOS,
    identity_changes=(IdentityChange(type="facebook", old=Identity(type="facebook", value=SECRET)),),
    attribute_changes=(AttributeChange(name="colour", value=SECRET),),
)


def noted(*batches, connection="loyalty"):
    seen = Catalog()
    for number, said in enumerate(batches):
        seen.count(connection, said, 1_000 + number)
    return seen.take()


def times(points):
    return {(point.kind, point.name, point.attribute, point.type): point.times for point in points}


EVERYTHING = {
    ("user_attributes", "old", "", ""): 1,
    ("user_attributes", "colour", "", "string"): 1,
    ("user_attributes", "sizes", "", "list"): 1,
    ("user_attributes", "vip", "", "tag"): 1,
    ("user_identities", "email", "", ""): 1,
    ("user_identities", "facebook", "", ""): 1,
    ("events", "Signup", "", ""): 2,
    ("events", "Signup", "plan", "string"): 2,
    ("events", "Signup", "count", "number"): 1,
    ("events", "Signup", "gift", "boolean"): 1,
    ("screens", "Home", "", ""): 1,
    ("event_types", "session_start", "", ""): 1,
    ("commerce", "purchase", "", ""): 1,
    ("commerce", "purchase", "till", "number"): 1,
    ("commerce", "purchase", "size", "string"): 1,
    ("commerce", "promotion_click", "", ""): 1,
}


def test_every_name_is_counted_and_no_value_is_kept():
    points = noted(SAID)
    assert times(points) == EVERYTHING
    assert SECRET not in repr(points)


def test_audiences_are_names_too():
    said = batch(audience=Audience(id="1", name="Gold", action="add"), memberships=(membership("Silver"),))
    assert times(noted(said)) == {("audiences", "Gold", "", ""): 1, ("audiences", "Silver", "", ""): 1}


def test_a_data_point_has_its_input_and_when_it_was_first_and_last_seen():
    event = batch(custom_event("Signup"), device=IOS)
    assert noted(event, replace(event, input_name="The app"), event) == [
        DataPoint("loyalty", "ios", "events", "Signup", "", "", 1_000, 1_002, 2),
        DataPoint("loyalty", "The app", "events", "Signup", "", "", 1_001, 1_001, 1),
    ]


def test_taking_starts_again_and_counts_given_back_are_added():
    seen = Catalog()
    seen.count("loyalty", SAID, 1_000)
    first = seen.take()
    assert seen.take() == []
    seen.count("loyalty", SAID, 2_000)
    seen.give_back(first)
    both = seen.take()
    assert times(both) == {name: 2 * count for name, count in EVERYTHING.items()}
    assert {(point.first_ms, point.last_ms) for point in both} == {(1_000, 2_000)}


def test_the_catalog_is_bounded(monkeypatch):
    monkeypatch.setattr(catalog, "MAX_GROUPS", 2)
    monkeypatch.setattr(catalog, "MAX_NAMES", 3)
    many = batch(*(custom_event(f"E{n}", attributes={f"a{m}": "" for m in range(9)}) for n in range(9)))
    long = batch(custom_event("x" * 300, attributes={"y" * 300: "", "z": ""}))
    assert sorted(times(noted(many))) == [
        ("events", f"E{n}", a, t)
        for n in (0, 1)
        for a, t in [("", ""), ("a0", "string"), ("a1", "string"), ("a2", "string")]
    ]
    assert noted(long) == []
