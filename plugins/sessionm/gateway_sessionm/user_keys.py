"""The keys under which SessionM knows a user: the MPID, other external ids, and the e-mail address."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Any

import msgspec

from gateway.sdk import Identity, Memory, Remember, Skip, User, path

CUSTOMER_ID = "customer_id"
EMAIL = "email"
CONFIRMED = "identifiers"
"""The memory key of the external ids that SessionM has confirmed."""

MAX_LOOKS = 6
"""Ids under which a user is looked for: with the creation and what follows it that makes eight further calls."""


class Identifier(msgspec.Struct, frozen=True):
    """One external id of a customer, as SessionM spells it."""

    external_id: str
    external_id_type: str


class UserKeys(msgspec.Struct, frozen=True, kw_only=True):
    """The identities of a user that can be sent: external ids (``customer_id`` first, then by type) and an e-mail.

    ``unlooked`` are the types, by mParticle's names, under which a user is not looked for, because there are too many.
    """

    identifiers: list[Identifier] = []
    email: str | None = None
    skips: tuple[Skip, ...] = ()
    unlooked: tuple[str, ...] = ()


def find_mpid(user: User) -> str | Skip:
    """Return the MPID, or a Skip with the reason why the user cannot be addressed by it."""
    if user.mpid is None or user.mpid.strip() in ("", "0"):
        return Skip(reason="no_mpid")
    return user.mpid if is_addressable(user.mpid) else Skip(reason="bad_identity")


def is_addressable(value: str) -> bool:
    """Return whether the value can be one segment of a path."""
    try:
        path(value)
    except ValueError:
        return False
    return True


def collect_keys(user: User, types: Mapping[str, str]) -> UserKeys:
    """Sort a user's identities; ``types`` renames their types. Only addresses are normalised."""
    identifiers: dict[Identifier, None] = {}
    values: dict[str, str] = {}
    emails: list[str] = []
    skips = []
    for identity in sorted(user.identities, key=lambda identity: (identity.type != CUSTOMER_ID, identity.type)):
        reason = _find_obstacle(identity, emails)
        if reason is not None:
            skips.append(Skip(reason=reason, what=identity.type))
        elif identity.type == EMAIL:
            emails.append(identity.normal)
        else:
            identifiers[Identifier(identity.value, types.get(identity.type, identity.type))] = None
            values.setdefault(identity.value, identity.type)
    return UserKeys(
        identifiers=list(identifiers),
        email=emails[0] if emails else None,
        skips=tuple(skips),
        unlooked=tuple(dict.fromkeys(list(values.values())[MAX_LOOKS:])),
    )


def _find_obstacle(identity: Identity, emails: list[str]) -> str | None:
    if not identity.is_raw:
        return "hashed_identity"
    if not identity.normal:
        return "empty_identity"
    if identity.type == EMAIL:
        if not identity.is_well_formed:
            return "invalid_email"
        return "second_email" if emails and identity.normal not in emails else None
    return None if is_addressable(identity.value) else "bad_identity"


def is_confirmed(mpid: str, identifiers: Iterable[Identifier], memory: Memory) -> bool:
    """Return whether SessionM is remembered to have all of these ids for this MPID."""
    return set(_hash_each(mpid, identifiers)) <= set(memory.user.get(CONFIRMED) or ())


def remember_identifiers(mpid: str, identifiers: Iterable[Identifier]) -> Remember:
    """Remember, as short hashes, that SessionM has these ids for this MPID."""
    return Remember(key=CONFIRMED, value=list(_hash_each(mpid, identifiers)))


def _hash_each(mpid: str, identifiers: Iterable[Identifier]) -> Iterator[str]:
    for identifier in identifiers:
        text = f"{mpid}\0{identifier.external_id_type}\0{identifier.external_id}"
        yield blake2b(text.encode(), digest_size=8).hexdigest()


def read_identifiers(user: Mapping[str, Any]) -> list[dict[str, str]] | None:
    """Return the external ids that a reply shows of a customer, or None if it does not show all of them readably."""
    listed = user.get("identifiers")
    if not isinstance(listed, list):
        return None
    known = [_read_identifier(entry) for entry in listed]
    return None if None in known else [entry for entry in known if entry is not None]


def _read_identifier(entry: Any) -> dict[str, str] | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("external_id"), str):
        return None
    return {name: entry[name] for name in Identifier.__struct_fields__ if isinstance(entry.get(name), str)}


def find_missing(wanted: Iterable[Identifier], known: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    """Return the wanted ids that are not among the known; an id shown without a type counts as of the right type."""
    have = {(entry["external_id"], entry.get("external_id_type")) for entry in known}
    return [
        msgspec.structs.asdict(identifier)
        for identifier in wanted
        if not have & {(identifier.external_id, identifier.external_id_type), (identifier.external_id, None)}
    ]
