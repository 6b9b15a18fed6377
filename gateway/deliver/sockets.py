"""Sockets: how many connections to destinations one process may have, and which addresses a customer's may lead to."""

from __future__ import annotations

import asyncio
import resource
import socket
from dataclasses import dataclass

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from gateway.plugins.addresses import is_public_address

MIN_SOCKETS = 64
WAIT_S = 0.05


@dataclass(slots=True)
class SocketBudget:
    """The open sockets and the calls in flight of all destinations together, at most ``limit`` of either.

    That is half of the process's descriptors: the journal, its files and the clients need the others.
    """

    limit: int = 0
    open: int = 0
    in_flight: int = 0

    async def begin_call(self) -> None:
        """Begin a call once there may be another socket; follow it by ``end_call``."""
        if not self.limit:
            soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            self.limit = max(MIN_SOCKETS, soft // 2)
        while max(self.open, self.in_flight) >= self.limit:  # noqa: ASYNC110  # rare; simpler than a queue of waiters
            await asyncio.sleep(WAIT_S)
        self.in_flight += 1

    def end_call(self) -> None:
        """Note that a call has ended."""
        self.in_flight -= 1

    @property
    def is_tight(self) -> bool:
        """True if more than half of them are open, so that none should be kept open without a call."""
        return 2 * self.open > self.limit


BUDGET = SocketBudget()


class PublicResolver(AbstractResolver):
    """A resolver that returns public addresses alone. Raises OSError if a name has no other."""

    def __init__(self, inner: AbstractResolver | None = None) -> None:
        self._inner = inner or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the public addresses of a host."""
        found = await self._inner.resolve(host, port, family)
        public = [one for one in found if is_public_address(one["host"])]
        if not public:
            raise OSError(None, f"{host} has no public address")
        return public

    async def close(self) -> None:
        """Release the resolver behind it."""
        await self._inner.close()
