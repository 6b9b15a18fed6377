"""Audiences: one connected or taken away, and users entering or leaving them."""

from __future__ import annotations

from functools import partial

import msgspec

from gateway.mparticle.fields import Fields, Unreadable, each, identifier, mapping, required, text, without_nulls, word
from gateway.mparticle.identities import listed, mpid, partners
from gateway.mparticle.messages import opened
from gateway.mparticle.tolerance import tolerant
from gateway.sdk import Audience, AudienceAttribute, Batch, Device, Membership, Quarantined, User


def subscription(batch: Batch, fields: Fields) -> Batch:
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


def member(batch: Batch, profile: msgspec.Raw) -> Batch:
    """One user's profile of a membership message; quarantined where it cannot be read, for the others' sake."""
    outer = "user_profiles", batch.part
    try:
        return tolerant(partial(_profile, batch), partial(opened, profile), *outer)
    except Unreadable as wrong:
        odd = Quarantined(id=f"{batch.id}:{batch.part}", type="user_profile", problem=str(wrong.inside(*outer)))
        return msgspec.structs.replace(batch, quarantined=(*batch.quarantined, odd))


def _profile(batch: Batch, fields: Fields) -> Batch:
    user = User(
        mpid=mpid(fields),
        identities=listed(fields, "user_identities"),
        partner_identities=partners(fields),
    )
    memberships = (
        *each(fields, "audiences", _membership),
        *each(fields, "added_audiences", lambda audience: _membership({**audience, "action": "add"})),
        *each(fields, "removed_audiences", lambda audience: _membership({**audience, "action": "delete"})),
    )
    device = Device(identities=listed(fields, "device_identities"))
    return msgspec.structs.replace(batch, user=user, device=device, memberships=memberships)


def _membership(fields: Fields) -> Membership:
    return Membership(
        audience_id=required(identifier(fields, "audience_id"), "audience_id"),
        audience_name=text(fields, "audience_name") or "",
        action=_exit(required(word(fields, "action"), "action")),
        settings=mapping(fields, "audience_subscription_settings"),
        attributes=each(fields, "user_attributes", _attribute),
    )


def _exit(action: str) -> str:
    """Return the action of a membership; ``remove``, which a subscription uses, is ``delete``."""
    return "delete" if action == "remove" else action


def _attribute(fields: Fields) -> AudienceAttribute | None:
    """Read an attribute shared with an audience; an empty object, as in mParticle's own sample, is none."""
    name = text(fields, "key")
    if name is None:
        return None
    removed = _exit(word(fields, "action") or "") == "delete"
    value = fields.get("list_value")
    return AudienceAttribute(
        name=name, value=fields.get("value") if value is None else without_nulls(value), removed=removed
    )
