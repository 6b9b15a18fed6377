"""Who may post: an Authorization header compared in constant time with the values that are accepted."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from gateway.settings import Ingress


class Doorkeeper:
    """Knows the accepted header values."""

    def __init__(self, ingress: Ingress) -> None:
        self._accepted = [value.get_secret_value().strip().encode() for value in ingress.authorization]
        self._anonymous = ingress.anonymous

    def admits(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether a request with these headers may post. Takes as long whichever value it is compared with."""
        given = next((value for name, value in headers if name == b"authorization"), b"")
        matches = [hmac.compare_digest(given, accepted) for accepted in self._accepted]
        return any(matches) or self._anonymous
