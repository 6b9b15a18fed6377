"""Erasures: a user's request to be forgotten, forwarded by Firehose or posted as an OpenDSR request."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from gateway.mparticle import names
from gateway.mparticle.fields import (
    FIRST_MS,
    LAST_MS,
    Fields,
    Unreadable,
    as_token,
    flag,
    inner,
    iso_ms,
    items,
    known_id,
    scalar,
    text,
    word,
)
from gateway.mparticle.identities import Identities, make_identity, read_subject_identities
from gateway.mparticle.json import Members
from gateway.mparticle.messages import Message, read_plain
from gateway.mparticle.tolerance import read_tolerantly
from gateway.sdk import Batch, Device, Erasure, Identity, User

EXTENSION = "opendsr.mparticle.com"
CALLBACKS = "status_callback_urls"


def read_message(members: Members, *, id: str, part: int) -> Message:
    """Read an OpenDSR request. Raises Unreadable."""
    batch = Batch(id=id, part=part, dialect="opendsr")
    return Message(read_tolerantly(partial(read_erasure, batch), partial(read_plain, members)))


def read_erasure(batch: Batch, fields: Fields) -> Batch:
    """Read an erasure request. Raises Unreadable for any other request."""
    asked = word(fields, "subject_request_type")
    if asked not in (None, "erasure"):
        raise Unreadable("only erasures are accepted, no requests for access or portability", "subject_request_type")
    extension = inner(fields, "extensions", lambda found: inner(found, EXTENSION, _read_extension)) or ((), None)
    found = (*read_subject_identities(fields, "subject_identities"), *extension[0])
    mpids = [identity.value for identity in found if identity.type == "mpid" and identity.value != "0"]
    others = [Identity(type="mpid", value=value) for value in mpids[1:]]
    users = [identity for identity in found if identity.type not in names.DEVICE_IDENTITIES and identity.type != "mpid"]
    devices = [identity for identity in found if identity.type in names.DEVICE_IDENTITIES]
    return msgspec.structs.replace(
        batch,
        user=User(mpid=mpids[0] if mpids else None, identities=(*users, *others)),
        device=Device(identities=tuple(devices)),
        erasure=Erasure(
            request_id=known_id(text(fields, "subject_request_id")) or batch.id,
            regulation=word(fields, "regulation") or "unknown",
            submitted_ms=parse_moment(fields.pop("submitted_time", None)),
            api_version=text(fields, "api_version"),
            group_id=known_id(text(fields, "group_id")),
            callback_urls=tuple(scalar(url, CALLBACKS, n) for n, url in enumerate(items(fields, CALLBACKS)) if url),
            skips_waiting_period=extension[1],
        ),
    )


def _read_extension(fields: Fields) -> tuple[Identities, bool | None]:
    """Read mParticle's own extension: MPIDs, identities that OpenDSR has no names for, whether it skips the wait."""
    mpids = (
        make_identity("mpid", as_token(mpid, "mpids", index))
        for index, mpid in enumerate(items(fields, "mpids"))
        if mpid
    )
    found = (
        *read_subject_identities(fields, "subject_identities"),
        *read_subject_identities(fields, "identities"),
        *(mpid for mpid in mpids if mpid),
    )
    return found, flag(fields, "skip_waiting_period")


def parse_moment(posted: Any) -> int | None:
    """Return a time in milliseconds, from seconds or from ISO 8601.

    None for anything else, and for a time outside of 1970 to 9999: no erasure may fail for its time.
    """
    try:
        time_ms = round(posted * 1000) if isinstance(posted, (int, float)) else iso_ms(posted)
    except (TypeError, OverflowError):
        return None
    return time_ms if time_ms is not None and FIRST_MS < time_ms <= LAST_MS else None
