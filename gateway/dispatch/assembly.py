"""Assembly: everything that one connection needs to be worked, put together."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from gateway.clock import Clock
from gateway.deliver.gates import SLOW, Gates, Sleep
from gateway.deliver.lane import Courier
from gateway.deliver.making import Maker
from gateway.deliver.pools import Pools
from gateway.deliver.sending import Sender
from gateway.deliver.suspects import Suspects
from gateway.deliver.transport import Transport
from gateway.dispatch.catalog import Catalog
from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.planner import ItemPlanner, Planner
from gateway.govern.rewrite import Rewriter
from gateway.govern.rules import Governor
from gateway.journal.port import Journal, JournalUnavailable, Settlement
from gateway.log import logger
from gateway.plugins.blackbox import Blackbox
from gateway.plugins.connections import Connection
from gateway.plugins.watchdog import Watchdog
from gateway.settings import Delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all connections of a process share."""

    journal: Journal
    delivery: Delivery
    rules: Rewriter
    catalog: Catalog
    box: Blackbox
    clock: Clock


def dispatcher(connection: Connection, shared: Shared, planner: ItemPlanner | None = None) -> Dispatcher:
    """Everything that one connection needs to be worked; ``planner`` in the place of the usual one."""
    destination = connection.plugin.destination
    delivery, stopped = shared.delivery, asyncio.Event()

    async def sleep(seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(stopped.wait(), seconds)

    async def settle(settlement: Settlement) -> bool:
        return await made.settle(settlement)

    gates = _gates(connection, sleep)
    watchdog = _watchdog(connection, shared, gates)
    transport = Transport(connect_timeout_s=destination.connect_timeout_s, reply_timeout_s=destination.reply_timeout_s)
    maker = Maker(
        connection=connection,
        sender=Sender(connection, transport, now_ms=shared.clock.now_ms, guard=watchdog),
        gates=gates,
        delivery=delivery,
        stopping=stopped.is_set,
        guard=watchdog,
    )

    async def rouse(reason: str) -> None:
        with suppress(JournalUnavailable):  # they will ask by themselves
            await shared.journal.rouse(connection.name, reason, now_ms=shared.clock.now_ms())

    freed = asyncio.Event()
    courier = Courier(
        maker=maker,
        pools=Pools(maker, freed.set, _suspects(connection, shared)),
        settle=settle,
        rouse=rouse,
        clock=shared.clock,
    )
    made = Dispatcher(
        connection=connection,
        journal=shared.journal,
        delivery=delivery,
        planner=planner or _planner(connection, shared, watchdog),
        courier=courier,
        catalog=shared.catalog,
        clock=shared.clock,
        stopped=stopped,
        freed=freed,
    )
    return made


def _gates(connection: Connection, sleep: Sleep) -> Gates:
    destination = connection.plugin.destination
    return Gates(
        rates=destination.rates(connection.settings) if destination.rates else {},
        headers=destination.rate_headers(connection.settings) if destination.rate_headers else None,
        clock=time.monotonic,
        sleep=sleep,
        paused=True,  # for all that is known before the journal is asked
    )


def _planner(connection: Connection, shared: Shared, watchdog: Watchdog) -> Planner:
    governor = Governor(connection)
    return Planner(connection=connection, governor=governor, rewriter=shared.rules, guard=watchdog, clock=shared.clock)


def _suspects(connection: Connection, shared: Shared) -> Suspects:
    return Suspects(shared.box.suspects(connection.name), partial(shared.box.suspect, connection.name))


def _watchdog(connection: Connection, shared: Shared, gates: Gates) -> Watchdog:
    """What bounds the connection's plugin. It rests for what it costs the others, and has cost them already."""

    def rest(seconds: float) -> None:
        if seconds:
            logger.error("plugin rests", connection=connection.name, rest_s=round(seconds, 1))
            gates.connection.rest(gates.clock() + seconds, SLOW)

    rest(shared.box.rest_s(connection.name))
    return Watchdog(
        shared.delivery.hook_timeout_s,
        memory_bytes=shared.delivery.hook_memory_bytes,
        box=shared.box,
        connection=connection.name,
        rest=rest,
    )
