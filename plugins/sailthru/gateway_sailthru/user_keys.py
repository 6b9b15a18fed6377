"""The keys under which Sailthru knows a user: the e-mail address and, if the settings say so, the extid."""

from __future__ import annotations

import re

from gateway.sdk import Identity, Skip, User

MAX_ADDRESS_LENGTH = 254
PLAUSIBLE = re.compile(r"[^@\s,\x00-\x1f\x7f]+@[^@\s,.\x00-\x1f\x7f]+(\.[^@\s,.\x00-\x1f\x7f]+)+")


def normalise_address(identity: Identity | None) -> str | None:
    """Return the address, trimmed and in lower case as Sailthru keeps it; None for a hash or what is no address."""
    if identity is None or not identity.is_raw:
        return None
    value = identity.normal
    if not identity.is_well_formed:
        return None
    return value if len(value) <= MAX_ADDRESS_LENGTH and PLAUSIBLE.fullmatch(value) else None


def find_email(user: User) -> str | Skip:
    """Return the user's first plausible address, or a Skip with the reason why there is none."""
    emails = [identity for identity in user.identities if identity.type == "email" and identity.normal]
    raw = [identity for identity in emails if identity.is_raw]
    if not emails:
        return Skip(reason="no_email")
    if not raw:
        return Skip(reason="hashed_email")
    return next(filter(None, map(normalise_address, raw)), None) or Skip(reason="invalid_email")


def has_further_email(user: User, email: str) -> bool:
    """Return whether the user has another address than this one, be it plausible or not."""
    raw = (identity.normal for identity in user.identities if identity.type == "email" and identity.is_raw)
    return any(value and value != email for value in raw)


def find_extid(user: User, *, wanted: bool) -> dict[str, str]:
    """Return the key extid, made of mParticle's customer_id; nothing unless it is wanted and known."""
    customer_id = user.identity("customer_id") if wanted else None
    return {"extid": customer_id} if customer_id else {}
