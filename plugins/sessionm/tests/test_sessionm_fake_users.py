"""The fake's customers: creating, reading, writing and deleting them, and their custom attributes."""

from __future__ import annotations

import pytest

ME = "external/users/42"
UUID = "61af8800-016d-11f1-8e6c-443aac110010"


def created(here, **user) -> dict:
    status, answer = here("POST", "users", {"user": {"external_id": "42", **user}})
    assert (status, answer["status"]) == (200, "ok")
    return answer["user"]


def attributes(here, path: str = ME) -> dict[str, str]:
    _, answer = here("GET", f"{path}?user[user_profile]=true")
    return {name: value for name, value in answer["user"]["user_profile"].items() if name != "_version"}


def identifiers(here, path: str = ME) -> list[tuple[str, str | None]]:
    _, answer = here("GET", f"{path}?show_identifiers=true")
    return [(each["external_id"], each["external_id_type"]) for each in answer["user"]["identifiers"]]


def test_a_created_user_is_shown_whole(fake):
    here = fake(undefined_attribute="accept")
    here.steer("POST", "clock", {"now": 1_743_496_200})
    user = created(here, first_name="Jo", email="jo@example.com", gender="m", user_profile={"top_region": "Europe"})
    assert len(user.pop("id")) == 36
    assert user == {
        "external_id": "42",
        "email": "jo@example.com",
        "first_name": "Jo",
        "last_name": None,
        "gender": "m",
        "dob": None,
        "address": None,
        "city": None,
        "state": None,
        "zip": None,
        "country": None,
        "locale": None,
        "opted_in": False,
        "ip": None,
        "phone_numbers": None,
        "activated": False,
        "suspended": False,
        "account_status": "good",
        "available_points": 0,
        "created_at": "2025-04-01 08:30:00 UTC",
        "updated_at": "2025-04-01 08:30:00 UTC",
        "user_profile": {"_version": 1, "top_region": "Europe"},
    }


@pytest.mark.parametrize("body", [{}, {"user": None}, {"user": []}, {"user": {}}, {"user": {"first_name": "Jo"}}])
def test_creating_needs_an_external_id_or_an_email(fake, body):
    assert fake().error("POST", "users", body) == (200, "missing_data")


def test_an_email_alone_is_enough(fake):
    here = fake()
    _, answer = here("POST", "users", {"user": {"email": "jo@example.com"}})
    assert here("GET", f"users/{answer['user']['id']}")[1]["user"]["email"] == "jo@example.com"


@pytest.mark.parametrize("external_id", [7, "", "x" * 256, None, ["x"]])
def test_an_external_id_is_a_text_of_up_to_255_characters(fake, external_id):
    here = fake()
    assert here.error("POST", "users", {"user": {"email": "a@example.com", "external_id": external_id}}) == (
        200,
        "argument_error",
    )
    assert created(here, external_id="x" * 255)["external_id"] == "x" * 255


@pytest.mark.parametrize(
    "rival",
    [
        {"external_id": "42"},
        {"external_id": "c-1"},
        {"external_id": "new", "identifiers": [{"external_id": "42"}]},
        {"external_id": "new", "identifiers": [{"external_id": "c-1", "external_id_type": "other"}]},
        {"external_id": "new", "email": "jo@example.com"},
        {"external_id": "new", "email": "JO@Example.com"},
    ],
)
def test_what_belongs_to_somebody_cannot_be_created_again(fake, rival):
    here = fake()
    created(here, email="Jo@example.com", identifiers=[{"external_id": "c-1", "external_id_type": "customer_id"}])
    assert here.error("POST", "users", {"user": rival}) == (200, "validation")
    assert len(here.steer("GET", "state")[1]["users"]) == 1


@pytest.mark.parametrize(("dob", "is_fine"), [("2012-05-01", True), ("2012-05-02", False), ("01.05.2000", False)])
def test_a_user_must_be_thirteen(fake, dob, is_fine):
    here = fake()
    here.steer("POST", "clock", {"now": 1_746_057_600})  # 2025-05-01
    status, answer = here("POST", "users", {"user": {"external_id": "42", "dob": dob}})
    assert (status, answer["status"]) == (200, "ok" if is_fine else "error")


def test_a_user_is_found_by_any_external_id_and_by_id(fake):
    here = fake()
    id = created(here, identifiers=[{"external_id": "c-1", "external_id_type": "customer_id"}])["id"]
    for path in (ME, "external/users/c-1", f"users/{id}"):
        assert here("GET", path)[1]["user"]["id"] == id
    for path in ("users/42", f"external/users/{id}", "users/unknown"):
        assert here.error("GET", path) == (404, "user_not_found")


@pytest.mark.parametrize(
    ("external_id", "segment"), [("a/b", "a%2Fb"), ("jo@example.com", "jo%40example.com"), ("50%", "50%25")]
)
def test_an_external_id_in_the_path_is_decoded(fake, external_id, segment):
    here = fake()
    created(here, external_id=external_id)
    assert here("GET", f"external/users/{segment}")[1]["user"]["external_id"] == external_id


def test_of_several_users_with_one_external_id_the_last_who_got_it_is_meant(fake):
    here = fake()
    here.steer("POST", "seed", {"users": [{"external_id": "42", "first_name": "A"}, {"external_id": "42"}]})
    assert here("GET", ME)[1]["user"]["first_name"] is None


def test_profile_and_identifiers_are_shown_only_where_asked_for(fake):
    here = fake()
    created(here)
    shown = {
        "": set(),
        "?show_identifiers=true": {"identifiers"},
        "?user[user_profile]=true": {"user_profile"},
        "?user[user_profile]=true&show_identifiers=true": {"identifiers", "user_profile"},
        "?show_identifiers=1": set(),
    }
    for query, fields in shown.items():
        assert {"identifiers", "user_profile"} & set(here("GET", ME + query)[1]["user"]) == fields


def test_an_update_overwrites_what_it_names_and_clears_with_null(fake):
    here = fake()
    created(here, first_name="Jo", last_name="Doe", city="Rome")
    _, answer = here("PUT", ME, {"user": {"first_name": "Al", "city": None}})
    assert [answer["user"][name] for name in ("first_name", "last_name", "city")] == ["Al", "Doe", None]


def test_an_update_by_id_adds_an_external_id_which_is_shown_from_then_on(fake):
    here = fake()
    id = created(here, external_id="c-1", external_id_type="customer_id")["id"]
    _, answer = here("PUT", f"users/{id}", {"user": {"external_id": "42", "external_id_type": "mparticle_mpid"}})
    assert answer["user"]["external_id"] == "42"
    assert identifiers(here) == [("c-1", "customer_id"), ("42", "mparticle_mpid")]


def test_an_external_id_of_somebody_else_cannot_be_added(fake):
    here = fake()
    created(here)
    created(here, external_id="7")
    assert here.error("PUT", ME, {"user": {"first_name": "Jo", "external_id": "7"}}) == (200, "validation")
    assert here.error("PUT", ME, {"user": {"identifiers": [{"external_id": "7"}]}}) == (200, "validation")
    assert here("GET", ME)[1]["user"]["first_name"] is None


@pytest.mark.parametrize(
    ("option", "ids"),
    [("replace", [("42", "mpid"), ("new", None)]), ("append", [("42", "mpid"), ("old", None), ("new", None)])],
)
def test_a_list_of_identifiers_replaces_or_is_added_as_the_option_says(fake, option, ids):
    here = fake(identifiers_on_put=option)
    created(here, external_id_type="mpid", identifiers=[{"external_id": "old"}])
    here(
        "PUT",
        ME,
        {"user": {"identifiers": [{"external_id": "42", "external_id_type": "mpid"}, {"external_id": "new"}]}},
    )
    assert sorted(identifiers(here)) == sorted(ids)


def test_a_partial_list_takes_ids_away(fake):
    here = fake()
    created(here)
    here("PUT", ME, {"user": {"identifiers": [{"external_id": "new"}]}})
    assert here.error("GET", ME) == (404, "user_not_found")
    assert here("GET", "external/users/new")[1]["user"]["external_id"] is None


@pytest.mark.parametrize("given", ["c-1", {"external_id": "c-1"}, ["c-1"], [{"external_id": 7}], [{}]])
def test_identifiers_of_another_form_are_an_argument_error(fake, given):
    here = fake()
    created(here)
    assert here.error("PUT", ME, {"user": {"identifiers": given}}) == (200, "argument_error")


def test_phone_numbers_are_replaced_and_an_empty_list_is_shown_as_null(fake):
    here = fake()
    created(here, phone_numbers=[{"phone_number": "1"}, {"phone_number": "2"}])
    assert here("PUT", ME, {"user": {"phone_numbers": [{"phone_number": "3"}]}})[1]["user"]["phone_numbers"] == [
        {"phone_number": "3"}
    ]
    assert here("PUT", ME, {"user": {"phone_numbers": []}})[1]["user"]["phone_numbers"] is None


def test_fields_that_mean_nothing_are_ignored_and_noted(fake):
    here = fake()
    created(here)
    assert here("PUT", ME, {"user": {"shoe_size": "43", "first_name": "Jo"}})[1]["status"] == "ok"
    assert here.vendor.journal[-1]["ignored_fields"] == ["shoe_size"]


def test_a_deleted_user_is_gone_with_all_ids_and_tags(fake):
    here = fake()
    id = created(here, identifiers=[{"external_id": "c-1"}])["id"]
    here("POST", f"{ME}/tags", {"tags": ["a"]})
    assert here("DELETE", ME) == (200, {"status": "ok"})
    for path in (ME, "external/users/c-1", f"users/{id}"):
        assert here.error("GET", path) == (404, "user_not_found")
        assert here.error("DELETE", path) == (404, "user_not_found")
    assert here.steer("GET", "state")[1] == {"users": [], "events": [], "tags": {}}


def test_custom_attributes_are_merged_name_by_name_and_null_deletes(fake):
    here = fake(undefined_attribute="accept")
    created(here, user_profile={"a": "1", "b": "1", "c": "1"})
    here("PUT", ME, {"user": {"user_profile": {"b": "2", "c": None, "d": ""}}})
    assert attributes(here) == {"a": "1", "b": "2", "d": ""}
    here("POST", f"{ME}/models/user_profile", {"user_profile": {"a": None}})
    assert attributes(here) == {"b": "2", "d": ""}


@pytest.mark.parametrize("value", [1, 1.5, True, [], ["a"], {}, {"a": "b"}])
def test_a_custom_attribute_that_is_no_text_fails_the_whole_request(fake, value):
    here = fake(undefined_attribute="accept")
    created(here)
    body = {"first_name": "Jo", "user_profile": {"a": "1", "b": value}}
    assert here.error("PUT", ME, {"user": body}) == (200, "argument_error")
    assert here.error("POST", f"{ME}/models/user_profile", {"user_profile": {"b": value}}) == (200, "argument_error")
    assert (attributes(here), here("GET", ME)[1]["user"]["first_name"]) == ({}, None)


@pytest.mark.parametrize("profile", ["a", [], 7])
def test_a_profile_that_is_no_object_is_an_argument_error(fake, profile):
    here = fake()
    created(here)
    assert here.error("PUT", ME, {"user": {"user_profile": profile}}) == (200, "argument_error")
    assert here.error("POST", f"{ME}/models/user_profile", {"user_profile": profile}) == (200, "missing_data")


@pytest.mark.parametrize(
    ("option", "status", "stored", "ignored"),
    [
        ("ignore", "ok", {"Colour": "1"}, ["colour"]),
        ("accept", "ok", {"Colour": "1", "colour": "2"}, None),
        ("reject", "error", {}, None),
    ],
)
def test_an_undefined_attribute_is_treated_as_the_option_says(fake, option, status, stored, ignored):
    here = fake(undefined_attribute=option, attributes={"Colour": {}})
    created(here)
    _, answer = here("PUT", ME, {"user": {"user_profile": {"Colour": "1", "colour": "2"}}})
    assert answer["status"] == status
    assert attributes(here) == stored
    assert here.vendor.journal[1].get("ignored_attributes") == ignored


@pytest.mark.parametrize(
    ("definition", "fine", "wrong"),
    [
        ({"type": "integer"}, ["0", "-7", "00"], ["", "1.0", "+1", " 1", "x", "١"]),
        ({"type": "integer", "min": 1, "max": 10}, ["1", "10"], ["0", "11"]),
        ({"type": "boolean"}, ["true", "false"], ["True", "1", ""]),
        ({"type": "string"}, ["", "x" * 1000], []),
        ({"type": "string", "min": 1, "max": 3}, ["a", "abc", "äöü"], ["", "abcd"]),
    ],
)
def test_a_defined_attribute_takes_what_its_definition_admits(fake, definition, fine, wrong):
    here = fake(attributes={"a": definition})
    created(here)
    for value in fine:
        assert here("PUT", ME, {"user": {"user_profile": {"a": value}}})[1]["status"] == "ok", value
    for value in wrong:
        assert here.error("PUT", ME, {"user": {"user_profile": {"a": value}}}) == (200, "validation"), value
    assert attributes(here) == {"a": fine[-1]}


def test_what_there_is_no_room_for_is_not_stored_and_noted(fake):
    here = fake(undefined_attribute="accept", max_custom_attributes=3)
    created(here, user_profile={"a": "1", "b": "1"})
    _, answer = here("PUT", ME, {"user": {"user_profile": {"z": "2", "y": "2", "a": "2", "x": "2"}}})
    assert answer["status"] == "ok"
    assert attributes(here) == {"a": "2", "b": "1", "z": "2"}
    assert here.vendor.journal[1]["over_limit_attributes"] == ["y", "x"]


def test_the_limit_is_200_unless_it_is_set(fake):
    here = fake(undefined_attribute="accept")
    created(here, user_profile={f"a{number}": "v" for number in range(201)})
    assert len(attributes(here)) == 200


def test_definitions_can_be_read_and_added(fake):
    here = fake(attributes={"a": {"type": "integer", "min": 1}})
    added = {"attributes": {"b": {"type": "boolean"}}}
    model = {
        "name": "user_profile",
        "version": 1,
        "attributes": {
            "a": {"type": "integer", "min": 1, "max": None},
            "b": {"type": "boolean", "min": None, "max": None},
        },
    }
    assert here("POST", "models/user_profiles/attributes", added) == (200, {"status": "ok", "model": model})
    assert here("GET", "models/user_profiles") == (200, {"status": "ok", "model": model})
    created(here, user_profile={"b": "true"})
    assert attributes(here) == {"b": "true"}
    wrong = {"attributes": {"c": {"type": "date"}}}
    assert here.error("POST", "models/user_profiles/attributes", wrong) == (200, "argument_error")
