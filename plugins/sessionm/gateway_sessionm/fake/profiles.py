"""Profiles: the checks of what is written to a customer, and the writing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from gateway_sessionm.fake.errors import ApiError
from gateway_sessionm.fake.options import Definition, Options
from gateway_sessionm.fake.users import FIELDS, Customer, Users

Effects = dict[str, Any]

IDS = ("external_id", "external_id_type", "identifiers", "user_profile")
MAX_ID_LENGTH = 255
MIN_AGE = 13


def check_new(users: Users, user: Mapping[str, Any], now: datetime) -> None:
    """Check that this customer may be created. Raises ApiError if not."""
    if not user.get("external_id") and not user.get("email"):
        raise ApiError("missing_data", "external_id or email is required")
    if user.get("email") and users.find_by_email(str(user["email"])) is not None:
        raise ApiError("validation", "email has already been taken")
    if user.get("dob") and not _is_old_enough(user["dob"], now):
        raise ApiError("validation", f"a customer must be {MIN_AGE} years old")


def check_ids(users: Users, customer: Customer | None, user: Mapping[str, Any]) -> None:
    """Check that the external ids are well formed and not another customer's. Raises ApiError if not."""
    identifiers = user.get("identifiers") or []
    if not isinstance(identifiers, list) or not all(isinstance(each, dict) for each in identifiers):
        raise ApiError("argument_error", "identifiers must be a list of objects")
    for entry in ([user] if "external_id" in user else []) + identifiers:
        external_id = entry.get("external_id")
        if not isinstance(external_id, str) or not 0 < len(external_id) <= MAX_ID_LENGTH:
            raise ApiError("argument_error", f"external_id must be a text of 1 to {MAX_ID_LENGTH} characters")
        owner = users.find_by_external_id(external_id)
        if owner is not None and owner is not customer:
            raise ApiError("validation", "external_id has already been taken")


def check_attributes(
    given: Any, stored: Mapping[str, str], options: Options, definitions: Mapping[str, Definition]
) -> tuple[dict[str, str | None], Effects]:
    """Return the custom attributes to write, None for those to delete, and the names left out.

    Raises ApiError for an attribute that must not be written.
    """
    if not isinstance(given, dict):
        raise ApiError("argument_error", "user_profile must be an object")
    effects: Effects = {}
    written: dict[str, str | None] = {}
    room = options.max_custom_attributes - len(stored)
    for name, value in given.items():
        if value is not None and not isinstance(value, str):
            raise ApiError("argument_error", f"{name} must be a text")
        if _is_ignored(name, value, options, definitions):
            effects.setdefault("ignored_attributes", []).append(name)
        elif value is not None and name not in stored and room <= 0:
            effects.setdefault("over_limit_attributes", []).append(name)
        else:
            written[name] = value
            room -= value is not None and name not in stored
    return written, effects


def write(
    users: Users, customer: Customer, user: Mapping[str, Any], attributes: Mapping[str, str | None], options: Options
) -> Effects:
    """Write what has been checked, and return which fields of ``user`` were ignored."""
    customer.fields.update({name: user[name] for name in FIELDS if name in user})
    write_attributes(customer, attributes)
    if "identifiers" in user and options.identifiers_on_put == "replace":
        users.replace_external_ids(customer, user["identifiers"] or [])
    for identifier in user.get("identifiers") or []:
        users.add_external_id(customer, identifier["external_id"], identifier.get("external_id_type"))
    if "external_id" in user:
        users.add_external_id(customer, user["external_id"], user.get("external_id_type"))
        customer.external_id = user["external_id"]
    unknown = [name for name in user if name not in FIELDS and name not in IDS]
    return {"ignored_fields": unknown} if unknown else {}


def write_attributes(customer: Customer, attributes: Mapping[str, str | None]) -> None:
    """Write or delete custom attributes."""
    for name, value in attributes.items():
        if value is None:
            customer.profile.pop(name, None)
        else:
            customer.profile[name] = value


def _is_ignored(name: str, value: str | None, options: Options, definitions: Mapping[str, Definition]) -> bool:
    """Return whether an attribute is undefined and ignored. Raises ApiError for one that must not be written."""
    definition = definitions.get(name)
    if definition is not None:
        if value is not None and not definition.admits(value):
            raise ApiError("validation", f"{name} is not a valid {definition.type}")
        return False
    if options.undefined_attribute == "reject":
        raise ApiError("validation", f"{name} is not defined")
    return options.undefined_attribute == "ignore"


def _is_old_enough(dob: Any, now: datetime) -> bool:
    try:
        born = datetime.strptime(dob, "%Y-%m-%d")  # noqa: DTZ007  # a date has no zone
    except (TypeError, ValueError):
        raise ApiError("validation", "dob must be YYYY-MM-DD") from None
    birthday_passed = (now.month, now.day) >= (born.month, born.day)
    return now.year - born.year - (not birthday_passed) >= MIN_AGE
