"""Alias requests: mParticle's statement that the data of one MPID belongs to another."""

from __future__ import annotations

from functools import partial

import msgspec

from gateway.mparticle.fields import Fields, known_id, mapping, text, time, within, word
from gateway.mparticle.identities import read_mpid
from gateway.mparticle.json import Members
from gateway.mparticle.messages import Message, read_plain, read_stamp
from gateway.mparticle.tolerance import read_tolerantly
from gateway.sdk import Alias, Batch, Quarantined, User

SECRETS = ("account", "api_key")
"""The members that are not stored, as they hold the customer's settings or credentials."""


def read_message(members: Members, *, id: str, part: int) -> Message:
    """Read an alias request. Raises Unreadable."""
    batch = Batch(id=id, part=part, dialect="alias")
    return Message(read_tolerantly(partial(_read_alias, batch), partial(read_plain, members)))


def _read_alias(batch: Batch, fields: Fields) -> Batch:
    """Read the request; without one of its two MPIDs it is quarantined."""
    environment, request_id = word(fields, "environment"), known_id(text(fields, "request_id")) or batch.id
    data = mapping(fields, "data")
    source, destination, start_ms, end_ms, device_stamp = (
        within(_read_data, data, "data") if data else _read_data(fields)
    )
    if source is None or destination is None:
        missing = "source_mpid" if source is None else "destination_mpid"
        odd = Quarantined(id=request_id, type="alias", problem=f"data.{missing}: missing")
        return msgspec.structs.replace(batch, environment=environment, quarantined=(*batch.quarantined, odd))
    return msgspec.structs.replace(
        batch,
        environment=environment,
        device_stamp=device_stamp,
        user=User(mpid=destination),
        alias=Alias(
            request_id=request_id,
            source_mpid=source,
            destination_mpid=destination,
            start_ms=start_ms,
            end_ms=end_ms,
        ),
    )


def _read_data(fields: Fields) -> tuple[str | None, str | None, int | None, int | None, str | None]:
    """Read the source, the destination, the first and last time, and the id of the device's installation."""
    return (
        read_mpid(fields, "source_mpid"),
        read_mpid(fields, "destination_mpid"),
        time(fields, "start_unixtime_ms"),
        time(fields, "end_unixtime_ms"),
        read_stamp(fields, "device_application_stamp"),
    )
