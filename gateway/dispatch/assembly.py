"""Assembly: builds the dispatcher of one connection from all its parts."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from gateway.clock import Clock
from gateway.deliver.deliveries import DeliveryOwner, open_deliveries
from gateway.deliver.sender import PartnerTransport
from gateway.dispatch.catalog import Catalog
from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.planner import ItemPlanner, make_planner
from gateway.govern.rewrite import Rewriter
from gateway.journal.port import Journal
from gateway.journal.types import JournalUnavailable, Settlement
from gateway.journal.wait_reasons import WaitReason
from gateway.plugins.blackbox import Blackbox
from gateway.plugins.connections import Connection
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
    stopped, freed = asyncio.Event(), asyncio.Event()

    async def settle(settlement: Settlement) -> bool:
        return await dispatcher.settle(settlement)

    async def wake(reason: WaitReason) -> None:
        with suppress(JournalUnavailable):  # the lanes come due by themselves, only later
            await shared.journal.wake(connection.name, reason, now_ms=shared.clock.now_ms())

    deliveries = open_deliveries(
        connection,
        shared,
        DeliveryOwner(settle=settle, wake=wake, on_pooled=freed.set, stopped=stopped),
        transport,
    )
    dispatcher = Dispatcher(
        connection=connection,
        journal=shared.journal,
        delivery=shared.delivery,
        planner=planner or make_planner(connection, shared.rules, deliveries.guard, shared.clock),
        deliveries=deliveries,
        catalog=shared.catalog,
        clock=shared.clock,
        stopped=stopped,
        freed=freed,
    )
    return dispatcher
