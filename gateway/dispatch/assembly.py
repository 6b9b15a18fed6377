"""Assembly: builds the dispatcher of one connection from all its parts."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from gateway.clock import Clock
from gateway.deliver.executor import CallExecutor
from gateway.deliver.gates import SLOW, Gates, Sleep
from gateway.deliver.lane_worker import LaneWorker
from gateway.deliver.pools import Pools
from gateway.deliver.sender import PartnerTransport, Sender
from gateway.deliver.suspects import Suspects
from gateway.deliver.transport import Transport
from gateway.dispatch.catalog import Catalog
from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.planner import ItemPlanner, make_planner
from gateway.govern.rewrite import Rewriter
from gateway.journal.port import Journal
from gateway.journal.types import JournalUnavailable, Settlement
from gateway.log import logger
from gateway.plugins.blackbox import Blackbox
from gateway.plugins.connections import Connection
from gateway.plugins.watchdog import Watchdog
from gateway.sdk import Destination
from gateway.settings import DeliverySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedParts:
    """The parts that all connections of a process share."""

    journal: Journal
    delivery: DeliverySettings
    rules: Rewriter
    catalog: Catalog
    box: Blackbox
    clock: Clock


def make_dispatcher(
    connection: Connection,
    shared: SharedParts,
    planner: ItemPlanner | None = None,
    transport: PartnerTransport | None = None,
) -> Dispatcher:
    """Build the dispatcher of a connection, with its own planner and transport unless others are given."""
    delivery, stopped, freed = shared.delivery, asyncio.Event(), asyncio.Event()

    async def sleep(seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(stopped.wait(), seconds)

    async def settle(settlement: Settlement) -> bool:
        return await dispatcher.settle(settlement)

    async def wake(reason: str) -> None:
        with suppress(JournalUnavailable):  # the lanes come due by themselves, only later
            await shared.journal.wake(connection.name, reason, now_ms=shared.clock.now_ms())

    gates = _make_gates(connection, shared.clock, sleep)
    watchdog = _make_watchdog(connection, shared, gates)
    transport = transport or _make_transport(connection.plugin.destination)
    maker = CallExecutor(
        connection=connection,
        sender=Sender(connection, transport, now_ms=shared.clock.now_ms, guard=watchdog),
        gates=gates,
        delivery=delivery,
        stopping=stopped.is_set,
        guard=watchdog,
    )
    suspects = Suspects(shared.box.read_suspects(connection.name), partial(shared.box.set_suspects, connection.name))
    pools = Pools(maker, freed.set, suspects)
    dispatcher = Dispatcher(
        connection=connection,
        journal=shared.journal,
        delivery=delivery,
        planner=planner or make_planner(connection, shared.rules, watchdog, shared.clock),
        courier=LaneWorker(maker=maker, pools=pools, settle=settle, wake=wake, clock=shared.clock),
        catalog=shared.catalog,
        clock=shared.clock,
        stopped=stopped,
        freed=freed,
    )
    return dispatcher


def _make_transport(destination: Destination) -> Transport:
    return Transport(connect_timeout_s=destination.connect_timeout_s, reply_timeout_s=destination.reply_timeout_s)


def _make_gates(connection: Connection, clock: Clock, sleep: Sleep) -> Gates:
    destination = connection.plugin.destination
    return Gates(
        rates=destination.rates(connection.settings) if destination.rates else {},
        headers=destination.rate_headers(connection.settings) if destination.rate_headers else None,
        clock=clock.steady_s,
        sleep=sleep,
        paused=True,  # until the journal has been asked whether an operator paused the connection
    )


def _make_watchdog(connection: Connection, shared: SharedParts, gates: Gates) -> Watchdog:
    """Build the watchdog of the connection's plugin.

    The connection rests for the time that its plugin costs the others, and at once for what it has cost them before.
    """

    def rest(seconds: float) -> None:
        if seconds:
            logger.error("plugin suspended", connection=connection.name, rest_s=round(seconds, 1))
            gates.connection.rest(gates.clock() + seconds, SLOW)

    rest(shared.box.rest_s(connection.name))
    return Watchdog(
        shared.delivery.hook_timeout_s,
        memory_bytes=shared.delivery.hook_memory_bytes,
        box=shared.box,
        connection=connection.name,
        rest=rest,
    )
