"""Sharing of limits: dispatchers of one connection tell each other the limits that the destination reported."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from gateway.deliver.gates import GateClosure, Gates
from gateway.journal.shared_limits import ClosedGate, SharedLimits
from gateway.journal.types import JournalUnavailable
from gateway.log import logger

SHARE_INTERVAL_S = 1.0

Exchange = Callable[[Sequence[ClosedGate]], Awaitable[SharedLimits]]
"""Publish the closed scopes, and return those of other dispatchers. Raises JournalUnavailable."""


async def share_limits(gates: Gates, exchange: Exchange, interval_s: float = SHARE_INTERVAL_S) -> None:
    """Exchange closed scopes at an interval, until cancelled."""
    while True:
        try:
            await share(gates, exchange)
        except JournalUnavailable:  # the next round tries again; the dispatcher reports the journal
            pass
        except Exception:  # noqa: BLE001  # deliveries must continue after any error
            logger.exception("limits not shared")
        await asyncio.sleep(interval_s)


async def share(gates: Gates, exchange: Exchange) -> None:
    """Publish the scopes that are closed here, and apply those of others, their number and an operator's pause."""
    now, unpublished = gates.clock(), gates.unpublished()
    others = await exchange(
        [
            ClosedGate(scope=scope, left_ms=int(1000 * (closed.until - now)), reason=closed.reason)
            for scope, closed in unpublished.items()
        ]
    )
    gates.dispatchers, gates.paused = others.dispatchers, others.paused
    for scope, closed in unpublished.items():
        gates.mark_published(scope, closed.until)
    for one in others.closings:
        if one.scope is not None:
            gates.apply_remote(one.scope, GateClosure(until=gates.clock() + one.left_ms / 1000, reason=one.reason))
