"""Erasure: the customer deleted under every id that the settings name."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from gateway.sdk import Call, Remember, Skip, User
from gateway_sessionm.calls import delete_user
from gateway_sessionm.settings import SessionMSettings
from gateway_sessionm.user_keys import CONFIRMED, collect_keys, find_mpid

FURTHER_MPID = "mpid"
"""The identity type of an erasure's further MPIDs, all but the first."""


def plan_erasure(user: User, settings: SessionMSettings) -> Iterator[Call | Skip | Remember]:
    """Delete the customer under each id, and forget which ids SessionM has confirmed."""
    external_ids = _list_ids(user, settings.erasure_identities)
    if isinstance(external_ids, Skip):
        yield external_ids
        return
    yield Remember(key=CONFIRMED)
    yield from map(delete_user, external_ids)


def _list_ids(user: User, types: Collection[str]) -> list[str] | Skip:
    """Return the ids under which to erase the user: every MPID, and the identities of these types."""
    types = {FURTHER_MPID, *types}
    mpid = find_mpid(user)
    values = [] if isinstance(mpid, Skip) else [mpid]
    values.extend(each.external_id for each in collect_keys(user, {}).identifiers if each.external_id_type in types)
    return list(dict.fromkeys(values)) if values or isinstance(mpid, str) else mpid
