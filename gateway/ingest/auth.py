"""Authentication: the Authorization header of a post must equal one of the configured values."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from gateway.settings import IngressSettings


class Authenticator:
    """Compares Authorization headers with the accepted values, in constant time."""

    def __init__(self, ingress: IngressSettings) -> None:
        self._accepted = [value.get_secret_value().strip().encode() for value in ingress.authorization]
        self._anonymous = ingress.anonymous

    def is_authorized(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Return whether a request with these headers may post. It takes as long whichever value is the right one."""
        given = next((value for name, value in headers if name == b"authorization"), b"")
        matches = [hmac.compare_digest(given, accepted) for accepted in self._accepted]
        return any(matches) or self._anonymous
