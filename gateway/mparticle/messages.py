"""A message, opened: the batch it makes for one user, and its events still as bytes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import msgspec

from gateway.mparticle.documents import Members, decode, elements, kind_of
from gateway.mparticle.fields import Fields, Wrong, expected, text
from gateway.mparticle.identities import NO_DEVICE
from gateway.sdk import Batch


class Message(NamedTuple):
    """What was said of one user: a batch complete but for its events, and those, unread."""

    batch: Batch
    events: Sequence[msgspec.Raw] = ()


def plain(members: Members, *, but: Collection[str] = ()) -> Fields:
    """The members' values, but for those that are left as bytes. Raises Wrong for numbers beyond all bounds."""
    fields = {}
    name = ""
    try:
        for name, raw in members.items():
            if name not in but:
                fields[name] = decode(raw)
    except msgspec.DecodeError:
        raise Wrong(name if name.isidentifier() else "[...]", "a number out of range") from None
    return fields


def opened(raw: msgspec.Raw) -> Fields:
    """An object's fields. Raises Wrong, with an empty path, where it is no object or a number is beyond all bounds."""
    try:
        value = decode(raw)
    except msgspec.DecodeError:
        raise Wrong("", "a number out of range") from None
    if type(value) is not dict:
        raise expected("", "an object", value)
    return value


def array(members: Members, name: str) -> list[msgspec.Raw]:
    """A member's elements, as bytes; none where it is absent or null. Raises Wrong where it is no array."""
    raw = members.get(name)
    if raw is None:
        return []
    try:
        return elements(raw) or []
    except msgspec.DecodeError:
        raise Wrong(name, f"expected an array, got {kind_of(raw)}") from None


def stamp(fields: Fields, name: str) -> str | None:
    """The id of a device's installation of the app; that of no device is None."""
    value = text(fields, name)
    return None if value in NO_DEVICE else value
