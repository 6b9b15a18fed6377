"""Audiences: one connected or taken away, and users entering or leaving them."""

from __future__ import annotations

from functools import partial

import msgspec

from gateway.mparticle.fields import Fields, Unreadable, drop_nulls, each, identifier, mapping, required, text, word
from gateway.mparticle.identities import read_list, read_mpid, read_partners
from gateway.mparticle.messages import open_object
from gateway.mparticle.tolerance import read_tolerantly
from gateway.sdk import Audience, AudienceAttribute, Batch, Device, Membership, Quarantined, User


def read_subscription(batch: Batch, fields: Fields) -> Batch:
    """Read an audience that was connected, changed or removed."""
    audience = Audience(
        id=required(identifier(fields, "audience_id"), "audience_id"),
        name=text(fields, "audience_name") or "",
        action=required(word(fields, "action"), "action"),
        description=text(fields, "audience_description"),
        settings=mapping(fields, "audience_subscription_settings"),
        previous_settings=mapping(fields, "previous_audience_subscription_settings"),
    )
    return msgspec.structs.replace(batch, audience=audience)


def read_member(batch: Batch, profile: msgspec.Raw) -> Batch:
    """One user's profile of a membership message; quarantined if it cannot be read, so that the others are."""
    outer = "user_profiles", batch.part
    try:
        return read_tolerantly(partial(_read_profile, batch), partial(open_object, profile), *outer)
    except Unreadable as wrong:
        odd = Quarantined(id=f"{batch.id}:{batch.part}", type="user_profile", problem=str(wrong.inside(*outer)))
        return msgspec.structs.replace(batch, quarantined=(*batch.quarantined, odd))


def _read_profile(batch: Batch, fields: Fields) -> Batch:
    user = User(
        mpid=read_mpid(fields),
        identities=read_list(fields, "user_identities"),
        partner_identities=read_partners(fields),
    )
    memberships = (
        *each(fields, "audiences", _read_membership),
        *each(fields, "added_audiences", lambda audience: _read_membership({**audience, "action": "add"})),
        *each(fields, "removed_audiences", lambda audience: _read_membership({**audience, "action": "delete"})),
    )
    device = Device(identities=read_list(fields, "device_identities"))
    return msgspec.structs.replace(batch, user=user, device=device, memberships=memberships)


def _read_membership(fields: Fields) -> Membership:
    return Membership(
        audience_id=required(identifier(fields, "audience_id"), "audience_id"),
        audience_name=text(fields, "audience_name") or "",
        action=_exit(required(word(fields, "action"), "action")),
        settings=mapping(fields, "audience_subscription_settings"),
        attributes=each(fields, "user_attributes", _read_attribute),
    )


def _exit(action: str) -> str:
    """Return the action of a membership; ``remove``, which a subscription uses, is ``delete``."""
    return "delete" if action == "remove" else action


def _read_attribute(fields: Fields) -> AudienceAttribute | None:
    """Read an attribute shared with an audience; an empty object, as in mParticle's own sample, is none."""
    name = text(fields, "key")
    if name is None:
        return None
    removed = _exit(word(fields, "action") or "") == "delete"
    value = fields.get("list_value")
    return AudienceAttribute(
        name=name, value=fields.get("value") if value is None else drop_nulls(value), removed=removed
    )
