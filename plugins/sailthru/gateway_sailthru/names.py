"""Names of attributes, lists and events at Sailthru."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b

from gateway_sailthru.settings import SailthruSettings

MAX_VAR_LENGTH = 32
HASH_DIGITS = 6
RESERVED_EVENTS = frozenset({"send", "cancel", "open", "click", "purchase", "daily"})


@lru_cache(maxsize=8192)  # users share the names of their attributes
def make_var_name(name: str, *, unicode: bool = False) -> str:
    """Return an attribute's name as Sailthru takes it: at most 32 letters, digits and underscores, no digit in front.

    One leading ``$`` is taken off; anything else that is not allowed becomes ``_``. A name cut short, or of which
    nothing is left, ends in a hash of the whole, so that different names stay different.
    """
    forbidden = r"\W+" if unicode else r"[^A-Za-z0-9_]+"
    var = re.sub(forbidden, "_", name.removeprefix("$")).strip("_")
    if not var:
        return f"v_{_hash(name)}"
    if var[0].isdigit():
        var = f"v_{var}"
    return var if len(var) <= MAX_VAR_LENGTH else var[: MAX_VAR_LENGTH - HASH_DIGITS] + _hash(name)


def _hash(name: str) -> str:
    return blake2b(name.encode(errors="surrogatepass"), digest_size=HASH_DIGITS // 2).hexdigest()


def assign_vars(names: Iterable[str], settings: SailthruSettings) -> dict[str, str]:
    """Return the attribute that each var belongs to, independent of the order of the attributes.

    If several attributes claim a var, mParticle's own (``$City``) come first or last, as the settings say. Then come
    names that need no change, then code points decide.
    """
    first = settings.preferred_name == "reserved"
    vars = {name: make_var_name(name, unicode=settings.unicode_names) for name in names}
    ranked = sorted(vars, key=lambda name: (name.startswith("$") != first, name != vars[name], name))
    return {vars[name]: name for name in reversed(ranked)}


def make_list_name(audience_id: str, audience_name: str) -> str:
    """Return an audience's name as a list may have it: without ``$`` and commas, with single spaces."""
    name = " ".join(audience_name.replace("$", "-").replace(",", " ").split())
    return name or f"Audience {audience_id}"
