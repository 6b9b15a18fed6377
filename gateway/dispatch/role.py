"""The dispatch role: a process that delivers to partners and removes old data."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.clock import Clock
from gateway.deliver.verdicts import MAX_WAIT_S
from gateway.dispatch.assembly import SharedParts, make_dispatcher
from gateway.dispatch.catalog import Catalog
from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.planner import ItemPlanner
from gateway.garbage import tune_garbage_collection
from gateway.govern.rewrite import load_rewriter
from gateway.journal.engines import open_journal
from gateway.journal.port import Journal
from gateway.journal.types import JournalUnavailable
from gateway.log import logger
from gateway.plugins.blackbox import Blackbox
from gateway.plugins.connections import Connection, HostedConnection, connect_all
from gateway.settings import Configuration, DeliverySettings

if TYPE_CHECKING:
    from gateway.dispatch.hosting import HostedDispatcher

HOUR_MS = 3_600_000
DEAD_RETENTION_FACTOR = 10  # dead letters are kept so many times as long as delivered facts
PRUNE_EVERY_S = 30.0
PRUNE_AT_ONCE = 500
PRUNE_PAUSE_S = 0.05
WRITE_CATALOG_EVERY_S = 5.0
NICENESS = 4  # an acknowledgement cannot wait, a delivery can
TRY_EVERY_S = 0.2
LOG_AGAIN_S = 60.0
CHECK_CLOCK_EVERY_S = 1.0
RESCHEDULE_EVERY_S = 30.0
RESCHEDULE_AT_ONCE = 1000
MARGIN_MS = 60_000
CRASH_S = 3.0  # charged to a plugin for a process that died of it


async def run(settings: Configuration, stop: asyncio.Event, *, blackbox: int) -> None:
    """Deliver what is in the journal until ``stop`` is set; ``blackbox`` is the file descriptor of a Blackbox.

    A plugin's C code cannot be interrupted. If it kills the process, or the supervisor has to, the process writes to
    standard error where in the code it was.
    """
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR2)
    box = Blackbox(blackbox, is_alone=len(settings.connections) < 2 and not settings.hosted)
    journal = await open_journal(settings.journal)
    await take_over(journal, stop)
    _lower_priority()
    while not stop.is_set() and not await _record_crash(journal, box):
        await _sleep(stop, 1.0)
    connections, problems = connect_all(settings.connections)
    for problem in problems:
        logger.error("connection unusable; its work is kept", problem=problem)
    await _warn_of_stranded_work(settings, journal)
    rules = load_rewriter(settings.rules, box)
    catalog, clock = Catalog(), Clock()
    shared = SharedParts(
        journal=journal, delivery=settings.delivery, rules=rules, catalog=catalog, box=box, clock=clock
    )
    own = (one for one in connections.values() if isinstance(one, Connection))
    working: list[Dispatcher | HostedDispatcher] = [make_dispatcher(one, shared) for one in own]
    working += _make_hosts(settings, connections, shared)
    tune_garbage_collection()
    tasks = [asyncio.create_task(one.run()) for one in working]
    aside = [
        asyncio.create_task(_prune(settings, journal, clock)),
        asyncio.create_task(_write_catalog_regularly(catalog, journal)),
        asyncio.create_task(_watch_clock(clock, journal, settings.delivery)),
    ]
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((stopping, *aside, *tasks), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    for one in working:
        one.stopped.set()
    _, late = await asyncio.wait(tasks, timeout=settings.ingress.shutdown_s) if tasks else (set(), set())
    for task in (*late, *(lane for one in working for lane in one.working), *aside):
        task.cancel()
    ends = await asyncio.gather(*tasks, *aside, return_exceptions=True)
    await _write_catalog(catalog, journal)
    for one in working:
        await one.close()
    await journal.close()
    for end in ends:
        if isinstance(end, Exception):
            raise end  # so that the supervisor starts another process


def _lower_priority() -> None:
    """Let the ingest role go first if there is too little processor time for both.

    The priority is only a little lower: at times this thread holds the writers' lock, for which ingest waits.
    """
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))


async def take_over(journal: Journal, stop: asyncio.Event, clock: Callable[[], float] = time.monotonic) -> None:
    """Return once this process may dispatch, or has to stop. Log why it waits, at most once a minute."""
    said_at: float | None = None
    while not stop.is_set():
        try:
            if await journal.take_over():
                return
            if said_at is None or clock() >= said_at + LOG_AGAIN_S:
                logger.info("waiting for another dispatcher to end")
                said_at = clock()
        except JournalUnavailable as error:
            logger.error("journal unavailable", problem=str(error))
        await _sleep(stop, TRY_EVERY_S)


async def _warn_of_stranded_work(settings: Configuration, journal: Journal) -> None:
    """Log how much work waits for connections that are no longer configured, their accounts included."""
    waiting: Counter[str] = Counter()
    with suppress(JournalUnavailable):
        for count in await journal.counts():
            name = count.connection.partition("/")[0]
            waiting[name] += count.facts if count.state == "received" else -count.facts
    for name, facts in sorted(waiting.items()):
        if facts > 0 and name not in settings.connections:
            logger.warning("connection not configured; its work is kept", connection=name, facts=facts)


async def _record_crash(journal: Journal, box: Blackbox) -> bool:
    """Record the plugin that the predecessor died of, if it did; return False if the journal is unavailable."""
    died = box.read_running_hook()
    if died is None:
        return True
    if died.members:  # one of these lanes caused it, and nobody knows which
        box.set_suspects(died.connection, died.members)
    else:
        try:
            await journal.crashed(died.connection, died.user, died.seq, died.doing)
        except JournalUnavailable as error:
            logger.error("journal unavailable", problem=str(error))
            return False
    about = {"connection": died.connection, "doing": died.doing, "users": len(died.members) or 1}
    ago_s = round(time.monotonic() - died.since, 1)
    logger.error("a process died in a plugin", **about, began_s_ago=ago_s)
    box.charge(died.connection, CRASH_S)
    box.end_hook()
    return True


def _make_hosts(
    settings: Configuration, connections: Mapping[str, Connection | HostedConnection], shared: SharedParts
) -> list[HostedDispatcher]:
    """Make the hosts of connections whose accounts bring their own settings."""
    if not settings.hosted:
        return []
    from gateway.dispatch import hosting  # noqa: PLC0415  # heavy, and needed by hosted connections alone
    from gateway.sealing import Sealer  # noqa: PLC0415  # only where it is used

    def make(connection: Connection, planner: ItemPlanner | None) -> Dispatcher:
        return make_dispatcher(connection, shared, planner)

    sealer = Sealer(settings.accounts.keys())
    hosted = (one for one in connections.values() if isinstance(one, HostedConnection))
    return [
        hosting.HostedDispatcher(hosted=one, journal=shared.journal, sealer=sealer, make_dispatcher=make)
        for one in hosted
    ]


async def _prune(settings: Configuration, journal: Journal, clock: Clock) -> None:
    """Remove old batches in small steps, for as long as the process runs."""
    kept_ms = int(settings.journal.retention_hours * HOUR_MS)
    while True:
        reached: int | None = 0
        with suppress(JournalUnavailable):
            while reached is not None:
                reached = await journal.prune(
                    before_ms=clock.ago_ms(kept_ms),
                    dead_before_ms=clock.ago_ms(kept_ms * DEAD_RETENTION_FACTOR),
                    after_seq=reached,
                    limit=PRUNE_AT_ONCE,
                )
                await asyncio.sleep(PRUNE_PAUSE_S)
        await asyncio.sleep(PRUNE_EVERY_S)


async def _watch_clock(clock: Clock, journal: Journal, delivery: DeliverySettings) -> None:
    """Detect jumps of the wall clock, for as long as the process runs, so that no lane waits for a wrong time.

    After a jump into the past every waiting lane is due at once. At other times a lane that waits longer than any
    back-off was delayed by a wrong clock, and is due at once too.
    """
    longest_ms = int(1000 * max(MAX_WAIT_S, delivery.retry_most_s, delivery.pause_s)) + MARGIN_MS
    handled, rescheduled_s = 0, -RESCHEDULE_EVERY_S
    while True:
        clock.detect_jump()
        seen = clock.backward_jumps
        if seen > handled or time.monotonic() > rescheduled_s + RESCHEDULE_EVERY_S:
            with suppress(JournalUnavailable):
                await _reschedule(journal, clock.now_ms(), delayed_ms=0 if seen > handled else longest_ms)
                handled, rescheduled_s = seen, time.monotonic()
        await asyncio.sleep(CHECK_CLOCK_EVERY_S)


async def _reschedule(journal: Journal, now_ms: int, *, delayed_ms: int) -> None:
    """Make lanes due that are delayed for longer than ``delayed_ms``, in small steps."""
    total, changed = 0, RESCHEDULE_AT_ONCE
    while changed == RESCHEDULE_AT_ONCE:
        changed = await journal.reschedule_after_clock_jump(
            after_ms=now_ms + delayed_ms, now_ms=now_ms, limit=RESCHEDULE_AT_ONCE
        )
        total += changed
    if total:
        logger.warning("rescheduled lanes that a clock jump had delayed", lanes=total)


async def _write_catalog_regularly(catalog: Catalog, journal: Journal) -> None:
    """Write the catalog of data points to the journal regularly, for as long as the process runs."""
    while True:
        await asyncio.sleep(WRITE_CATALOG_EVERY_S)
        await _write_catalog(catalog, journal)


async def _write_catalog(catalog: Catalog, journal: Journal) -> None:
    points = catalog.take()
    if not points:
        return
    try:
        await journal.note(points)
    except JournalUnavailable:
        catalog.give_back(points)


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
