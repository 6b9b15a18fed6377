"""A message, opened: the batch it makes for one user, and its events still as bytes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import msgspec

from gateway.mparticle.fields import Fields, Path, SenderName, Unreadable, check_bound, expected, is_no_id, text
from gateway.mparticle.json import OUT_OF_RANGE, SPACE, Members, decode, decode_unbounded, elements, kind_of
from gateway.sdk import Batch


class Message(NamedTuple):
    """A message about one user: its batch, complete but for the events, and the events, undecoded."""

    batch: Batch
    events: Sequence[msgspec.Raw] = ()


def read_word(members: Members, name: str) -> str:
    """Return a member that may name a format; "" if it is no string."""
    try:
        value = decode(members[name]) if name in members else ""
    except msgspec.DecodeError:
        return ""
    return value if isinstance(value, str) else ""


def read_plain(members: Members, *, but: Collection[str] = (), without: Collection[Path] = ()) -> Fields:
    """Return the members' values except those ``but`` names, which stay bytes, ``without`` the values at some paths.

    Raises Unreadable for a number beyond all bounds.
    """
    try:
        fields = {name: decode(raw) for name, raw in members.items() if name not in but}
        return _check_range(fields, without) if without else fields
    except msgspec.DecodeError:
        return _check_range({name: decode_unbounded(raw) for name, raw in members.items() if name not in but}, without)


def open_object(raw: msgspec.Raw, *, without: Collection[Path] = ()) -> Fields:
    """Return the fields of an object as ``read_plain`` does. Raises Unreadable, without a path if it is no object."""
    try:
        value = decode(raw)
        if type(value) is dict and not without:
            return value
    except msgspec.DecodeError:
        value = decode_unbounded(raw)
    if type(value) is not dict:
        raise expected("an object", value)
    return _check_range(value, without)


def _check_range(fields: Fields, without: Collection[Path]) -> Fields:
    """Return the fields without the values at some paths. Raises Unreadable if a number is out of range."""
    for path in without:
        _remove(fields, path)
    for name, value in fields.items():
        inner = _find_out_of_range(value)
        if inner is not None:
            raise Unreadable("a number out of range", name if name.isidentifier() else SenderName(name), *inner)
    return fields


def _remove(fields: Fields, path: Path) -> None:
    """Remove the value at a path, if there still is one; the other elements of an array keep their places."""
    *outer, last = path
    holder: Any = fields
    try:
        for step in outer:
            holder = holder[step]
    except (KeyError, TypeError):
        return
    if type(holder) is dict:
        holder.pop(last, None)
    elif holder is not None:
        holder[last] = None


def _find_out_of_range(value: Any) -> Path | None:
    """Return the path in a value to the first number that is out of range."""
    if value is OUT_OF_RANGE:
        return ()
    inside = value.items() if type(value) is dict else enumerate(value) if type(value) is list else ()
    for key, one in inside:
        found = _find_out_of_range(one)
        if found is not None:
            return (SenderName(key) if type(key) is str else key, *found)
    return None


def read_array(members: Members, name: str) -> list[msgspec.Raw]:
    """Return a member's elements, as bytes; none where it is absent, null or an empty object.

    Raises Unreadable if it is no array, or has more than MAX_ELEMENTS.
    """
    raw = members.get(name)
    if raw is None:
        return []
    try:
        return check_bound(elements(raw) or [], name)
    except msgspec.DecodeError:
        if bytes(raw).translate(None, SPACE) == b"{}":
            return []
        raise Unreadable(f"expected an array, got {kind_of(raw)}", name) from None


def read_stamp(fields: Fields, name: str) -> str | None:
    """Return the id of an app's installation on a device; None for an id that means no device."""
    value = text(fields, name)
    return None if value is None or is_no_id(value) else value.strip()
