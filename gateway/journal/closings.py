"""Closings: what dispatchers that share a journal tell each other of limits."""

from __future__ import annotations

import msgspec


class Closing(msgspec.Struct, frozen=True, kw_only=True):
    """A destination had a rate-limit scope closed, for so long from now on."""

    scope: str
    left_ms: int
    reason: str


class Others(msgspec.Struct, frozen=True, kw_only=True):
    """What a dispatcher hears of the others: how many work on a connection, itself counted, and what they told."""

    dispatchers: int = 1
    closings: tuple[Closing, ...] = ()
