"""Deliveries of one connection: the face of this room, with the lane worker, the gates and the pools behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from gateway.clock import Clock
from gateway.deliver.executor import CallExecutor, Wait
from gateway.deliver.gates import SLOW, Gates, Sleep
from gateway.deliver.lane_worker import LaneWorker
from gateway.deliver.pools import Pools
from gateway.deliver.progress import ItemProgress
from gateway.deliver.sender import PartnerTransport, Sender
from gateway.deliver.shared_limits import Exchange, share, share_limits
from gateway.deliver.suspects import Suspects
from gateway.deliver.transport import Transport
from gateway.journal.types import Lane, Settlement
from gateway.journal.wait_reasons import REFUSED, WaitReason
from gateway.log import logger
from gateway.plugins.blackbox import Blackbox
from gateway.plugins.connections import Connection
from gateway.plugins.watchdog import Watchdog
from gateway.settings import DeliverySettings

PAUSED_POLL_S = 0.1
MIN_REFUSALS = 3
"""After so many refusals in a row the credentials count as wrong."""


@dataclass(slots=True, kw_only=True)
class Deliveries:
    """The deliveries of one connection, until it is closed. Make it with ``open_deliveries``."""

    worker: LaneWorker
    gates: Gates
    pools: Pools
    sender: Sender
    guard: Watchdog
    max_lanes: int
    sharing: asyncio.Task[None] | None = None

    async def deliver(self, lane: Lane, work: Sequence[ItemProgress]) -> None:
        """Make every open call of these items in order, record their ends, and release the lane. Raises StaleClaim."""
        await self.worker.deliver(lane, work)

    def closed_for_s(self) -> float:
        """Return the seconds until lanes may be claimed again; 0.0 if they may be claimed now."""
        if self.gates.paused:
            return PAUSED_POLL_S
        now = self.gates.clock()
        closed = self.gates.connection.closed(now)
        return 0.0 if closed is None else closed.until - now

    def suspended(self) -> Wait | None:
        """Return the wait of a plugin that may not run because of the time it has taken from others."""
        now = self.gates.clock()
        closed = self.gates.connection.closed(now)
        return None if closed is None or closed.reason != SLOW else Wait(seconds=closed.until - now, reason=SLOW)

    def count_room(self, lanes: int) -> int:
        """Return how many lanes to claim beside ``lanes``: none until enough of these are done, one for a trial call.

        Lanes in pools take no room: pools need many lanes, and limit them.
        """
        if self.gates.connection.on_trial:
            return 1 - lanes
        room = self.max_lanes - lanes + self.pools.held
        return room if room >= max(1, self.max_lanes // 4) else 0

    def begin_claim(self) -> None:
        """Note that lanes are being claimed: no pool is quiet meanwhile."""
        self.pools.more = True

    def end_claim(self, *, is_full: bool) -> None:
        """Note the end of a claim; ``is_full``: it returned as many lanes as asked for, so more may follow."""
        self.pools.more = is_full and not self.gates.connection.on_trial

    def refusal(self) -> str | None:
        """Return the reason if the credentials are refused, "" if a call was taken since, None if neither is known."""
        gate = self.gates.connection
        if gate.refusals >= MIN_REFUSALS and gate.reason.code == REFUSED:
            return str(gate.reason)
        return "" if gate.taken and not gate.refusals else None

    def adopt_limits(self, other: Deliveries) -> None:
        """Take over the state of the rate limits from the deliveries that these replace, if the rates are the same."""
        if self.gates.rates == other.gates.rates:
            self.gates.scopes = other.gates.scopes

    async def share_once(self, exchange: Exchange) -> None:
        """Exchange the state of the rate limits once. Raises JournalUnavailable."""
        await share(self.gates, exchange)

    def start_sharing(self, exchange: Exchange) -> None:
        """Start to exchange the state of the rate limits with other dispatchers of this connection."""
        self.sharing = asyncio.create_task(share_limits(self.gates, exchange))

    def stop_sharing(self) -> None:
        """Stop the exchange."""
        if self.sharing is not None:
            self.sharing.cancel()

    async def close(self) -> None:
        """Stop the exchange, and close every network connection."""
        self.stop_sharing()
        await self.sender.close()


class ProcessParts(Protocol):
    """The parts of a process that its deliveries use."""

    @property
    def delivery(self) -> DeliverySettings:
        """The settings of deliveries."""

    @property
    def box(self) -> Blackbox:
        """The black box of the process."""

    @property
    def clock(self) -> Clock:
        """The clock of the process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryOwner:
    """The owner of deliveries: ``settle`` records a settlement, ``wake`` makes the lanes due that wait for a reason.

    ``on_pooled`` is called when a lane joins a pool; ``stopped`` is set when the owner stops.
    """

    settle: Callable[[Settlement], Awaitable[bool]]
    wake: Callable[[WaitReason], Awaitable[None]]
    on_pooled: Callable[[], None]
    stopped: asyncio.Event


def open_deliveries(
    connection: Connection, parts: ProcessParts, owner: DeliveryOwner, transport: PartnerTransport | None = None
) -> Deliveries:
    """Return the deliveries of a connection; ``transport`` replaces the connection's own."""
    settings, clock, box, stopped = parts.delivery, parts.clock, parts.box, owner.stopped

    async def sleep(seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(stopped.wait(), seconds)

    gates = _make_gates(connection, clock, sleep)
    guard = _make_watchdog(connection, settings, box, gates)
    transport = transport or _make_transport(connection, guard)
    sender = Sender(connection, transport, now_ms=clock.now_ms, guard=guard)
    executor = CallExecutor(
        connection=connection, sender=sender, gates=gates, delivery=settings, stopping=stopped.is_set, guard=guard
    )
    suspects = Suspects(box.read_suspects(connection.name), partial(box.set_suspects, connection.name))
    pools = Pools(executor, owner.on_pooled, suspects)
    return Deliveries(
        worker=LaneWorker(executor=executor, pools=pools, settle=owner.settle, wake=owner.wake, clock=clock),
        gates=gates,
        pools=pools,
        sender=sender,
        guard=guard,
        max_lanes=settings.in_flight,
    )


def _make_transport(connection: Connection, guard: Watchdog) -> Transport:
    destination = connection.plugin.destination
    return Transport(
        connect_timeout_s=destination.connect_timeout_s,
        reply_timeout_s=destination.reply_timeout_s,
        charge=guard.charge_reading,
        public_only=connection.is_customers,
    )


def _make_gates(connection: Connection, clock: Clock, sleep: Sleep) -> Gates:
    destination = connection.plugin.destination
    return Gates(
        rates=destination.rates(connection.settings) if destination.rates else {},
        headers=destination.rate_headers(connection.settings) if destination.rate_headers else None,
        clock=clock.steady_s,
        sleep=sleep,
        paused=True,  # until the journal has been asked whether an operator paused the connection
    )


def _make_watchdog(connection: Connection, settings: DeliverySettings, box: Blackbox, gates: Gates) -> Watchdog:
    """Return the watchdog of the connection's plugin.

    It closes the connection for the time that the plugin costs the others, and at once for what it has cost before.
    """

    def suspend(seconds: float) -> None:
        if seconds:
            logger.error("plugin suspended", connection=connection.name, rest_s=round(seconds, 1))
            gates.connection.close_for_trial(gates.clock() + seconds, SLOW)

    suspend(box.rest_s(connection.name))
    return Watchdog(
        settings.hook_timeout_s,
        memory_bytes=settings.hook_memory_bytes,
        box=box,
        connection=connection.name,
        rest=suspend,
    )
