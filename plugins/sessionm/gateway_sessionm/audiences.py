"""Audiences: each membership is a custom attribute of the profile, which says whether the user is a member."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.sdk import Call, Membership, Skip, User
from gateway_sessionm.names import normalise
from gateway_sessionm.profiles import build_profile, update_profile
from gateway_sessionm.settings import SessionMSettings
from gateway_sessionm.user_keys import find_mpid

IS_MEMBER = {"add": True, "delete": False}


def plan_membership(membership: Membership, user: User, settings: SessionMSettings) -> Iterator[Call | Skip]:
    """Write whether the user is a member of the audience, and the attributes shared with the audience."""
    mpid = find_mpid(user)
    if not settings.audience_attributes:
        yield Skip(reason="audiences_off")
        return
    if isinstance(mpid, Skip):
        yield mpid
        return
    name = make_name(membership.audience_id)
    shared = {one.name: one.value for one in membership.attributes if not one.removed and one.name != name}
    is_member = IS_MEMBER.get(membership.action)
    profile, skips = build_profile(
        shared if is_member is None else {name: is_member, **shared}, settings.user_tag_value
    )
    yield from skips
    yield from (Skip(reason="attribute_removed", what=one.name) for one in membership.attributes if one.removed)
    if is_member is None and membership.action != "attribute_update":
        yield Skip(reason="unknown_action")
    if profile:
        yield update_profile(profile, mpid, user, settings)


def make_name(audience_id: str) -> str:
    """Return the name of the custom attribute of an audience. It is made of the id, which outlasts the name."""
    return normalise(f"audience_{audience_id}")
