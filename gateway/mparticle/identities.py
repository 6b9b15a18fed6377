"""Identities: who a user or a device is, from every shape in which mParticle lists them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from gateway.mparticle import names
from gateway.mparticle.fields import (
    Fields,
    SenderName,
    as_token,
    each,
    expected,
    flag,
    identifier,
    required,
    text,
    time,
    token,
    within,
)
from gateway.sdk import Identity
from gateway.sdk.model import normalize

Identities = tuple[Identity, ...]

NO_DEVICE = frozenset({"00000000-0000-0000-0000-000000000000", "0" * 32})
"""The values that mParticle writes for the id of no device."""


def read_mpid(fields: Fields, name: str = "mpid") -> str | None:
    """Read mParticle's own id of a user; a blank or zero is none."""
    id = identifier(fields, name)
    id = id and normalize("mpid", id)
    return None if id in ("", "0") else id


def make_identity(type: str, value: str | None, encoding: str = "raw") -> Identity | None:
    """Return an identity with its value in the normal form, or None where it is blank or stands for no device.

    The letters of a hash stay as they are.
    """
    value = value and normalize(type if encoding == "raw" else "", value)
    if not value or (value in NO_DEVICE and type in names.DEVICE_IDENTITIES):
        return None
    return Identity(type=type, value=value, encoding=encoding)


def identity_key(identity: Identity) -> str:
    """Return the key by which lanes, tombstones and the ledger know an identity, whose value is in the normal form."""
    return f"{identity.type}:{identity.value}"


def read_list(fields: Fields, name: str, rename: Callable[[str], str] = names.identity) -> Identities:
    """Firehose's list of ``{type, encoding, value}``."""

    def one(fields: Fields) -> Identity | None:
        type = rename(required(text(fields, "type"), "type"))
        return make_identity(type, token(fields, "value"), names.encoding(text(fields, "encoding")))

    return each(fields, name, one)


def read_partners(fields: Fields) -> Identities:
    """Firehose's partner identities, whose types are the partner's own words."""
    return read_list(fields, "partner_identities", str)


def read_identities(fields: Fields, name: str) -> Identities:
    """Read an Events batch's identities: an object of types and values, or an array as ``read_record`` reads it."""
    if type(fields.get(name)) is list:
        return each(fields, name, read_record)
    return read_mapping(fields, name, names.identity)


def read_mapping(fields: Fields, name: str, rename: Callable[[str], str] = str) -> Identities:
    """Read an object of identity types and values."""
    posted = fields.pop(name, None)
    if posted is None or posted == []:
        return ()
    if type(posted) is not dict:
        raise expected("an object or an array", posted, name)
    found = (
        make_identity(rename(type), None if value is None else as_token(value, name, SenderName(type)))
        for type, value in posted.items()
    )
    return tuple(identity for identity in found if identity)


def read_record(fields: Fields) -> Identity | None:
    """Read one identity of an Events batch, with the time at which mParticle first saw it."""
    type = names.identity(required(text(fields, "identity_type"), "identity_type"))
    value = token(fields, "identity")
    since_ms = time(fields, "timestamp_unixtime_ms")
    created = flag(fields, "created_this_batch")
    found = make_identity(type, value)
    return found and replace(found, since_ms=since_ms, created_this_batch=created)


def read_device_identities(fields: Fields, platform: str | None) -> Identities:
    """Read the identities in an Events batch's ``device_info``."""
    push = make_identity(names.PUSH_TOKENS.get(platform, "push_token"), token(fields, "push_token"))
    found = (*(make_identity(type, token(fields, type)) for type in DEVICE_FIELDS), push)
    return tuple(identity for identity in found if identity)


DEVICE_FIELDS = (
    "android_uuid",
    "android_advertising_id",
    "ios_advertising_id",
    "ios_idfv",
    "roku_advertising_id",
    "roku_publisher_id",
    "microsoft_advertising_id",
    "microsoft_publisher_id",
    "fire_advertising_id",
    "amp_id",
)


def read_subject_identities(fields: Fields, name: str) -> Identities:
    """Whom an erasure is about: OpenDSR 3's object of ``{encoding, value}``, or OpenDSR 2's array."""
    if type(fields.get(name)) is list:
        return each(fields, name, _read_subject_element)
    value = fields.pop(name, None)
    if value is None:
        return ()
    if type(value) is not dict:
        raise expected("an object or an array", value, name)
    found = (_read_subject_member(type, one, name) for type, one in value.items())
    return tuple(identity for identity in found if identity)


def _read_subject_member(type: str, value: Any, name: str) -> Identity | None:
    def one(fields: Fields) -> Identity | None:
        return make_identity(names.identity(type), token(fields, "value"), names.encoding(text(fields, "encoding")))

    if value is None:
        return None
    return within(one, value if isinstance(value, dict) else {"value": value}, name, SenderName(type))


def _read_subject_element(fields: Fields) -> Identity | None:
    type = names.identity(required(text(fields, "identity_type"), "identity_type"))
    return make_identity(type, token(fields, "identity_value"), names.encoding(text(fields, "identity_format")))
