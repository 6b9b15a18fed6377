"""Names: what attributes, lists and events are called in Sailthru."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b

from gateway_sailthru.settings import SailthruSettings

LONGEST_VAR = 32
HASH_DIGITS = 6
RESERVED_EVENTS = frozenset({"send", "cancel", "open", "click", "purchase", "daily"})


@lru_cache(maxsize=8192)  # users share the names of their attributes
def var_name(name: str, *, unicode: bool = False) -> str:
    """An attribute's name as Sailthru takes it: at most 32 letters, digits and underscores, no digit in front.

    One leading ``$`` goes; anything else that is not allowed becomes ``_``. A name cut short, or of which
    nothing is left, ends in a hash of the whole, so that different names stay different.
    """
    allowed = r"\W+" if unicode else r"[^A-Za-z0-9_]+"
    var = re.sub(allowed, "_", name.removeprefix("$")).strip("_")
    if not var:
        return f"v_{_hash(name)}"
    if var[0].isdigit():
        var = f"v_{var}"
    return var if len(var) <= LONGEST_VAR else var[: LONGEST_VAR - HASH_DIGITS] + _hash(name)


def _hash(name: str) -> str:
    return blake2b(name.encode(errors="surrogatepass"), digest_size=HASH_DIGITS // 2).hexdigest()


def owners(names: Iterable[str], settings: SailthruSettings) -> dict[str, str]:
    """Which attribute each var belongs to, where several have a claim on it: never a matter of order.

    mParticle's own (``$City``) come first or last, as the settings say, then names that need no change,
    then code points decide.
    """
    first = settings.preferred_name == "reserved"
    vars = {name: var_name(name, unicode=settings.unicode_names) for name in names}
    ranked = sorted(vars, key=lambda name: (name.startswith("$") != first, name != vars[name], name))
    return {vars[name]: name for name in reversed(ranked)}


def list_name(audience_id: str, audience_name: str) -> str:
    """An audience's name as a list may bear it: without ``$`` and commas, single spaces."""
    name = " ".join(audience_name.replace("$", "-").replace(",", " ").split())
    return name or f"Audience {audience_id}"
