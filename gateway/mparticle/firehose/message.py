"""Firehose messages: everything they say besides their events."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from gateway.mparticle import consents, erasures, names
from gateway.mparticle.fields import (
    Fields,
    flag,
    identifier,
    inner,
    integer,
    known_id,
    mapping,
    text,
    time,
    word,
)
from gateway.mparticle.firehose import audiences
from gateway.mparticle.identities import read_list, read_mpid, read_partners
from gateway.mparticle.json import Members
from gateway.mparticle.messages import Message, read_array, read_plain, read_stamp, read_word
from gateway.mparticle.tolerance import read_tolerantly
from gateway.sdk import App, Batch, DataPlan, Device, User, Workspace

REQUESTS = frozenset(
    {
        "module_registration_request",
        "event_processing_request",
        "audience_subscription_request",
        "audience_membership_change_request",
        "dsr_processing_request",
    }
)


ENVELOPE = frozenset({"type", "id", "timestamp_ms", "firehose_version", "account"})
"""The members that all messages have, and all that one has beside its users' profiles."""


def read_message(members: Members, *, id: str, part: int) -> Message:
    """Read a message about one user. Raises Unreadable."""
    batch, entries = read_envelope_and_entries(members, id=id, part=part)
    if read_word(members, "type") != "audience_membership_change_request":
        return Message(batch, entries)
    (profile,) = entries
    return Message(audiences.read_member(batch, profile))


def read_envelope_and_entries(members: Members, *, id: str, part: int) -> Message:
    """Read a message; its events, or the profiles of all its users, stay as bytes. Raises Unreadable."""
    read, name = READERS.get(read_word(members, "type"), (_read_profile, "events"))
    entries = read_array(members, name) if name else []
    opening = partial(read_plain, members, but=("events", "user_profiles"))
    return Message(
        read_tolerantly(lambda fields: read(_read_envelope(fields, id, part), fields), opening, beside=entries), entries
    )


READERS: dict[str, tuple[Callable[[Batch, Fields], Batch], str]] = {
    "audience_membership_change_request": (lambda batch, _: batch, "user_profiles"),
    "audience_subscription_request": (audiences.read_subscription, ""),
    "dsr_processing_request": (erasures.read_erasure, ""),
}
"""The readers of messages without events, and the member that holds their users' profiles."""


def _read_envelope(fields: Fields, id: str, part: int) -> Batch:
    """Read what all messages have in common."""
    return Batch(
        id=id,
        part=part,
        dialect="firehose",
        received_ms=time(fields, "timestamp_ms"),
        account_id=inner(fields, "account", lambda account: identifier(account, "account_id")),
    )


def _read_profile(batch: Batch, fields: Fields) -> Batch:
    channel = word(fields, "source_channel")
    device, app = inner(fields, "runtime_environment", lambda found: _read_device(found, channel)) or (Device(), App())
    workspace, plan, input_name = inner(fields, "platform_fields", _read_origin) or (Workspace(), DataPlan(), None)
    return Batch(
        id=batch.id,
        part=batch.part,
        dialect=batch.dialect,
        received_ms=batch.received_ms,
        account_id=batch.account_id,
        source_id=known_id(text(fields, "source_id")),
        environment=None if device.is_debug is None else "development" if device.is_debug else "production",
        workspace=workspace,
        channel=channel,
        input_name=input_name,
        data_plan=plan,
        device_stamp=read_stamp(fields, "device_application_stamp"),
        device=device,
        app=app,
        user=User(
            mpid=read_mpid(fields),
            identities=read_list(fields, "user_identities"),
            partner_identities=read_partners(fields),
            attributes=_read_attributes(fields),
            consent=consents.read_state(fields),
        ),
        consent_changes=consents.read_changes(fields),
        integration_attributes=mapping(fields, "integration_attributes"),
    )


def _read_attributes(fields: Fields) -> Fields:
    """Read the user's attributes, then those that are lists; a null list is empty."""
    found = mapping(fields, "user_attributes")
    lists = mapping(fields, "user_attribute_lists")
    if not lists:
        return found
    return {**found, **{name: [] if value is None else value for name, value in lists.items()}}


def _read_device(fields: Fields, channel: str | None) -> tuple[Device, App]:
    app = App(
        name=text(fields, "application_name"),
        version=text(fields, "application_version"),
        package=text(fields, "application_package"),
    )
    device = Device(
        platform=names.platform(word(fields, "type"), channel),
        identities=read_list(fields, "identities"),
        is_debug=flag(fields, "is_debug") or False,
        user_agent=text(fields, "http_header_user_agent"),
        ip=text(fields, "client_ip_address"),
        sdk_version=text(fields, "sdk_version"),
        details=fields,
    )
    return device, app


def _read_origin(fields: Fields) -> tuple[Workspace, DataPlan, str | None]:
    workspace = Workspace(
        account_id=identifier(fields, "mp_account_id"),
        account_name=text(fields, "mp_account_name"),
        workspace_id=identifier(fields, "workspace_id"),
        workspace_name=text(fields, "workspace_name"),
        app_name=text(fields, "app_name"),
        app_version=text(fields, "app_version"),
    )
    plan = DataPlan(
        id=text(fields, "dataplan_id"),
        name=text(fields, "dataplan_name"),
        version=integer(fields, "dataplan_version"),
    )
    return workspace, plan, text(fields, "input_name")
