"""Links: connections to the server, opened when they are needed, and opened again after they were lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg

from gateway.journal.postgres.address import Address
from gateway.journal.types import JournalRejected, JournalUnavailable

T = TypeVar("T")
Connection = Any  # asyncpg has no types

CONNECT_S = 5.0
COMMAND_S = 10.0
AFTER_FAILURE_S = 0.3
TROUBLE = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)
REJECTED = (asyncpg.DataError, OverflowError, TypeError, ValueError)
"""Errors that a value causes, and not the server."""
AGAIN = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
SESSION = {
    "application_name": "mparticle-gateway",
    "default_transaction_isolation": "read committed",
    "idle_in_transaction_session_timeout": "5000",  # a process that stands still must not hold what others need
    "lock_timeout": "5000",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "jit": "off",
    "enable_seqscan": "off",  # plans are kept: one that was made while a table was small must do when it is large
    "enable_mergejoin": "off",
    "enable_hashjoin": "off",
}
DURABLE = """
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
"""


def described(error: BaseException) -> str:
    """Return the text of an error, without the rows that PostgreSQL quotes in its details."""
    return str(getattr(error, "message", None) or error) or type(error).__name__


async def connect(address: Address) -> Connection:
    """Open a connection whose commits are durable. Raises asyncpg's exceptions."""
    connection = await asyncpg.connect(
        address.url,
        password=address.password,
        timeout=CONNECT_S,
        command_timeout=COMMAND_S,
        server_settings=SESSION,
    )
    try:
        await connection.execute(DURABLE)
    except BaseException:
        connection.terminate()
        raise
    return connection


class PostgresLink:
    """One connection, used by one at a time.

    It is closed after an error, because the result of its last statement is unknown; the next user opens a new one.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._connection: Connection | None = None
        self._lock = asyncio.Lock()
        self._rest_until = 0.0
        self.since = time.monotonic()

    async def run(self, work: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Do some work on the connection; repeat it once after a conflict with another node.

        Raises JournalUnavailable and JournalRejected.
        """
        async with self._lock:
            try:
                connection = await self._connected()
                try:
                    return await work(connection, *arguments)
                except AGAIN:
                    return await work(connection, *arguments)
            except REJECTED as error:
                raise JournalRejected(f"cannot be stored: {type(error).__name__}") from error
            except TROUBLE as error:
                self._give_up()
                raise JournalUnavailable(f"{self._address}: {described(error)}") from error
            except BaseException:
                self._give_up()
                raise

    async def close(self) -> None:
        """Close the connection."""
        async with self._lock:
            if self._connection is not None:
                try:
                    await self._connection.close(timeout=1.0)
                except TROUBLE:
                    self._connection.terminate()

    async def _connected(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            if time.monotonic() < self._rest_until:
                raise OSError("not connected")
            self._rest_until = time.monotonic() + AFTER_FAILURE_S
            self._connection = await connect(self._address)
            self._rest_until = 0.0
            self.since = time.monotonic()
        return self._connection

    def _give_up(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
