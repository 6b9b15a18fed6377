"""Writing a customer's profile."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from gateway_sessionm.fake.errors import Refusal
from gateway_sessionm.fake.options import Definition, Options
from gateway_sessionm.fake.people import FIELDS, People, Person

Effects = dict[str, Any]

IDS = ("external_id", "external_id_type", "identifiers", "user_profile")
LONGEST_ID = 255
LEAST_AGE = 13


def check_new(people: People, user: Mapping[str, Any], now: datetime) -> None:
    """Whether such a customer may be created. Raises Refusal."""
    if not user.get("external_id") and not user.get("email"):
        raise Refusal("missing_data", "external_id or email is required")
    if user.get("email") and people.by_email(str(user["email"])) is not None:
        raise Refusal("validation", "email has already been taken")
    if user.get("dob") and not _is_old_enough(user["dob"], now):
        raise Refusal("validation", f"a customer must be {LEAST_AGE} years old")


def check_ids(people: People, person: Person | None, user: Mapping[str, Any]) -> None:
    """Whether the external ids are well formed and nobody else's. Raises Refusal."""
    identifiers = user.get("identifiers") or []
    if not isinstance(identifiers, list) or not all(isinstance(each, dict) for each in identifiers):
        raise Refusal("argument_error", "identifiers must be a list of objects")
    for entry in ([user] if "external_id" in user else []) + identifiers:
        external_id = entry.get("external_id")
        if not isinstance(external_id, str) or not 0 < len(external_id) <= LONGEST_ID:
            raise Refusal("argument_error", f"external_id must be a text of 1 to {LONGEST_ID} characters")
        owner = people.by_external_id(external_id)
        if owner is not None and owner is not person:
            raise Refusal("validation", "external_id has already been taken")


def check_attributes(
    given: Any, stored: Mapping[str, str], options: Options, definitions: Mapping[str, Definition]
) -> tuple[dict[str, str | None], Effects]:
    """The custom attributes to write, None for those to delete, and what is left out. Raises Refusal."""
    if not isinstance(given, dict):
        raise Refusal("argument_error", "user_profile must be an object")
    effects: Effects = {}
    written: dict[str, str | None] = {}
    room = options.max_custom_attributes - len(stored)
    for name, value in given.items():
        if value is not None and not isinstance(value, str):
            raise Refusal("argument_error", f"{name} must be a text")
        if _is_ignored(name, value, options, definitions):
            effects.setdefault("ignored_attributes", []).append(name)
        elif value is not None and name not in stored and room <= 0:
            effects.setdefault("over_limit_attributes", []).append(name)
        else:
            written[name] = value
            room -= value is not None and name not in stored
    return written, effects


def write(
    people: People, person: Person, user: Mapping[str, Any], attributes: Mapping[str, str | None], options: Options
) -> Effects:
    """Write what has been checked; says which fields of ``user`` mean nothing."""
    person.fields.update({name: user[name] for name in FIELDS if name in user})
    write_attributes(person, attributes)
    if "identifiers" in user and options.identifiers_on_put == "replace":
        people.replace_claims(person, user["identifiers"] or [])
    for identifier in user.get("identifiers") or []:
        people.claim(person, identifier["external_id"], identifier.get("external_id_type"))
    if "external_id" in user:
        people.claim(person, user["external_id"], user.get("external_id_type"))
        person.external_id = user["external_id"]
    unknown = [name for name in user if name not in FIELDS and name not in IDS]
    return {"ignored_fields": unknown} if unknown else {}


def write_attributes(person: Person, attributes: Mapping[str, str | None]) -> None:
    """Write or delete custom attributes."""
    for name, value in attributes.items():
        if value is None:
            person.profile.pop(name, None)
        else:
            person.profile[name] = value


def _is_ignored(name: str, value: str | None, options: Options, definitions: Mapping[str, Definition]) -> bool:
    """Whether an attribute is undefined and to be ignored. Raises Refusal for one that must not be written."""
    definition = definitions.get(name)
    if definition is not None:
        if value is not None and not definition.admits(value):
            raise Refusal("validation", f"{name} is not a valid {definition.type}")
        return False
    if options.undefined_attribute == "reject":
        raise Refusal("validation", f"{name} is not defined")
    return options.undefined_attribute == "ignore"


def _is_old_enough(dob: Any, now: datetime) -> bool:
    try:
        born = datetime.strptime(dob, "%Y-%m-%d")  # noqa: DTZ007  # a date has no zone
    except (TypeError, ValueError):
        raise Refusal("validation", "dob must be YYYY-MM-DD") from None
    birthday_passed = (now.month, now.day) >= (born.month, born.day)
    return now.year - born.year - (not birthday_passed) >= LEAST_AGE
