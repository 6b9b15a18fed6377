"""Audiences: each one is a list, and its members are the members of the list."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from gateway.sdk import Audience, Call, Membership, Memory, Remember, Skip, User
from gateway_sailthru import bulk, calls
from gateway_sailthru.names import make_list_name
from gateway_sailthru.profiles import build_vars, leave_out_nulls, split_changes
from gateway_sailthru.settings import SailthruSettings
from gateway_sailthru.user_keys import find_email

ON_LIST = {"add": 1, "delete": 0}


def plan_audience(audience: Audience, memory: Memory, settings: SailthruSettings) -> Iterator[Call | Skip | Remember]:
    """Create a list for a new audience; a renamed audience keeps its list."""
    name = _find_list(audience.id, audience.name, memory)
    is_known = _make_key(audience.id) in memory.shared
    if audience.action == "add" or (audience.action == "update" and not is_known):
        yield calls.create_list(name)
        yield Remember(key=_make_key(audience.id), value=name, shared=True)
    elif audience.action == "remove" and settings.removed_audience == "delete":
        yield calls.delete_list(name)
        yield Remember(key=_make_key(audience.id), value=None, shared=True)
    elif audience.action in ("update", "remove"):
        yield Skip(reason="list_kept")
    else:
        yield Skip(reason="unknown_action")


def plan_membership(
    membership: Membership, user: User, memory: Memory, settings: SailthruSettings
) -> Iterator[Call | Skip]:
    """Add the user to the audience's list or remove them, and write the attributes shared with the audience."""
    email = find_email(user)
    if isinstance(email, Skip):
        yield email
        return
    _, shared, nulls = leave_out_nulls(User(), membership.attributes)
    changed, lost = split_changes(shared, User())
    sent, skips = build_vars(changed, lost, user, settings)
    skips += nulls
    lists = {}
    if membership.action in ON_LIST:
        name = _find_list(membership.audience_id, membership.audience_name, memory)
        lists[name] = ON_LIST[membership.action]
    elif membership.action != "attribute_update":
        skips.append(Skip(reason="unknown_action"))
    if sent or lists:
        update = calls.upsert(email, vars=sent, lists=lists)
        yield msgspec.structs.replace(update, pool=bulk.ROW_POOL) if settings.bulk_from else update
    yield from skips


def _find_list(audience_id: str, audience_name: str, memory: Memory) -> str:
    """Return the name of the list, which is the audience's first name, even if the audience was renamed."""
    remembered = memory.shared.get(_make_key(audience_id))
    return remembered if isinstance(remembered, str) else make_list_name(audience_id, audience_name)


def _make_key(audience_id: str) -> str:
    return f"audience:{audience_id}"
