"""Accounts: the account of a Firehose message and its settings, if one gateway serves several customers."""

from __future__ import annotations

import re
from contextlib import suppress

import msgspec

from gateway.mparticle.fields import Fields, Unreadable, identifier, mapping, time
from gateway.mparticle.json import Members, members
from gateway.mparticle.messages import read_plain

ID = re.compile(r"[0-9A-Za-z_.-]{1,23}")
"""mParticle's are integers. A longer id would make the name of the account's connection longer than 64 bytes."""


class MessageAccount(msgspec.Struct, frozen=True, kw_only=True):
    """The customer's account in a message: its id if it has one, its settings, and the time of the message."""

    id: str | None = None
    settings: Fields = {}
    told_ms: int | None = None

    def __repr__(self) -> str:
        return f"<account {self.id}>"


def read_account(document: Members) -> MessageAccount:
    """Return the account of a Firehose message, from the members that tell of it. An id of 0 is none."""
    fields = _read_fields(document)
    id = _read_id(fields)
    return MessageAccount(id=id, settings=_read_settings(fields), told_ms=_read_told_ms(document))


def _read_fields(document: Members) -> Fields:
    try:
        found = members(document["account"]) if "account" in document else {}
    except msgspec.DecodeError:
        return {}
    fields: Fields = {}
    for name, raw in found.items():
        with suppress(Unreadable):  # the account stays known if a setting cannot be read
            fields |= read_plain({name: raw})
    return fields


def _read_id(fields: Fields) -> str | None:
    try:
        id = identifier(fields, "account_id")
    except Unreadable:
        return None
    return id if id is not None and id != "0" and ID.fullmatch(id) else None


def _read_settings(fields: Fields) -> Fields:
    try:
        return mapping(fields, "account_settings")
    except Unreadable:
        return {}


def _read_told_ms(document: Members) -> int | None:
    try:
        return time(
            read_plain({name: document[name] for name in ("timestamp_ms",) if name in document}), "timestamp_ms"
        )
    except Unreadable:
        return None
