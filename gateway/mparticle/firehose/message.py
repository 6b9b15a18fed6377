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
from gateway.mparticle.identities import listed, mpid, partners
from gateway.mparticle.json import Members
from gateway.mparticle.messages import Message, array, plain, stamp, word_of
from gateway.mparticle.tolerance import tolerant
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


def message(members: Members, *, id: str, part: int) -> Message:
    """Read a message about one user. Raises Unreadable."""
    batch, entries = said(members, id=id, part=part)
    if word_of(members, "type") != "audience_membership_change_request":
        return Message(batch, entries)
    (profile,) = entries
    return Message(audiences.member(batch, profile))


def said(members: Members, *, id: str, part: int) -> Message:
    """Read a message; its events, or the profiles of all its users, stay as bytes. Raises Unreadable."""
    read, name = READERS.get(word_of(members, "type"), (_profile, "events"))
    entries = array(members, name) if name else []
    opening = partial(plain, members, but=("events", "user_profiles"))
    return Message(tolerant(lambda fields: read(_envelope(fields, id, part), fields), opening, beside=entries), entries)


READERS: dict[str, tuple[Callable[[Batch, Fields], Batch], str]] = {
    "audience_membership_change_request": (lambda batch, _: batch, "user_profiles"),
    "audience_subscription_request": (audiences.subscription, ""),
    "dsr_processing_request": (erasures.erasure, ""),
}
"""The readers of messages without events, and the member that holds their users' profiles."""


def _envelope(fields: Fields, id: str, part: int) -> Batch:
    """Read what all messages have in common."""
    return Batch(
        id=id,
        part=part,
        dialect="firehose",
        received_ms=time(fields, "timestamp_ms"),
        account_id=inner(fields, "account", lambda account: identifier(account, "account_id")),
    )


def _profile(batch: Batch, fields: Fields) -> Batch:
    channel = word(fields, "source_channel")
    device, app = inner(fields, "runtime_environment", lambda found: _device(found, channel)) or (Device(), App())
    workspace, plan, input_name = inner(fields, "platform_fields", _origin) or (Workspace(), DataPlan(), None)
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
        device_stamp=stamp(fields, "device_application_stamp"),
        device=device,
        app=app,
        user=User(
            mpid=mpid(fields),
            identities=listed(fields, "user_identities"),
            partner_identities=partners(fields),
            attributes=_attributes(fields),
            consent=consents.state(fields),
        ),
        consent_changes=consents.changes(fields),
        integration_attributes=mapping(fields, "integration_attributes"),
    )


def _attributes(fields: Fields) -> Fields:
    """Read the user's attributes, then those that are lists; a null list is empty."""
    found = mapping(fields, "user_attributes")
    lists = mapping(fields, "user_attribute_lists")
    if not lists:
        return found
    return {**found, **{name: [] if value is None else value for name, value in lists.items()}}


def _device(fields: Fields, channel: str | None) -> tuple[Device, App]:
    app = App(
        name=text(fields, "application_name"),
        version=text(fields, "application_version"),
        package=text(fields, "application_package"),
    )
    device = Device(
        platform=names.platform(word(fields, "type"), channel),
        identities=listed(fields, "identities"),
        is_debug=flag(fields, "is_debug") or False,
        user_agent=text(fields, "http_header_user_agent"),
        ip=text(fields, "client_ip_address"),
        sdk_version=text(fields, "sdk_version"),
        details=fields,
    )
    return device, app


def _origin(fields: Fields) -> tuple[Workspace, DataPlan, str | None]:
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
