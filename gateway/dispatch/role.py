"""The dispatch role: delivers to partners, and forgets what is old."""

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
from gateway.deliver.verdicts import MOST_WAIT_S
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
from gateway.settings import Delivery, Settings

if TYPE_CHECKING:
    from gateway.dispatch.hosting import Host

HOUR_MS = 3_600_000
DEAD_KEPT_TIMES = 10  # dead letters are kept so many times as long as what was delivered
PRUNE_EVERY_S = 30.0
PRUNE_AT_ONCE = 500
PRUNE_PAUSE_S = 0.05
NOTE_EVERY_S = 5.0
GIVES_WAY = 4  # niceness: an acknowledgement cannot wait, a delivery can
TRY_EVERY_S = 0.2
SAY_AGAIN_S = 60.0
LOOK_EVERY_S = 1.0
RECALL_EVERY_S = 30.0
RECALL_AT_ONCE = 1000
LONGER_MS = 60_000
CRASH_S = 3.0  # what a plugin is charged for a process that died of it


async def run(settings: Settings, stop: asyncio.Event, *, blackbox: int) -> None:
    """Deliver what is in the journal until told to stop; ``blackbox`` is the file descriptor of a Blackbox.

    What a plugin does in C cannot be interrupted. Where it kills the process, or the supervisor has to, the places
    in the code that it happened at are written to standard error.
    """
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR2)
    box = Blackbox(blackbox, is_alone=len(settings.connections) < 2 and not settings.hosted)
    journal = await open_journal(settings.journal)
    await take_over(journal, stop)
    _give_way()
    while not stop.is_set() and not await _learns_of_crash(journal, box):
        await _rest(stop, 1.0)
    connections, problems = connect_all(settings.connections)
    for problem in problems:
        logger.error("connection unusable; its work is kept", problem=problem)
    await _tell_of_stranded(settings, journal)
    rules = load_rewriter(settings.rules, box)
    catalog, clock = Catalog(), Clock()
    shared = SharedParts(
        journal=journal, delivery=settings.delivery, rules=rules, catalog=catalog, box=box, clock=clock
    )
    own = (one for one in connections.values() if isinstance(one, Connection))
    working: list[Dispatcher | Host] = [make_dispatcher(one, shared) for one in own]
    working += _hosts(settings, connections, shared)
    tune_garbage_collection()
    tasks = [asyncio.create_task(one.run()) for one in working]
    aside = [
        asyncio.create_task(_prune(settings, journal, clock)),
        asyncio.create_task(_note(catalog, journal)),
        asyncio.create_task(_keep_time(clock, journal, settings.delivery)),
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
    await _write_down(catalog, journal)
    for one in working:
        await one.close()
    await journal.close()
    for end in ends:
        if isinstance(end, Exception):
            raise end  # the supervisor starts a process anew that should never have ended


def _give_way() -> None:
    """Let whoever answers mParticle go first where there is too little of the processor for both.

    Only so far: at times this thread has the writers' lock, for which ingest waits. Others that write keep their rank.
    """
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, max(GIVES_WAY, os.getpriority(os.PRIO_PROCESS, 0)))


async def take_over(journal: Journal, stop: asyncio.Event, clock: Callable[[], float] = time.monotonic) -> None:
    """Return once this process may dispatch, or is told to stop; says why not, of another's turn once a minute."""
    said_at: float | None = None
    while not stop.is_set():
        try:
            if await journal.take_over():
                return
            if said_at is None or clock() >= said_at + SAY_AGAIN_S:
                logger.info("waiting for another dispatcher to end")
                said_at = clock()
        except JournalUnavailable as error:
            logger.error("journal unavailable", problem=str(error))
        await _rest(stop, TRY_EVERY_S)


async def _tell_of_stranded(settings: Settings, journal: Journal) -> None:
    """Warn of how much waits for connections that are not configured any more, their accounts included."""
    waiting: Counter[str] = Counter()
    with suppress(JournalUnavailable):
        for count in await journal.counts():
            name = count.connection.partition("/")[0]
            waiting[name] += count.facts if count.word == "received" else -count.facts
    for name, facts in sorted(waiting.items()):
        if facts > 0 and name not in settings.connections:
            logger.warning("connection not configured; its work is kept", connection=name, facts=facts)


async def _learns_of_crash(journal: Journal, box: Blackbox) -> bool:
    """Whether it is on record what a predecessor died of, if it was a plugin."""
    died = box.read_running_hook()
    if died is None:
        return True
    if died.members:  # one of them is why: nobody else may suffer for it
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


def _hosts(
    settings: Settings, connections: Mapping[str, Connection | HostedConnection], shared: SharedParts
) -> list[Host]:
    """Whoever works on connections that have their settings from customers' accounts."""
    if not settings.hosted:
        return []
    from gateway.dispatch import hosting  # noqa: PLC0415  # heavy, and of use only here
    from gateway.sealing import Sealer  # noqa: PLC0415

    def made(connection: Connection, planner: ItemPlanner | None) -> Dispatcher:
        return make_dispatcher(connection, shared, planner)

    sealer = Sealer(settings.accounts.keys())
    hosted = (one for one in connections.values() if isinstance(one, HostedConnection))
    return [hosting.Host(hosted=one, journal=shared.journal, sealer=sealer, dispatcher=made) for one in hosted]


async def _prune(settings: Settings, journal: Journal, clock: Clock) -> None:
    """Forget what is old, a little at a time, for as long as the process runs."""
    kept_ms = int(settings.journal.retention_hours * HOUR_MS)
    while True:
        reached: int | None = 0
        with suppress(JournalUnavailable):
            while reached is not None:
                reached = await journal.prune(
                    before_ms=clock.ago_ms(kept_ms),
                    dead_before_ms=clock.ago_ms(kept_ms * DEAD_KEPT_TIMES),
                    after_seq=reached,
                    limit=PRUNE_AT_ONCE,
                )
                await asyncio.sleep(PRUNE_PAUSE_S)
        await asyncio.sleep(PRUNE_EVERY_S)


async def _keep_time(clock: Clock, journal: Journal, delivery: Delivery) -> None:
    """See the clock being set, for as long as the process runs; what waits is tried in time nevertheless.

    After a jump into the past all that waits is due at once. Whatever else waits for longer than anything is ever
    put off was put off by a clock that was wrong.
    """
    longest_ms = int(1000 * max(MOST_WAIT_S, delivery.retry_most_s, delivery.pause_s)) + LONGER_MS
    heeded, recalled = 0, -RECALL_EVERY_S
    while True:
        clock.detect_jump()
        seen = clock.backward_jumps
        if seen > heeded or time.monotonic() > recalled + RECALL_EVERY_S:
            with suppress(JournalUnavailable):
                await _recall(journal, clock.now_ms(), put_off_ms=0 if seen > heeded else longest_ms)
                heeded, recalled = seen, time.monotonic()
        await asyncio.sleep(LOOK_EVERY_S)


async def _recall(journal: Journal, now_ms: int, *, put_off_ms: int) -> None:
    """Make due what is put off for longer than this, a little at a time."""
    total, recalled = 0, RECALL_AT_ONCE
    while recalled == RECALL_AT_ONCE:
        recalled = await journal.recall(after_ms=now_ms + put_off_ms, now_ms=now_ms, limit=RECALL_AT_ONCE)
        total += recalled
    if total:
        logger.warning("waited for what a wrong clock said; tried now", lanes=total)


async def _note(catalog: Catalog, journal: Journal) -> None:
    """Write down now and then which data points were seen, for as long as the process runs."""
    while True:
        await asyncio.sleep(NOTE_EVERY_S)
        await _write_down(catalog, journal)


async def _write_down(catalog: Catalog, journal: Journal) -> None:
    points = catalog.take()
    if not points:
        return
    try:
        await journal.note(points)
    except JournalUnavailable:
        catalog.give_back(points)


async def _rest(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
