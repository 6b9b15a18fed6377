"""Sealing of accounts' settings: encrypted and authenticated, so that only a key's owner can read or change them.

AES-256-GCM, bound to the connection and account of the settings. Sealed bytes begin with the name of their key, so that
keys can be rotated: the first key seals, every key opens.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import blake2b

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

FORM = b"\x01"
NAME_BYTES = 4
NONCE_BYTES = 12
PRINT_BYTES = 16


class Unopenable(Exception):
    """Sealed bytes cannot be opened. The message says why, and nothing of them."""


class Sealer:
    """Sealer with one or more keys of 32 bytes: the first seals, every one opens."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = {_name(key): AESGCM(key) for key in keys}
        self._first = _name(keys[0])
        self._secret = blake2b(keys[0], digest_size=32, person=b"print").digest()

    def seal(self, plain: bytes, about: str) -> bytes:
        """Return bytes sealed under the first key and bound to ``about``."""
        nonce = os.urandom(NONCE_BYTES)
        return FORM + self._first + nonce + self._keys[self._first].encrypt(nonce, plain, about.encode())

    def open(self, sealed: bytes, about: str) -> bytes:
        """Return the plain bytes that were sealed for ``about``. Raises Unopenable."""
        if sealed[:1] != FORM:
            raise Unopenable("sealed in an unknown format")
        name, rest = sealed[1 : 1 + NAME_BYTES], sealed[1 + NAME_BYTES :]
        key = self._keys.get(name)
        if key is None:
            raise Unopenable("sealed with a key that is not among accounts.sealing_keys")
        try:
            return key.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], about.encode())
        except (InvalidTag, ValueError):
            raise Unopenable("changed since it was sealed, or sealed about something else") from None

    def is_fresh(self, sealed: bytes) -> bool:
        """Return whether these bytes were sealed under the first key."""
        return sealed.startswith(FORM + self._first)

    def print(self, plain: bytes, about: str) -> bytes:
        """Return a print that differs for each plain text about this, and is worthless without the first key."""
        return blake2b(about.encode() + b"\0" + plain, digest_size=PRINT_BYTES, key=self._secret).digest()


def _name(key: bytes) -> bytes:
    return blake2b(key, digest_size=NAME_BYTES, person=b"name").digest()
