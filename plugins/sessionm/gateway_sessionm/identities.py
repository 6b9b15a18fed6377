"""Identities: an e-mail address for the profile, and external ids for SessionM's list."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.sdk import Call, Memory, Skip, User
from gateway_sessionm.calls import write_profile
from gateway_sessionm.settings import SessionMSettings
from gateway_sessionm.steps import CallMemo, DeliveryStep
from gateway_sessionm.user_keys import collect_keys, find_mpid, is_confirmed


def plan_identities(user: User, memory: Memory, settings: SessionMSettings) -> Iterator[Call | Skip]:
    """Write the e-mail address, and check SessionM's list of ids unless it is remembered to be complete."""
    mpid = find_mpid(user)
    if isinstance(mpid, Skip):
        yield mpid
        return
    keys = collect_keys(user, settings.identity_types)
    yield from keys.skips
    unconfirmed = not is_confirmed(mpid, keys.identifiers, memory)
    if keys.email is None and not unconfirmed:
        yield Skip(reason="already_known" if keys.identifiers else "nothing_to_send")
        return
    if unconfirmed:
        yield from (Skip(reason="not_looked_under", what=type) for type in keys.unlooked)
    yield write_profile(
        CallMemo(
            step=DeliveryStep.UPDATE,
            mpid=mpid,
            identifiers=keys.identifiers,
            unconfirmed=unconfirmed,
            user={} if keys.email is None else {"email": keys.email},
        )
    )
