"""The ids under which SessionM may know a user."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Any

import msgspec

from gateway.sdk import Identity, Memory, Remember, Skip, User, path

CUSTOMER = "customer_id"
FURTHER_MPID = "mpid"
"""The type of the MPIDs, all but the first, of somebody who asks to be forgotten."""
EMAIL = "email"
KNOWN = "identifiers"
"""The key under which the plugin remembers which identifiers SessionM has confirmed."""

MAX_LOOKS = 6
"""Ids under which a user is looked for: with the creation and what follows it that makes eight further calls."""


class Identifier(msgspec.Struct, frozen=True):
    """One external id of a customer, as SessionM spells it."""

    external_id: str
    external_id_type: str


class Identities(msgspec.Struct, frozen=True, kw_only=True):
    """What of a user's identities can be sent: external ids, ``customer_id`` first and then by type, and an e-mail.

    ``unlooked`` are the types, as mParticle calls them, under which a user is not looked for, since there are too many.
    """

    identifiers: list[Identifier] = []
    email: str | None = None
    skips: tuple[Skip, ...] = ()
    unlooked: tuple[str, ...] = ()


def address_of(user: User) -> str | Skip:
    """The MPID, or why the user cannot be addressed by it."""
    if user.mpid is None or user.mpid.strip() in ("", "0"):
        return Skip(reason="no_mpid")
    return user.mpid if is_addressable(user.mpid) else Skip(reason="bad_identity")


def erasable(user: User, types: Collection[str]) -> list[str] | Skip:
    """The ids under which to erase the user: every MPID, and identities of these types."""
    types = {FURTHER_MPID, *types}
    mpid = address_of(user)
    values = [] if isinstance(mpid, Skip) else [mpid]
    values.extend(each.external_id for each in identities_of(user, {}).identifiers if each.external_id_type in types)
    return list(dict.fromkeys(values)) if values or isinstance(mpid, str) else mpid


def is_addressable(value: str) -> bool:
    """Whether the value can be one segment of a path."""
    try:
        path(value)
    except ValueError:
        return False
    return True


def identities_of(user: User, types: Mapping[str, str]) -> Identities:
    """Sort a user's identities; ``types`` renames their types. Values stay as they are."""
    identifiers: dict[Identifier, None] = {}
    values: dict[str, str] = {}
    emails: list[str] = []
    skips = []
    for identity in sorted(user.identities, key=lambda identity: (identity.type != CUSTOMER, identity.type)):
        reason = _obstacle(identity, emails)
        if reason is not None:
            skips.append(Skip(reason=reason, what=identity.type))
        elif identity.type == EMAIL:
            emails.append(identity.value)
        else:
            identifiers[Identifier(identity.value, types.get(identity.type, identity.type))] = None
            values.setdefault(identity.value, identity.type)
    return Identities(
        identifiers=list(identifiers),
        email=emails[0] if emails else None,
        skips=tuple(skips),
        unlooked=tuple(dict.fromkeys(list(values.values())[MAX_LOOKS:])),
    )


def _obstacle(identity: Identity, emails: list[str]) -> str | None:
    if not identity.is_raw:
        return "hashed_identity"
    if not identity.value.strip():
        return "empty_identity"
    if identity.type == EMAIL:
        return "second_email" if emails and identity.value not in emails else None
    return None if is_addressable(identity.value) else "bad_identity"


def is_confirmed(mpid: str, identifiers: Iterable[Identifier], memory: Memory) -> bool:
    """Whether SessionM is remembered to have all of these for this MPID."""
    return set(_marks(mpid, identifiers)) <= set(memory.user.get(KNOWN) or ())


def confirmed(mpid: str, identifiers: Iterable[Identifier]) -> Remember:
    """Remember that SessionM has these for this MPID. Only short hashes are kept."""
    return Remember(key=KNOWN, value=list(_marks(mpid, identifiers)))


def _marks(mpid: str, identifiers: Iterable[Identifier]) -> Iterator[str]:
    for identifier in identifiers:
        text = f"{mpid}\0{identifier.external_id_type}\0{identifier.external_id}"
        yield blake2b(text.encode(), digest_size=8).hexdigest()


def shown(user: Mapping[str, Any]) -> list[dict[str, str]] | None:
    """The external ids that SessionM shows of a customer, or None where it does not show all of them readably."""
    listed = user.get("identifiers")
    if not isinstance(listed, list):
        return None
    known = [_shown(entry) for entry in listed]
    return None if None in known else [entry for entry in known if entry is not None]


def _shown(entry: Any) -> dict[str, str] | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("external_id"), str):
        return None
    return {name: entry[name] for name in Identifier.__struct_fields__ if isinstance(entry.get(name), str)}


def missing(wanted: Iterable[Identifier], known: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    """Those wanted that are not among the known; an id shown without its type is taken to be of the right one."""
    have = {(entry["external_id"], entry.get("external_id_type")) for entry in known}
    return [
        msgspec.structs.asdict(identifier)
        for identifier in wanted
        if not have & {(identifier.external_id, identifier.external_id_type), (identifier.external_id, None)}
    ]
