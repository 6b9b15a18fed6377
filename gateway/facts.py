"""Facts: the things that one batch states. Each is planned by itself and has an outcome of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec.structs import replace

from gateway.sdk import Audience, Batch, Event, Membership, Session


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a batch states, and the hook that plans it.

    ``id`` is its name in the ledger: an event's own id, ``identities``, ``attributes``,
    ``membership:<audience>:<action>`` and the like. ``arguments`` are those of the hook besides the common ones.
    """

    id: str
    hook: str
    arguments: dict[str, Any]


def iter_facts(batch: Batch) -> Iterator[Fact]:
    """Yield the facts of a batch, in the order in which they must take effect.

    An erasure comes alone, and so does an alias. Otherwise identities come first, then attributes, consent, audiences
    and memberships, then events in order of time. Each id occurs once: a number is appended to an id that repeats.
    """
    seen: dict[str, int] = {}
    for fact in _iter_all(batch):
        seen[fact.id] = count = seen.get(fact.id, 0) + 1
        yield fact if count == 1 else replace(fact, id=number_fact_id(fact.id, count))


def number_fact_id(id: str, count: int) -> str:
    """Return the id of the fact that is the ``count``-th with this id."""
    return id if count == 1 else f"{id}#{count}"


def _iter_all(batch: Batch) -> Iterator[Fact]:
    sole = _find_sole_fact(batch)
    if sole is not None:
        yield sole
        return
    if batch.user.identities or batch.identity_changes:
        yield Fact(id="identities", hook="on_identity", arguments={"changes": batch.identity_changes})
    if batch.user.attributes or batch.attribute_changes or batch.user.removed_attributes:
        yield Fact(id="attributes", hook="on_attributes", arguments={"changes": batch.attribute_changes})
    if batch.consent_changes:
        yield Fact(id="consent", hook="on_consent", arguments={"changes": batch.consent_changes})
    if batch.is_bare:
        yield _bare_fact(batch)
    if batch.audience is not None:
        yield Fact(id=f"audience:{batch.audience.id}", hook="on_audience", arguments={"audience": batch.audience})
    for membership in batch.memberships:
        name = f"membership:{membership.audience_id}:{membership.action}"
        yield Fact(id=name, hook="on_membership", arguments={"membership": membership})
    for event in batch.events:
        if isinstance(event, Session):
            yield Fact(id=event.id, hook="on_session", arguments={"session": event})
        else:
            yield Fact(id=event.id, hook="on_event", arguments={"event": event})


def _find_sole_fact(batch: Batch) -> Fact | None:
    if batch.erasure is not None:
        return Fact(id=f"erasure:{batch.erasure.request_id}", hook="on_erasure", arguments={"erasure": batch.erasure})
    if batch.alias is not None:
        return Fact(id=f"alias:{batch.alias.request_id}", hook="on_alias", arguments={"alias": batch.alias})
    return None


def _bare_fact(batch: Batch) -> Fact:
    """Return the one fact of a bare batch: its consent state, ids of a device or a partner, or the message itself."""
    if batch.user.consent.gdpr or batch.user.consent.ccpa:
        return Fact(id="consent", hook="on_consent", arguments={"changes": ()})
    if batch.user.partner_identities or batch.device.identities:
        return Fact(id="identities", hook="on_identity", arguments={"changes": ()})
    return Fact(id="message", hook="", arguments={"message": batch.id})


def is_bare(batch: Batch) -> bool:
    """Return whether a batch names somebody, and states nothing about them that any fact would tell.

    A message that names nobody either, as a keep-alive does not, is not bare but empty.
    """
    states = (
        batch.user.identities,
        batch.identity_changes,
        batch.user.attributes,
        batch.user.removed_attributes,
        batch.attribute_changes,
        batch.consent_changes,
        batch.memberships,
        batch.events,
        batch.quarantined,
    )
    if any(one is not None for one in (batch.erasure, batch.audience, batch.alias)) or any(states):
        return False
    user, consent = batch.user, batch.user.consent
    names = (user.mpid, user.partner_identities, batch.device_stamp, batch.device.identities)
    return any((*names, consent.gdpr, consent.ccpa, batch.integration_attributes))


def describe_fact(fact: Fact) -> str:
    """Return what people call a fact: an event's type and name, or an audience's name. Empty if its id says as much."""
    said = next(iter(fact.arguments.values()))
    if isinstance(said, Event):
        name = getattr(said, "name", None) or getattr(said, "action", None)
        return f'{said.type} "{name}"' if name else said.type
    if isinstance(said, (Audience, Membership)):
        return f'"{said.name if isinstance(said, Audience) else said.audience_name}"'
    return ""
