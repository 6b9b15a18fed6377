"""Audiences: each one a list, its members those of the list."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from gateway.sdk import Audience, Call, Membership, Memory, Remember, Skip, User
from gateway_sailthru import bulk, calls
from gateway_sailthru.addresses import address_of
from gateway_sailthru.names import list_name
from gateway_sailthru.profiles import difference, profile_vars
from gateway_sailthru.settings import SailthruSettings

ON_LIST = {"add": 1, "delete": 0}


def list_of(audience_id: str, audience_name: str, memory: Memory) -> str:
    """The list an audience was first given, whatever it is called now."""
    remembered = memory.shared.get(_key(audience_id))
    return remembered if isinstance(remembered, str) else list_name(audience_id, audience_name)


def _key(audience_id: str) -> str:
    return f"audience:{audience_id}"


def plan(audience: Audience, memory: Memory, settings: SailthruSettings) -> Iterator[Call | Skip | Remember]:
    """A list for an audience that is new; a renamed audience keeps the one it has."""
    name = list_of(audience.id, audience.name, memory)
    is_known = _key(audience.id) in memory.shared
    if audience.action == "add" or (audience.action == "update" and not is_known):
        yield calls.request("POST", "list", {"list": name, "type": "normal", "primary": 0})
        yield Remember(key=_key(audience.id), value=name, shared=True)
    elif audience.action == "remove" and settings.removed_audience == "delete":
        yield calls.request("DELETE", "list", {"list": name})
        yield Remember(key=_key(audience.id), value=None, shared=True)
    elif audience.action in ("update", "remove"):
        yield Skip(reason="list_kept")
    else:
        yield Skip(reason="unknown_action")


def plan_membership(
    membership: Membership, user: User, memory: Memory, settings: SailthruSettings
) -> Iterator[Call | Skip]:
    """The user put on the audience's list or taken off it, and attributes shared with the audience."""
    email = address_of(user)
    if isinstance(email, Skip):
        yield email
        return
    changed, lost = difference(membership.attributes, User())
    sent, skips = profile_vars(changed, lost, user, settings)
    lists = {}
    if membership.action in ON_LIST:
        name = list_of(membership.audience_id, membership.audience_name, memory)
        lists[name] = ON_LIST[membership.action]
    elif membership.action != "attribute_update":
        skips.append(Skip(reason="unknown_action"))
    if sent or lists:
        update = calls.upsert(email, vars=sent, lists=lists)
        yield msgspec.structs.replace(update, pool=bulk.ROWS) if settings.bulk_from else update
    yield from skips
