"""Sharing: what a destination said of its limits to one dispatcher, the others are told, and heed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from gateway.deliver.gates import GateClosure, Gates
from gateway.journal.shared_limits import ClosedGate, SharedLimits
from gateway.journal.types import JournalUnavailable
from gateway.log import logger

EVERY_S = 1.0

Exchange = Callable[[Sequence[ClosedGate]], Awaitable[SharedLimits]]
"""Tell what is closed, and hear what others told. Raises JournalUnavailable."""


async def share_limits(gates: Gates, exchange: Exchange, every_s: float = EVERY_S) -> None:
    """Exchange what is closed every so often, for as long as nobody stops it."""
    while True:
        try:
            await share(gates, exchange)
        except JournalUnavailable:  # the next time, then; whoever needs the journal says so
            pass
        except Exception:  # noqa: BLE001  # whatever it is, deliveries go on
            logger.exception("limits not shared")
        await asyncio.sleep(every_s)


async def share(gates: Gates, exchange: Exchange) -> None:
    """Tell others what is closed here, close what the destination had closed there, share its rates, heed operators."""
    now, unpublished = gates.clock(), gates.unpublished()
    others = await exchange(
        [
            ClosedGate(scope=scope, left_ms=int(1000 * (closed.until - now)), reason=closed.reason)
            for scope, closed in unpublished.items()
        ]
    )
    gates.dispatchers, gates.paused = others.dispatchers, others.paused
    for scope, closed in unpublished.items():
        gates.told(scope, closed.until)
    for one in others.closings:
        if one.scope is not None:
            gates.apply_remote(one.scope, GateClosure(until=gates.clock() + one.left_ms / 1000, reason=one.reason))
