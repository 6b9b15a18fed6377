"""Fields: values taken out of a JSON object, each with its type checked and its place known.

Every reader removes the field that it reads, so that the unread fields remain. Absent, null and
empty are the same: None, or an empty container. Some languages write an empty object as ``[]`` or an empty array
as ``{}``; each is read as the empty container that is expected. mParticle writes numbers and booleans as strings
here and there, and partners the other way round; both are taken.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias, TypeVar

from gateway.mparticle.json import kind_of_value

T = TypeVar("T")
Fields = dict[str, Any]
Path: TypeAlias = tuple[str | int, ...]
"""The path to a value within another: names of members and numbers of elements."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
INTEGER = re.compile(r"-?[0-9]{1,19}", re.ASCII)
INTEGRAL = re.compile(r"(-?[0-9]{1,19})(?:\.0*)?", re.ASCII)
DECIMAL = re.compile(r"(-?[0-9]{1,19})(?:\.[0-9]*)?", re.ASCII)
NUMBER = re.compile(r"-?[0-9]{1,19}(?:\.[0-9]{0,30})?|-?\.[0-9]{1,30}", re.ASCII)
EXACT = 2**53
"""Below it a float is the whole number that was posted; from it on it may be that one's neighbour."""

MAX_ELEMENTS = 10_000
"""The most elements of an array that are read one by one: events, profiles, identities and the like."""

NO_IDS = frozenset({"", "0", "-1", "null", "undefined"})
MAX_NO_ID_CHARS = max(map(len, NO_IDS))
NIL_UUID, EIGHT_ZEROS = "0" * 32, "0" * 8
FIRST_MS, LAST_MS = 0, 253_402_300_799_999
"""The times that are taken: 1970 to 9999. Zero, and whatever lies outside, is no time."""
SECONDS_FROM, SECONDS_UNTIL = 946_684_800, 100_000_000_000
"""A time in this range is in seconds: from 2000 on as such, while as milliseconds it would lie before March 1973."""

FLAGS = {"true": True, "false": False, "1": True, "0": False, "": None, "unknown": None}


class SenderName(str):
    """A member's name that is the sender's own, as an attribute's is: never shown."""

    __slots__ = ()


class Unreadable(Exception):
    """A value that cannot be read: the ``problem``, and its ``path`` within what was read. Never the value."""

    def __init__(self, problem: str, *path: str | int) -> None:
        super().__init__(problem, *path)
        self.problem = problem
        self.path: Path = path

    def __str__(self) -> str:
        return f"{show_path(self.path)}: {self.problem}" if self.path else self.problem

    @property
    def where(self) -> str:
        """Its place in the whole document, as a JSON path."""
        place = show_path(self.path)
        return f"${place}" if not place or place.startswith("[") else f"$.{place}"

    def bare(self) -> Unreadable:
        """Return the same error without references to the data that was being read."""
        return Unreadable(self.problem, *self.path)

    def inside(self, *outer: str | int) -> Unreadable:
        """Return the same error with ``outer`` before its path."""
        return Unreadable(self.problem, *outer, *self.path)


def show_path(path: Path) -> str:
    """Return a path as text; the sender's own names are ``[...]``."""
    steps = (f"[{step}]" if type(step) is int else f".{step}" if type(step) is str else "[...]" for step in path)
    return "".join(steps).removeprefix(".")


def expected(what: str, value: Any, *path: str | int) -> Unreadable:
    """Return the error for a value that is not ``what`` was expected."""
    return Unreadable(f"expected {what}, got {kind_of_value(value)}", *path)


def required(value: T | None, name: str) -> T:
    """Return a value. Raises Unreadable if it is None."""
    if value is None:
        raise Unreadable("missing", name)
    return value


def copy_field(fields: Fields, name: str) -> Fields:
    """One field alone, to be read without being taken out."""
    return {name: fields.get(name)}


def text(fields: Fields, name: str) -> str | None:
    """Return a string; numbers and booleans in their JSON spelling."""
    value = fields.pop(name, None)
    if value is None or type(value) is str:
        return value or None
    return scalar(value, name)


def scalar(value: Any, *path: str | int) -> str:
    """Return a string, number or boolean as a string."""
    if type(value) is str:
        return value
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) in (int, float):
        return str(value)
    raise expected("a string", value, *path)


def token(fields: Fields, name: str) -> str | None:
    """Return an id of a user, spelled as posted; a number as ``as_token`` spells it."""
    value = fields.pop(name, None)
    if value is None or type(value) is str:
        return value or None
    return as_token(value, name)


def as_token(value: Any, *path: str | int) -> str:
    """Return a string, number or boolean as a string, numbers in one spelling and never rounded."""
    if type(value) is float:
        if abs(value) >= EXACT:
            raise expected("a string", value, *path)
        if value.is_integer():
            return str(int(value))
    return scalar(value, *path)


def is_no_id(id: object) -> bool:
    """Return whether a sender wrote this for want of an id: blank, 0, -1, null, undefined, or a nil UUID.

    A nil UUID is recognised in any spelling, as it is when a sender's library writes its empty value.
    """
    if type(id) is str:
        bare = id.strip()
        if len(bare) > MAX_NO_ID_CHARS and EIGHT_ZEROS not in bare:  # as nearly all ids are
            return False
        bare = bare.lower()
        return bare in NO_IDS or bare.removeprefix("urn:uuid:").strip("{}()").replace("-", "") == NIL_UUID
    return not id or id == -1


def known_id(id: str | None) -> str | None:
    """Return an id as it was posted, or None where it is none; see `is_no_id`."""
    return None if is_no_id(id) else id


def word(fields: Fields, name: str) -> str | None:
    """One of mParticle's own words, in lower case."""
    value = text(fields, name)
    return value and value.lower()


def identifier(fields: Fields, name: str) -> str | None:
    """Return a 64-bit id as a decimal string, never rounded, from a number or a string."""
    value = fields.pop(name, None)
    if type(value) is int:
        return str(value)
    if value is None or type(value) is str:
        return (value and value.strip()) or None
    if type(value) is float and value.is_integer() and abs(value) < EXACT:
        return str(int(value))
    raise expected("an integer", value, name)


def integer(fields: Fields, name: str) -> int | None:
    """Return an integer from a number or a string of digits; a fraction of zero is ignored."""
    value = fields.pop(name, None)
    if value is None or type(value) is int:
        return value
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is str:
        if not value.strip():
            return None
        if found := INTEGRAL.fullmatch(value.strip()):
            return int(found[1])
    raise expected("an integer", value, name)


def time(fields: Fields, name: str) -> int | None:
    """Return a time in milliseconds since 1970, or None for one that is no time (see `sane_ms`).

    It is taken from an integer or a decimal, as a number or as a string, or from an ISO 8601 text.
    """
    value = fields.pop(name, None)
    if value is None:
        return None
    if type(value) in (int, float):
        return sane_ms(value)
    if type(value) is str:
        if not value.strip():
            return None
        found = DECIMAL.fullmatch(value.strip())
        if found:
            return sane_ms(int(found[1]))
        time_ms = iso_ms(value.strip())
        if time_ms is not None:
            return sane_ms(time_ms)
    raise expected("a time", value, name)


def sane_ms(time: float) -> int | None:
    """Return a time in milliseconds; one that can only be in seconds is taken for such.

    None for zero, which senders write if they have no time, and for any time outside of 1970 to 9999.
    """
    if SECONDS_FROM <= time < SECONDS_UNTIL:
        return int(time * 1000)
    return int(time) if FIRST_MS < time <= LAST_MS else None


def iso_ms(text: str) -> int | None:
    """Return an ISO 8601 time in milliseconds since 1970, by default in UTC; None for another text."""
    try:
        time = datetime.fromisoformat(text)
        return ((time if time.tzinfo else time.replace(tzinfo=UTC)) - EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        return None


def number(fields: Fields, name: str) -> float | None:
    """Return a number from a number or its string."""
    value = fields.pop(name, None)
    if value is None or type(value) in (int, float):
        return value  # type: ignore[no-any-return]
    if type(value) is str:
        digits = value.strip()
        if not digits:
            return None
        if NUMBER.fullmatch(digits):
            return int(digits) if INTEGER.fullmatch(digits) else float(digits)
    raise expected("a number", value, name)


def flag(fields: Fields, name: str) -> bool | None:
    """Return a boolean from a boolean, or from "true" or "false" in any case."""
    value = fields.pop(name, None)
    if value is None or type(value) is bool:
        return value
    if type(value) in (str, int):
        known = str(value).strip().lower()
        if known in FLAGS:
            return FLAGS[known]
    raise expected("a boolean", value, name)


def mapping(fields: Fields, name: str) -> Fields:
    """Return an object; an empty one where the field is absent, null or an empty array."""
    value = fields.pop(name, None)
    if type(value) is dict:
        return value
    if value is None or value == []:
        return {}
    raise expected("an object", value, name)


def items(fields: Fields, name: str) -> list[Any]:
    """Return an array; an empty one where the field is absent, null or an empty object."""
    value = fields.pop(name, None)
    if type(value) is list:
        return check_bound(value, name)
    if value is None or value == {}:
        return []
    raise expected("an array", value, name)


def check_bound(elements: list[Any], *path: str | int) -> list[Any]:
    """Return the elements of an array. Raises Unreadable if they are more than MAX_ELEMENTS."""
    if len(elements) > MAX_ELEMENTS:
        raise Unreadable(f"{len(elements):,} elements, more than {MAX_ELEMENTS:,}", *path)
    return elements


def attributes(fields: Fields, name: str) -> Fields:
    """Return an object of attributes, whose lists hold no nulls."""
    found = mapping(fields, name)
    drop_list_nulls(found)
    return found


def drop_list_nulls(attributes: Fields) -> None:
    """Take the nulls out of the lists among attributes."""
    for key, value in attributes.items():
        if type(value) is list:
            attributes[key] = drop_nulls(value)


def drop_nulls(value: Any) -> Any:
    """Return an attribute's value; a list without the nulls that were posted in it."""
    if type(value) is list and None in value:
        return [one for one in value if one is not None]
    return value


def inner(fields: Fields, name: str, read: Callable[[Fields], T]) -> T | None:
    """Return an object read by ``read``; None if it is absent or empty."""
    value = mapping(fields, name)
    return within(read, value, name) if value else None


def each(fields: Fields, name: str, read: Callable[[Fields], T | None]) -> tuple[T, ...]:
    """Return the objects of an array, each read by ``read``, without nulls and those for which it returns None."""
    found = []
    index = 0
    posted = items(fields, name)
    try:
        for value in posted:
            if type(value) is dict:
                one = read(value)
                if one is not None:
                    found.append(one)
            elif value is not None:
                raise expected("an object", value)
            index += 1
    except Unreadable as wrong:
        raise wrong.inside(name, index) from None
    return tuple(found)


def within(read: Callable[[Fields], T], value: Fields, *path: str | int) -> T:
    """Return what ``read`` makes of an object; the path of an error begins outside of the object."""
    try:
        return read(value)
    except Unreadable as wrong:
        raise wrong.inside(*path) from None
