"""Closings: what dispatchers that share a journal tell each other of limits, and what an operator tells them all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

MAX_MS = 3_660_000
"""No dispatcher closes a gate for longer: what says so was written before a clock was set back."""
OPERATOR = "operator"
PAUSED = "paused"
"""Why an operator's gate is closed."""


class ClosedGate(msgspec.Struct, frozen=True, kw_only=True):
    """A rate-limit scope is closed, or the whole connection rests (``scope`` is None), for so long from now on."""

    scope: str | None
    left_ms: int
    reason: str


class SharedLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The other dispatchers' limits: how many work on a connection, this one counted, and the gates that they closed.

    They tell of scopes; that a connection rests, each finds out for itself. ``paused``: an operator wants it to.
    """

    dispatchers: int = 1
    closings: tuple[ClosedGate, ...] = ()
    paused: bool = False


class GateSharing(Protocol):
    """The part of the journal that keeps closed gates. All methods raise JournalUnavailable."""

    async def exchange(self, connection: str, closings: Sequence[ClosedGate]) -> SharedLimits:
        """Tell other dispatchers what is closed, and hear what they told. Whoever does so counts as one of them."""

    async def pause(self, connection: str, left_ms: int | None) -> bool:
        """Have nothing sent for so long (None: until told otherwise), or again (0); whether that ended a pause."""


def governing(connection: str) -> list[str]:
    """Whose pause is one of this connection: its own, and for an account's (NAME/ACCOUNT) the whole one's."""
    name = connection.partition("/")[0]
    return [connection] if name == connection else [connection, name]
