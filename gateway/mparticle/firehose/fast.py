"""Fast reader: reads a usual Firehose message with events, each member of its usual type, in one pass.

Nearly all posts are such messages, and this takes a third of the time. Any unusual message is left to the full reader,
which makes the same part of what both can read. One thing only the full reader sees: a number out of range in a value
that makes no part. It is found when the message is decoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Literal, TypeAlias

import msgspec

from gateway.mparticle import names
from gateway.mparticle.event_common import CHANGES
from gateway.mparticle.fields import MAX_ELEMENTS, is_no_id, known_id
from gateway.mparticle.identities import Identities, make_identity, read_mpid
from gateway.mparticle.json import Members
from gateway.mparticle.messages import read_stamp
from gateway.mparticle.parts import Part, build_part, user_key
from gateway.sdk import User

MARK = b"event_processing_request"
ACCOUNT = b'"account"'
ESCAPES = (b"\\u006", b"\\u007")
"""The beginnings of escapes in which one of its letters can be spelled."""

NO_ACCOUNT = msgspec.Raw(b"")
BOUNDED = msgspec.Meta(max_length=MAX_ELEMENTS)

Text: TypeAlias = Annotated[str, msgspec.Meta(min_length=1)]
Id: TypeAlias = str | int | None


class IgnoredObject(msgspec.Struct, gc=False):
    """An object of which nothing matters here."""


class IdentityFields(msgspec.Struct, gc=False):
    """One of a list of identities."""

    type: Text
    encoding: str | None = None
    value: str | None = None


class DeviceFields(msgspec.Struct, gc=False):
    """The member ``runtime_environment``."""

    type: str | None = None
    is_debug: bool | None = None
    identities: list[IdentityFields] | None = None
    http_header_user_agent: str | None = None
    client_ip_address: str | None = None
    sdk_version: str | None = None
    application_name: str | None = None
    application_version: str | None = None
    application_package: str | None = None


class PlatformFields(msgspec.Struct, gc=False):
    """The member ``platform_fields``."""

    mp_account_id: Id = None
    mp_account_name: str | None = None
    workspace_id: Id = None
    workspace_name: str | None = None
    app_name: str | None = None
    app_version: str | None = None
    dataplan_id: str | None = None
    dataplan_name: str | None = None
    dataplan_version: int | None = None
    input_name: str | None = None


class ConsentRecordFields(msgspec.Struct, gc=False):
    """A consent record: the decision about one purpose."""

    consented: bool | None = None
    document: str | None = None
    timestamp_unixtime_ms: int | None = None
    location: str | None = None
    hardware_id: str | None = None


Records: TypeAlias = dict[str, ConsentRecordFields | None] | None


class ConsentFields(msgspec.Struct, gc=False):
    """Read the member ``consent_state``."""

    gdpr: Records = None
    gdpr_consent_state: Records = None
    ccpa: Records = None
    ccpa_consent_state: Records = None


class NoticeFields(msgspec.Struct, gc=False):
    """One of ``system_notifications``: a change of consent, in Firehose's own shape."""

    type: Literal["gdpr_consent_state", "ccpa_consent_state"]
    purpose: Text | None = None
    data: None = None
    old_gdpr_consent_state: ConsentRecordFields | None = None
    new_gdpr_consent_state: ConsentRecordFields | None = None
    old_ccpa_consent_state: ConsentRecordFields | None = None
    new_ccpa_consent_state: ConsentRecordFields | None = None

    @property
    def is_change(self) -> bool:
        """True if it has a purpose, and a decision before or after."""
        is_ccpa = self.type == "ccpa_consent_state"  # CCPA has one purpose
        before, after = (
            (self.old_ccpa_consent_state, self.new_ccpa_consent_state)
            if is_ccpa
            else (self.old_gdpr_consent_state, self.new_gdpr_consent_state)
        )
        has_decision = any(record is not None and record.consented is not None for record in (before, after))
        return has_decision and (is_ccpa or self.purpose is not None)


class EventFields(msgspec.Struct, gc=False):
    """An event's head: its type and ids."""

    type: str
    id: str | int | None = None
    source_id: str | int | None = None


class AccountFields(msgspec.Struct, gc=False):
    """The member ``account``, of which the id alone is kept."""

    account_id: Id | msgspec.UnsetType = msgspec.UNSET


class FastMessage(msgspec.Struct, gc=False):
    """A whole message."""

    type: Literal["event_processing_request"]
    id: Text
    events: Annotated[list[EventFields], msgspec.Meta(min_length=1, max_length=MAX_ELEMENTS)]
    timestamp_ms: int | None = None
    source_id: str | None = None
    mpid: Id = None
    account: msgspec.Raw = NO_ACCOUNT
    source_channel: str | None = None
    device_application_stamp: str | None = None
    user_identities: Annotated[list[IdentityFields], BOUNDED] | None = None
    partner_identities: Annotated[list[IdentityFields], BOUNDED] | None = None
    user_attributes: dict[str, msgspec.Raw] | None = None
    user_attribute_lists: dict[str, msgspec.Raw] | None = None
    integration_attributes: IgnoredObject | None = None
    consent_state: ConsentFields | None = None
    system_notifications: Annotated[list[NoticeFields], BOUNDED] | None = None
    runtime_environment: DeviceFields | None = None
    platform_fields: PlatformFields | None = None


decode = msgspec.json.Decoder(FastMessage).decode
account_id = msgspec.json.Decoder(AccountFields).decode


def parse_fast(body: bytes) -> tuple[Part, Members] | None:
    """Return the one part of a usual message, and the members that tell of its account; None for the full reader."""
    if MARK not in body:
        return None
    try:
        message = decode(body)
        stored = _drop_settings(message.account, body)
    except msgspec.DecodeError:
        return None
    if stored is None or is_no_id(message.id) or not CHANGES.isdisjoint(event.type.lower() for event in message.events):
        return None
    return _make_part(message, stored), _account_members(message)


def _account_members(message: FastMessage) -> Members:
    if not message.account:
        return {}
    when = {} if message.timestamp_ms is None else {"timestamp_ms": msgspec.Raw(b"%d" % message.timestamp_ms)}
    return {"account": message.account, **when}


def _drop_settings(account: msgspec.Raw, body: bytes) -> bytes | None:
    """Return the body with only the id in ``account``; None if the name may occur twice or in another spelling."""
    if b"\\" in body and any(escape in body for escape in ESCAPES):
        return None
    name = body.find(ACCOUNT)
    if name < 0:
        return body
    end_of_name = name + len(ACCOUNT)
    if body.find(ACCOUNT, end_of_name) >= 0:
        return None
    if not account:
        return body
    id = account_id(account).account_id
    start = body.index(account, end_of_name)
    kept = b"{}" if id is msgspec.UNSET else b'{"account_id":%b}' % msgspec.json.encode(id)
    return b"%b%b%b" % (body[:start], kept, body[start + len(account) :])


def _make_part(message: FastMessage, stored: bytes) -> Part:
    user = User(mpid=read_mpid({"mpid": message.mpid}), identities=_make_identities(message.user_identities or ()))
    device = read_stamp({"stamp": message.device_application_stamp}, "stamp")
    stated = bool(user.identities) + bool(message.user_attributes or message.user_attribute_lists)
    stated += any(notice.is_change for notice in message.system_notifications or ())
    return build_part(
        message.id,
        0,
        dedupe=f"{message.id}/0",
        user=user,
        user_key=user_key(user, device),
        facts=len(message.events) + stated,
        refs=(known_id(message.source_id), *_list_event_ids(message.events)),
        body=stored,
    )


def _list_event_ids(events: Iterable[EventFields]) -> Iterator[str]:
    for event in events:
        if not is_no_id(event.id):
            yield str(event.id)
        if not is_no_id(event.source_id):
            yield str(event.source_id)


def _make_identities(listed: Iterable[IdentityFields]) -> Identities:
    found = (
        make_identity(names.identity(one.type), one.value or None, names.encoding(one.encoding or None))
        for one in listed
    )
    return tuple(identity for identity in found if identity)
