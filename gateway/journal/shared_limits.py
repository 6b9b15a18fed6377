"""Shared limits: the closed gates that dispatchers of one journal tell each other, and operators' pauses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from gateway.journal.wait_reasons import WaitReason

MAX_MS = 3_660_000
"""The longest closure of a gate; a longer one was written before a clock was set back."""
OPERATOR = "operator"
PAUSED = WaitReason("paused")
"""The reason of an operator's pause."""


class ClosedGate(msgspec.Struct, frozen=True, kw_only=True):
    """A closed rate-limit scope, or the closed connection (``scope`` is None), for ``left_ms`` from now on."""

    scope: str | None
    left_ms: int
    reason: WaitReason


class SharedLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The shared limits: the number of dispatchers of a connection, this one included, and their closed scopes.

    Each dispatcher finds out by itself if the whole connection must wait. ``paused``: an operator paused it.
    """

    dispatchers: int = 1
    closings: tuple[ClosedGate, ...] = ()
    paused: bool = False


class GateSharing(Protocol):
    """The part of the journal that stores closed gates. All methods raise JournalUnavailable."""

    async def exchange(self, connection: str, closings: Sequence[ClosedGate]) -> SharedLimits:
        """Publish closed gates, and return those of other dispatchers; the caller counts as a dispatcher."""

    async def pause(self, connection: str, left_ms: int | None) -> bool:
        """Pause a connection for ``left_ms`` (None: until resumed), or resume it (0); return whether a pause ended."""


def governing(connection: str) -> list[str]:
    """Return the connections whose pause holds for this one: itself, and for an account (NAME/ACCOUNT) also NAME."""
    name = connection.partition("/")[0]
    return [connection] if name == connection else [connection, name]
