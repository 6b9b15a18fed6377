"""The HTTP server of the endpoint: Hypercorn's protocols on sockets that are let go of as soon as clients are gone.

Hypercorn's own loop keeps a task for the idle time of each connection, and holds a closed connection's descriptor until
that time has passed: forty clients a second, each on a new connection, use up a thousand of them in half a minute.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.tcp_server import MAX_RECV, TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr, wrap_app

from gateway.admin import metrics
from gateway.ingest.protocol import EndpointProtocol
from gateway.log import logger

KEEP_ALIVE_S = 65.0  # for a request to begin; longer than load balancers keep a connection
HEAD_S = 10.0  # for a request's head, once its first byte has come
SHUT_S = 1.0  # for a client that is refused to have sent its request
RESERVED_DESCRIPTORS = 64  # for the journal, the log and the listeners
SHUT = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"

Close = Callable[[], Awaitable[None]]


class Deadline:
    """The moment at which an idle connection is closed: one timer, moved only when it rings.

    It has the methods of the task that Hypercorn has in its place.
    """

    def __init__(self, close: Close) -> None:
        self._loop = asyncio.get_running_loop()
        self._close = close
        self._at = float("inf")
        self._timer: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def is_set(self) -> bool:
        """True while the connection is idle."""
        return self._at != float("inf")

    def set(self, seconds: float) -> None:
        """Close the connection after this many seconds, unless it is set again or stopped."""
        self._at = self._loop.time() + seconds
        if self._timer is not None and self._timer.when() > self._at:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(self._at, self._ring)

    async def restart(self, *_: object) -> None:
        """Begin to wait for the next request."""
        self.set(KEEP_ALIVE_S)

    async def stop(self) -> None:
        """Wait for nothing: a request is under way."""
        self._at = float("inf")

    def cancel(self) -> None:
        """Let go of the timer."""
        self._at = float("inf")
        if self._timer is not None:
            self._timer.cancel()

    def _ring(self) -> None:
        self._timer = None
        if self._loop.time() >= self._at:
            self._closing = self._loop.create_task(self._close())  # type: ignore[arg-type]  # a coroutine
        elif self.is_set:
            self._timer = self._loop.call_at(self._at, self._ring)


class ClientConnection(TCPServer):
    """One connection. It ends when the client has closed it and every request is answered."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.deadline = Deadline(self._initiate_server_close)
        self.idle_task = self.deadline  # type: ignore[assignment]  # it has its methods
        self._has_head_begun = False
        self._is_at_end = False

    async def run(self) -> None:
        """Serve the connection to its end."""
        at = self.writer.get_extra_info("socket")
        try:
            with suppress(OSError):
                client, server = (parse_socket_addr(at.family, name) for name in (at.getpeername(), at.getsockname()))
                async with TaskGroup(self.loop) as self._task_group:
                    self.protocol = EndpointProtocol(  # type: ignore[assignment]  # in the place of its wrapper
                        self.app,
                        self.config,
                        self.context,
                        self._task_group,
                        ConnectionState(self.state),
                        False,  # noqa: FBT003  # TLS ends before the gateway
                        client,
                        server,
                        self.protocol_send,
                    )
                    await self.deadline.restart()
                    await self._read_data()
        finally:
            self.deadline.cancel()
            await self._close()

    async def close_if_idle(self) -> None:
        """Close the connection unless a request is under way."""
        if self.deadline.is_set:
            await self._initiate_server_close()

    async def protocol_send(self, event: Event) -> None:
        """Send the protocol's events, and note when it waits for a request."""
        if isinstance(event, Updated):
            self._has_head_begun = False
            if event.idle and (self._is_at_end or self.context.terminated.is_set()):
                self.writer.close()
                return
        await super().protocol_send(event)

    async def _read_data(self) -> None:
        while not self.reader.at_eof():
            try:
                data = await self.reader.read(MAX_RECV)
            except OSError:
                break
            await self.protocol.handle(RawData(data))
            if data and self.deadline.is_set and not self._has_head_begun:
                self._has_head_begun = True
                self.deadline.set(HEAD_S)
        self._is_at_end = True
        await self.protocol.handle(Closed())


class Server:
    """Accepts connections on one socket, and serves each with Hypercorn's protocols."""

    def __init__(self, application: Any, config: Config) -> None:
        self._application = wrap_app(application, config.wsgi_max_body_size, "asgi")
        self._config = config
        self._context = WorkerContext(None)
        self._connections: dict[asyncio.Task[None], ClientConnection] = {}
        self._max_connections = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - RESERVED_DESCRIPTORS
        self._is_full = False

    async def serve(self, descriptor: int, until: Callable[[], Awaitable[object]]) -> None:
        """Serve the listening socket of this descriptor until ``until`` returns, then finish the open requests."""
        listener = socket.socket(fileno=descriptor)
        server = await asyncio.start_server(self._accept, sock=listener, backlog=self._config.backlog)
        try:
            await until()
        finally:
            server.close()
            await self._context.terminated.set()
            await self._finish()

    async def _finish(self) -> None:
        for connection in list(self._connections.values()):
            await connection.close_if_idle()
        if self._connections:
            _, late = await asyncio.wait(list(self._connections), timeout=self._config.graceful_timeout)
            for task in late:
                task.cancel()

    async def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        if len(self._connections) >= self._max_connections:
            self._note_full(is_full=True)
            await _shut(reader, writer)
            return
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # it is called in a task of its own
        loop, state = asyncio.get_running_loop(), {}  # type: ignore[var-annotated]
        connection = ClientConnection(self._application, loop, self._config, self._context, state, reader, writer)
        self._connections[task] = connection
        metrics.set_connections(len(self._connections))
        try:
            await connection.run()
        finally:
            del self._connections[task]
            metrics.set_connections(len(self._connections))
            if self._is_full and len(self._connections) < self._max_connections * 0.9:
                self._note_full(is_full=False)

    def _note_full(self, *, is_full: bool) -> None:
        if is_full != self._is_full:
            self._is_full = is_full
            log = logger.error if is_full else logger.info
            log("connections refused" if is_full else "connections accepted again", bound=self._max_connections)


async def _shut(reader: StreamReader, writer: StreamWriter) -> None:
    """Answer 503 and close, after reading from the client: a reset would lose the answer."""
    with suppress(OSError, TimeoutError):
        writer.write(SHUT)
        writer.write_eof()
        await asyncio.wait_for(reader.read(MAX_RECV), SHUT_S)
    writer.close()
