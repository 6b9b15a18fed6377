"""E-mail addresses: the one identity by which Sailthru is told of a user."""

from __future__ import annotations

import re

from gateway.sdk import Identity, Skip, User

LONGEST = 254
PLAUSIBLE = re.compile(r"[^@\s,\x00-\x1f\x7f]+@[^@\s,.\x00-\x1f\x7f]+(\.[^@\s,.\x00-\x1f\x7f]+)+")


def address(identity: Identity | None) -> str | None:
    """The address, trimmed and in lower case as Sailthru keeps it; None for a hash or what is no address."""
    if identity is None or not identity.is_raw:
        return None
    value = identity.value.strip().lower()
    return value if len(value) <= LONGEST and PLAUSIBLE.fullmatch(value) else None


def address_of(user: User) -> str | Skip:
    """Where to find the user in Sailthru, the first address that may be one, or why there is no way to."""
    emails = [identity for identity in user.identities if identity.type == "email" and identity.value.strip()]
    raw = [identity for identity in emails if identity.is_raw]
    if not emails:
        return Skip(reason="no_email")
    if not raw:
        return Skip(reason="hashed_email")
    return next(filter(None, map(address, raw)), None) or Skip(reason="invalid_email")


def has_further(user: User, email: str) -> bool:
    """Whether the user has an address besides this one, were it none that Sailthru would take."""
    raw = (identity.value.strip() for identity in user.identities if identity.type == "email" and identity.is_raw)
    return any(value and value.lower() != email for value in raw)


def extid_of(user: User, *, wanted: bool) -> dict[str, str]:
    """The key extid, where the settings want mParticle's customer_id as such."""
    customer_id = user.identity("customer_id") if wanted else None
    return {"extid": customer_id} if customer_id else {}
