"""Parts: one user's share of a post, with all that storing it needs to know and nothing decoded that need not be."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gateway.facts import is_bare
from gateway.mparticle import names
from gateway.mparticle.decoding import Dialect, EventHead
from gateway.mparticle.event_common import CHANGES
from gateway.mparticle.fields import Unreadable
from gateway.mparticle.identities import identity_key
from gateway.mparticle.messages import Message
from gateway.sdk import AttributeChange, Batch, Identity, IdentityChange, User

LANE_ORDER = {type: rank for rank, type in enumerate(names.FIREHOSE_USER_IDENTITIES.values())}
"""The order in which a raw identity names a user's lane if there is no MPID: customer_id, email, then the others."""

FOUND_BY = frozenset({"customer_id", "email", "mpid"})  # an erasure may name several MPIDs


class AskedErasure(msgspec.Struct, frozen=True, kw_only=True):
    """An erasure request: the ``names`` that ``erasure_keys`` may give the user, and when it was made."""

    names: tuple[str, ...]
    asked_ms: int | None


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One user's part of a post.

    ``message`` and ``number`` name it, ``user_key`` says whose lane it belongs to, and ``dedupe`` (which has the
    user in it, for an id alone may be used twice) is equal for what mParticle posts again and for nothing else.
    ``facts`` is how many facts it holds, unreadable ones included. ``refs`` are the ids by which it can be found.
    ``wish``: it asks that the user be forgotten. ``body`` is a JSON document in the dialect posted that holds this user
    alone and none of the customer's settings.
    """

    message: str
    number: int
    dedupe: str
    user_key: str
    facts: int
    refs: tuple[str, ...]
    wish: AskedErasure | None = None
    body: bytes

    def __repr__(self) -> str:
        return f"<part {self.number} of {self.message}: {self.facts} facts>"


def make_part(
    said: Message, dialect: Dialect, *, dedupe: str, refs: Iterable[str | None] = (), body: bytes
) -> Part | None:
    """Return the part of a message about one user; None if it states nothing at all."""
    batch = said.batch
    facts, ids = _count_facts(said, dialect)
    if not facts:
        return None
    return build_part(
        batch.id,
        batch.part,
        dedupe=dedupe,
        user=batch.user,
        user_key=f"audience:{batch.audience.id}" if batch.audience else user_key(batch.user, batch.device_stamp),
        facts=facts,
        refs=(
            *refs,
            batch.source_id,
            *ids,
            *_list_alias_refs(batch),
            *(f"audience:{each.audience_id}" for each in batch.memberships),
        ),
        wish=_make_wish(batch),
        body=body,
    )


def _list_alias_refs(batch: Batch) -> tuple[str, ...]:
    return () if batch.alias is None else (batch.alias.request_id, f"mpid:{batch.alias.source_mpid}")


def build_part(  # noqa: PLR0913  # a part says as much
    message: str,
    number: int,
    *,
    dedupe: str,
    user: User,
    user_key: str | None,
    facts: int,
    refs: Iterable[str | None],
    wish: AskedErasure | None = None,
    body: bytes,
) -> Part:
    """Return a part of a message; without a ``user_key`` it has a lane of its own."""
    key = user_key or f"message:{message}"
    return Part(
        message=message,
        number=number,
        dedupe=f"{dedupe}/{key}",
        user_key=key,
        facts=facts,
        refs=tuple(dict.fromkeys(ref for ref in (message, *refs, *list_user_refs(user), user_key) if ref)),
        wish=wish,
        body=body,
    )


def _count_facts(said: Message, dialect: Dialect) -> tuple[int, list[str]]:
    """Return the number of facts that decoding will find, and the ids of what they are about."""
    batch, events = said
    if batch.erasure is not None:
        return 1 + len(batch.quarantined), [batch.erasure.request_id]
    facts = (batch.audience is not None) + (batch.alias is not None) + len(batch.memberships) + len(batch.quarantined)
    told: set[type] = set()
    ids: list[str] = []
    for index, raw in enumerate(events):
        head = _read_head(raw, dialect)
        if head is not None:
            ids.extend(str(id) for id in head.ids if id and type(id) in (str, int))
        kinds = _find_change_kinds(raw, index, batch, dialect) if _may_tell_changes(head) else None
        if kinds is None:
            facts += 1
        else:
            told |= kinds
    identities = bool(batch.user.identities) or IdentityChange in told
    attributes = bool(batch.user.attributes or batch.user.removed_attributes) or AttributeChange in told
    facts += identities + attributes + bool(batch.consent_changes)
    return facts or is_bare(batch), ids


def _read_head(raw: msgspec.Raw, dialect: Dialect) -> EventHead | None:
    try:
        return dialect.head(raw)
    except msgspec.DecodeError:
        return None


def _may_tell_changes(head: EventHead | None) -> bool:
    return head is None or (type(head.type) is str and head.type.lower() in CHANGES)


def _find_change_kinds(raw: msgspec.Raw, index: int, batch: Batch, dialect: Dialect) -> set[type] | None:
    """Return the kinds of changes that an entry states; None if it is an event, or cannot be read."""
    try:
        kinds: set[type] = {type(one) for one in dialect.read_event(raw, index, batch)}
    except Unreadable:
        return None
    return kinds if kinds <= {AttributeChange, IdentityChange} else None


def list_user_refs(user: User) -> list[str]:
    """Return the ids by which a user is found: MPID, customer_id, e-mail address."""
    known = [identity_key(each) for each in user.identities if each.is_raw and each.type in FOUND_BY]
    return [f"mpid:{user.mpid}", *known] if user.mpid else known


def identity_keys(user: User) -> list[str]:
    """Return the keys of a user: the MPID, and every identity that is not hashed."""
    known = [identity_key(each) for each in user.identities if each.is_raw]
    return [f"mpid:{user.mpid}", *known] if user.mpid else known


def erasure_keys(user: User) -> list[str]:
    """Return the keys under which an erasure request that concerns this user may be stored.

    Several users may share an address. A request that names an MPID means that user; its address means only what was
    posted under the address alone.
    """
    names = identity_keys(user)
    return names if user.mpid else [*names, *map(ALONE.__add__, names)]


ALONE = "alone:"


def _make_wish(batch: Batch) -> AskedErasure | None:
    if batch.erasure is None:
        return None
    names = identity_keys(batch.user)
    if batch.user.mpid:
        names = [name if name.startswith("mpid:") else ALONE + name for name in names]
    told = [time for time in (batch.received_ms, batch.erasure.submitted_ms) if time is not None]
    return AskedErasure(names=tuple(names), asked_ms=max(told, default=None))


def user_key(user: User, device_stamp: str | None) -> str | None:
    """Return the key of the user's lane, or None if the message names no user or device.

    It is equal for all posts about one user, as far as their ids show that.
    """
    if user.mpid:
        return f"mpid:{user.mpid}"
    best = min(user.identities, key=_rank, default=None)
    if best is not None and best.is_raw:
        return identity_key(best)
    if device_stamp:
        return f"device:{device_stamp}"
    return f"{best.type}:{best.encoding}:{best.value}" if best is not None else None


def _rank(identity: Identity) -> tuple[bool, int, str, str]:
    return not identity.is_raw, LANE_ORDER.get(identity.type, len(LANE_ORDER)), identity.type, identity_key(identity)
