"""Hosting: one connection that serves many customers, each as if it were a connection of its own.

In the journal and everywhere below, an account's connection is one like any other, called ``NAME/ACCOUNT``: so lanes,
memory, gates, pools and counts are each customer's own. Here they are made when there is work for them, and again
when their settings change.
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
from gateway.ingest.accounts import written
from gateway.journal.port import Journal
from gateway.journal.types import JournalUnavailable, Sealed
from gateway.log import logger
from gateway.plugins.connections import Connection, HostedConnection, PluginError
from gateway.sealing import Sealer, Unopenable
from gateway.settings import ConfigurationError

LOOK_AGAIN_S = 0.05
NOTHING_TO_TAKE_S = 0.1
TROUBLE_S = 1.0
KEPT_S = 600.0
"""A customer without work for so long has no connections held open."""
REFUSED = "refused"
REFUSALS_TO_TELL = 3
"""One refusal may be a whim; after so many in a row the credentials are wrong."""


@dataclass(slots=True, kw_only=True)
class Tenant:
    """A customer: the print of the settings in use, who delivers with them (None: they cannot be used), and trouble."""

    print: bytes | None
    dispatcher: Dispatcher | None
    trouble: str = ""
    busy_s: float = 0.0


@dataclass(slots=True, kw_only=True)
class Host:
    """Works on a hosted connection until it is stopped. ``dispatcher`` makes one for an account's connection."""

    hosted: HostedConnection
    journal: Journal
    sealer: Sealer
    dispatcher: Callable[[Connection, ItemPlanner | None], Dispatcher]
    tenants: dict[str, Tenant] = field(default_factory=dict)
    leaving: list[Dispatcher] = field(default_factory=list)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    sealed_anew: bool = False

    async def run(self) -> None:
        """Look whose work is due and take it up; returns when stopped and what is in hand has been let go."""
        while not self.stopped.is_set():
            try:
                rest_s = await self._round()
            except JournalUnavailable as error:
                logger.error("journal unavailable", problem=str(error))
                rest_s = TROUBLE_S
            except Exception:  # noqa: BLE001  # whatever it is, no customer's fault may stop the others
                logger.exception("round failed", connection=self.hosted.name)
                rest_s = TROUBLE_S
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stopped.wait(), rest_s)
        for one in self._all():
            one.stopped.set()
        if self.working:
            await asyncio.wait(self.working)

    @property
    def working(self) -> set[asyncio.Task[None]]:
        """The lanes in hand, of all customers."""
        return {task for one in self._all() for task in one.working}

    async def close(self) -> None:
        """Let go of every connection to the destination."""
        for one in self._all():
            await one.close()

    def _all(self) -> list[Dispatcher]:
        return [*(one.dispatcher for one in self.tenants.values() if one.dispatcher is not None), *self.leaving]

    async def _round(self) -> float:
        """Take up what is due; returns how long to rest."""
        if not self.sealed_anew:
            await seal_anew(self.journal, self.sealer, self.hosted.name)
            self.sealed_anew = True
        due = await self.journal.due(self.hosted.name, now_ms())
        tenants = [await self._tenant(name, mark) for name, mark in due]
        taken = sum(await asyncio.gather(*map(_take_up, tenants)))
        for name, tenant in self.tenants.items():
            await self._tell(name, tenant)
        await self._see_off()
        return NOTHING_TO_TAKE_S if due and not taken else LOOK_AGAIN_S

    async def _tenant(self, name: str, mark: bytes | None) -> Tenant:
        """The customer of this name, with the settings of this print."""
        known = self.tenants.get(name)
        if known is not None and known.print == mark:
            return known
        kept = await self.journal.sealed(name)
        made = Tenant(print=kept.print if kept else None, dispatcher=None, busy_s=time.monotonic())
        try:
            made.dispatcher = self._made(name, kept)
        except (Unopenable, PluginError) as error:
            made.trouble = str(error)
        except ConfigurationError as error:
            made.trouble = "; ".join(error.problems)
        except Exception as error:  # noqa: BLE001  # whatever it is, it must not stop the other customers
            made.trouble = f"these settings cannot be used: {type(error).__name__}"
        before = "" if kept is None else kept.trouble
        if made.trouble:
            logger.error("account unusable; its work is kept", connection=name, problem=made.trouble)
        elif before.startswith(REFUSED):
            made.trouble = before  # until a call has been taken
        if made.trouble != before and made.print is not None:
            await self.journal.note_trouble(name, made.print, made.trouble)
        if known is not None and known.dispatcher is not None:
            self._replace(known.dispatcher, made.dispatcher)
        self.tenants[name] = made
        if made.dispatcher is not None:
            made.dispatcher.share()
        return made

    def _made(self, name: str, kept: Sealed | None) -> Dispatcher:
        if name == self.hosted.name:
            return self.dispatcher(self.hosted.without_account(), NoAccountPlanner(self.hosted))
        given = {} if kept is None else msgspec.json.decode(self.sealer.open(kept.sealed, name))
        return self.dispatcher(self.hosted.connect_account(name.partition("/")[2], given), None)

    def _replace(self, old: Dispatcher, new: Dispatcher | None) -> None:
        """Settings have changed: what is in hand is let go; what is known of the destination's limits stays."""
        logger.info("account settings changed", connection=old.connection.name)
        old.replaced = True
        old.stopped.set()
        self.leaving.append(old)
        if new is not None and new.courier.maker.gates.rates == old.courier.maker.gates.rates:
            new.courier.maker.gates.scopes = old.courier.maker.gates.scopes

    async def _tell(self, name: str, tenant: Tenant) -> None:
        """Have it on record whether a customer's credentials are refused."""
        if tenant.dispatcher is None or tenant.print is None:
            return
        gate, trouble = tenant.dispatcher.courier.maker.gates.connection, tenant.trouble
        if gate.refusals >= REFUSALS_TO_TELL and gate.reason.startswith(REFUSED):
            trouble = gate.reason
        elif gate.taken and not gate.refusals:
            trouble = ""
        if trouble != tenant.trouble:
            tenant.trouble = trouble
            await self.journal.note_trouble(name, tenant.print, trouble)

    async def _see_off(self) -> None:
        """Let go of what has nothing to do any more."""
        idle = [
            name
            for name, one in self.tenants.items()
            if one.busy_s < time.monotonic() - KEPT_S and (one.dispatcher is None or not one.dispatcher.working)
        ]
        self.leaving += [one.dispatcher for one in map(self.tenants.pop, idle) if one.dispatcher is not None]
        gone = [one for one in self.leaving if not one.working]
        self.leaving = [one for one in self.leaving if one.working]
        for one in gone:
            await one.close()


async def _take_up(tenant: Tenant) -> int:
    """Begin to work on what is due of a customer's; returns how many lanes."""
    taken = await tenant.dispatcher.take_up() if tenant.dispatcher is not None else 0
    if taken:
        tenant.busy_s = time.monotonic()
    return taken


async def seal_anew(journal: Journal, sealer: Sealer, connection: str) -> None:
    """Seal under the first key what was sealed under another one, so that the others can be taken away."""
    for kept in await journal.all_sealed():
        if sealer.is_fresh(kept.sealed) or not kept.connection.startswith(f"{connection}/"):
            continue
        try:
            plain = sealer.open(kept.sealed, kept.connection)
        except Unopenable as error:
            logger.error("account unusable; its work is kept", connection=kept.connection, problem=str(error))
            continue
        await journal.reseal(kept.print, resealed(kept, plain, sealer))


def resealed(kept: Sealed, plain: bytes, sealer: Sealer) -> Sealed:
    """The same settings, sealed under the first key."""
    plain = written(msgspec.json.decode(plain))
    name = kept.connection
    return msgspec.structs.replace(kept, sealed=sealer.seal(plain, name), print=sealer.print(plain, name))
