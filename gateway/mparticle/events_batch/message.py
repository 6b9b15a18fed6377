"""Events batches: everything they say besides their events."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from gateway.mparticle import consents, names
from gateway.mparticle.fields import (
    Fields,
    copy_field,
    flag,
    identifier,
    inner,
    integer,
    items,
    known_id,
    mapping,
    scalar,
    text,
    time,
    token,
    within,
    word,
)
from gateway.mparticle.identities import (
    Identities,
    make_identity,
    read_device_identities,
    read_identities,
    read_mapping,
    read_mpid,
)
from gateway.mparticle.json import Members
from gateway.mparticle.messages import Message, read_array, read_plain, read_stamp
from gateway.mparticle.tolerance import read_tolerantly
from gateway.sdk import App, Batch, DataPlan, Device, User

MARKS = frozenset({"events", "user_identities", "mpid", "batch_id", "device_info", "user_attributes", "schema_version"})
"""The members of which a batch has at least one."""


class Ids(NamedTuple):
    """The ids of a batch. Only ``message`` names one post: mParticle may split a batch into several."""

    message: str | None
    batch: str | None
    request: str | None


def read_ids(members: Members) -> Ids:
    """Read a batch's ids. Raises Unreadable."""
    fields = read_plain(
        {name: members[name] for name in ("message_id", "batch_id", "source_request_id") if name in members}
    )
    message, request = text(fields, "message_id"), text(fields, "source_request_id")
    return Ids(known_id(message), known_id(identifier(fields, "batch_id")), known_id(request))


def read_message(members: Members, *, id: str, part: int) -> Message:
    """Read a batch. Raises Unreadable."""
    events = read_array(members, "events")
    opening = partial(read_plain, members, but=("events",))
    return Message(read_tolerantly(partial(_read_batch, id=id, part=part), opening, beside=events), events)


def _read_batch(fields: Fields, *, id: str, part: int) -> Batch:
    source = inner(fields, "source_info", _read_source) or {}
    app, system = inner(fields, "application_info", _read_app) or (App(), None)
    device_info, ip, sdk_version = mapping(fields, "device_info"), text(fields, "ip"), text(fields, "sdk_version")
    device = within(
        lambda found: _read_device(found, system, source.get("channel"), ip, sdk_version), device_info, "device_info"
    )
    context = mapping(fields, "context")
    return Batch(
        id=id,
        part=part,
        dialect="events",
        source_id=known_id(text(fields, "source_request_id")),
        received_ms=time(fields, "timestamp_unixtime_ms"),
        environment=word(fields, "environment"),
        batch_id=known_id(identifier(fields, "batch_id")),
        unique_id=known_id(token(fields, "unique_id")),
        job_id=known_id(token(fields, "job_id")),
        origin_mpid=read_mpid(fields, "origin_mpid"),
        data_plan=within(lambda found: inner(found, "data_plan", _read_plan), context, "context") or DataPlan(),
        device_stamp=read_stamp(fields, "mp_deviceid"),
        device=device,
        app=app,
        user=_read_user(fields),
        consent_changes=consents.read_changes(fields),
        integration_attributes=mapping(fields, "integration_attributes"),
        attribution=mapping(fields, "attribution_info"),
        context=context,
        **source,
    )


def _read_user(fields: Fields) -> User:
    return User(
        mpid=read_mpid(fields),
        identities=read_identities(fields, "user_identities"),
        partner_identities=_read_partners(fields),
        attributes=mapping(fields, "user_attributes"),
        removed_attributes=_read_names(fields, "deleted_user_attributes"),
        consent=consents.read_state(fields),
    )


def _read_partners(fields: Fields) -> Identities:
    """Partner identities by type; the schema also knows a single one that has no type."""
    single = make_identity("partner_identity", token(fields, "partner_identity"))
    return (*read_mapping(fields, "partner_identities"), *((single,) if single else ()))


def _read_names(fields: Fields, name: str) -> tuple[str, ...]:
    posted = items(fields, name)
    return tuple(scalar(one, name, index) for index, one in enumerate(posted) if one not in (None, ""))


def _read_source(fields: Fields) -> dict[str, Any]:
    """Read where a batch came from, as members of a Batch."""
    return {
        "channel": word(fields, "channel"),
        "input_name": text(fields, "partner"),
        "is_historical": flag(fields, "is_historical") or False,
        "replay_request_id": known_id(token(fields, "replay_request_id")),
        "replay_job_id": known_id(token(fields, "replay_job_id")),
    }


def _read_app(fields: Fields) -> tuple[App, str | None]:
    app = App(
        name=text(fields, "application_name"),
        version=text(fields, "application_version"),
        package=text(fields, "package"),
        details=fields,
    )
    return app, word(copy_field(fields, "os"), "os")


def _read_device(
    fields: Fields, system: str | None, channel: str | None, ip: str | None, sdk_version: str | None
) -> Device:
    """Read the device of ``device_info``, with the batch's own fields about it."""
    platform = names.platform(word(fields, "platform"), channel) or names.platform_of_system(system, channel)
    return Device(
        platform=platform,
        identities=read_device_identities(fields, platform),
        user_agent=text(fields, "http_header_user_agent"),
        ip=ip,
        sdk_version=sdk_version,
        details=fields,
    )


def _read_plan(fields: Fields) -> DataPlan:
    return DataPlan(id=text(fields, "plan_id"), version=integer(fields, "plan_version"))
