"""Hosting: works on one connection that serves many accounts, each like a connection of its own.

In the journal and everywhere else, an account's connection is a connection with the name ``NAME/ACCOUNT``. So lanes,
memory, gates, pools and counts are each account's own. The host makes a dispatcher for an account when there is work
for it, and again when its settings change.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec

from gateway.clock import now_ms
from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.planner import ItemPlanner, NoAccountPlanner
from gateway.ingest.accounts import encode_settings
from gateway.journal.port import Journal
from gateway.journal.types import JournalUnavailable, SealedSettings
from gateway.journal.wait_reasons import REFUSED
from gateway.log import logger
from gateway.plugins.connections import Connection, HostedConnection, PluginError
from gateway.sealing import Sealer, Unopenable
from gateway.settings import ConfigurationError

ROUND_EVERY_S = 0.05
NO_ROOM_S = 0.1
TROUBLE_S = 1.0
MAX_IDLE_S = 600.0
"""The dispatcher of an account is closed after this many seconds without work."""


@dataclass(slots=True, kw_only=True)
class AccountWorker:
    """An account with work: its dispatcher, or None and the ``trouble`` if its settings cannot be used.

    ``print`` identifies the settings in use.
    """

    print: bytes | None
    dispatcher: Dispatcher | None
    trouble: str = ""
    busy_s: float = 0.0


@dataclass(slots=True, kw_only=True)
class HostedDispatcher:
    """Works on a hosted connection until it is stopped. ``make_dispatcher`` makes one for an account's connection."""

    hosted: HostedConnection
    journal: Journal
    sealer: Sealer
    make_dispatcher: Callable[[Connection, ItemPlanner | None], Dispatcher]
    workers: dict[str, AccountWorker] = field(default_factory=dict)
    leaving: list[Dispatcher] = field(default_factory=list)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    is_resealed: bool = False

    async def run(self) -> None:
        """Find accounts with work that is due, and work on it. Return once stopped and all lanes are given back."""
        while not self.stopped.is_set():
            try:
                rest_s = await self._work_once()
            except JournalUnavailable as error:
                logger.error("journal unavailable", problem=str(error))
                rest_s = TROUBLE_S
            except Exception:  # noqa: BLE001  # an error with one account may not stop the others
                logger.exception("round failed", connection=self.hosted.name)
                rest_s = TROUBLE_S
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stopped.wait(), rest_s)
        for one in self._list_dispatchers():
            one.stopped.set()
        if self.working:
            await asyncio.wait(self.working)

    @property
    def working(self) -> set[asyncio.Task[None]]:
        """The tasks of the lanes that are being worked on, of all accounts."""
        return {task for one in self._list_dispatchers() for task in one.working}

    async def close(self) -> None:
        """Close every connection to the destination."""
        for one in self._list_dispatchers():
            await one.close()

    def _list_dispatchers(self) -> list[Dispatcher]:
        return [*(one.dispatcher for one in self.workers.values() if one.dispatcher is not None), *self.leaving]

    async def _work_once(self) -> float:
        """Start the work that is due; return how long to wait for the next round."""
        if not self.is_resealed:
            await reseal_all(self.journal, self.sealer, self.hosted.name)
            self.is_resealed = True
        due = await self.journal.due(self.hosted.name, now_ms())
        workers = [await self._find_worker(name, mark) for name, mark in due]
        taken = sum(await asyncio.gather(*map(_start_work, workers)))
        for name, worker in self.workers.items():
            await self._note_refusals(name, worker)
        await self._close_idle()
        return NO_ROOM_S if due and not taken else ROUND_EVERY_S

    async def _find_worker(self, name: str, mark: bytes | None) -> AccountWorker:
        """Return the worker of an account whose settings have this print; create it if there is none."""
        known = self.workers.get(name)
        if known is not None and known.print == mark:
            return known
        kept = await self.journal.sealed(name)
        made = AccountWorker(print=kept.print if kept else None, dispatcher=None, busy_s=time.monotonic())
        try:
            made.dispatcher = self._make(name, kept)
        except (Unopenable, PluginError) as error:
            made.trouble = str(error)
        except ConfigurationError as error:
            made.trouble = "; ".join(error.problems)
        except Exception as error:  # noqa: BLE001  # an error with one account may not stop the others
            made.trouble = f"these settings cannot be used: {type(error).__name__}"
        before = "" if kept is None else kept.trouble
        if made.trouble:
            logger.error("account unusable; its work is kept", connection=name, problem=made.trouble)
        elif before.startswith(REFUSED):
            made.trouble = before  # it stands until a call is delivered
        if made.trouble != before and made.print is not None:
            await self.journal.note_trouble(name, made.print, made.trouble)
        if known is not None and known.dispatcher is not None:
            self._replace(known.dispatcher, made.dispatcher)
        self.workers[name] = made
        if made.dispatcher is not None:
            made.dispatcher.start_sharing()
        return made

    def _make(self, name: str, kept: SealedSettings | None) -> Dispatcher:
        if name == self.hosted.name:
            return self.make_dispatcher(self.hosted.without_account(), NoAccountPlanner(self.hosted))
        given = {} if kept is None else msgspec.json.decode(self.sealer.open(kept.sealed, name))
        return self.make_dispatcher(self.hosted.connect_account(name.partition("/")[2], given), None)

    def _replace(self, old: Dispatcher, new: Dispatcher | None) -> None:
        """Stop the dispatcher with the old settings; the new one keeps the learned rate limits."""
        logger.info("account settings changed", connection=old.connection.name)
        old.is_replaced = True
        old.stopped.set()
        self.leaving.append(old)
        if new is not None:
            new.deliveries.adopt_limits(old.deliveries)

    async def _note_refusals(self, name: str, worker: AccountWorker) -> None:
        """Record in the journal whether an account's credentials are refused."""
        if worker.dispatcher is None or worker.print is None:
            return
        trouble = worker.dispatcher.deliveries.refusal()
        if trouble is not None and trouble != worker.trouble:
            worker.trouble = trouble
            await self.journal.note_trouble(name, worker.print, trouble)

    async def _close_idle(self) -> None:
        """Close the dispatchers that have nothing to do any more."""
        idle = [
            name
            for name, one in self.workers.items()
            if one.busy_s < time.monotonic() - MAX_IDLE_S and (one.dispatcher is None or not one.dispatcher.working)
        ]
        self.leaving += [one.dispatcher for one in map(self.workers.pop, idle) if one.dispatcher is not None]
        gone = [one for one in self.leaving if not one.working]
        self.leaving = [one for one in self.leaving if one.working]
        for one in gone:
            await one.close()


async def _start_work(worker: AccountWorker) -> int:
    """Start the work of an account that is due; return how many lanes."""
    taken = await worker.dispatcher.start_work() if worker.dispatcher is not None else 0
    if taken:
        worker.busy_s = time.monotonic()
    return taken


async def reseal_all(journal: Journal, sealer: Sealer, connection: str) -> None:
    """Seal all settings under the first key, so that the other keys can be removed."""
    for kept in await journal.all_sealed():
        if sealer.is_fresh(kept.sealed) or not kept.connection.startswith(f"{connection}/"):
            continue
        try:
            plain = sealer.open(kept.sealed, kept.connection)
        except Unopenable as error:
            logger.error("account unusable; its work is kept", connection=kept.connection, problem=str(error))
            continue
        await journal.reseal(kept.print, reseal(kept, plain, sealer))


def reseal(kept: SealedSettings, plain: bytes, sealer: Sealer) -> SealedSettings:
    """Return the same settings, sealed under the first key."""
    plain = encode_settings(msgspec.json.decode(plain))
    name = kept.connection
    return msgspec.structs.replace(kept, sealed=sealer.seal(plain, name), print=sealer.print(plain, name))
