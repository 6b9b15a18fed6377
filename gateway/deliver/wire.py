"""The wire of a destination's connection: limits of what an answer may cost, whatever its framing.

A destination is not trusted with the event loop that delivers to all others: the bytes of an answer count as they come,
with interim answers (1xx), the framing of chunks, and headers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

from gateway.deliver.sockets import SocketBudget

MAX_REPLY_BYTES = 4 << 20
MAX_WIRE_BYTES = MAX_REPLY_BYTES + (256 << 10)
"""Bytes of one answer with its headers, interim answers and framing."""
MAX_LINES = 50_000
"""Line ends in one answer: two for each chunk or interim answer, one for each header, and those of the body."""
SLOW_S = 0.25
"""Reading an answer for longer costs the other connections time, which is charged to its connection."""


class BoundedHandler(ResponseHandler):
    """aiohttp's protocol of one connection, which ends the connection when an answer exceeds the limits.

    ``charge`` is called with the seconds of an answer that took more than SLOW_S to read. ``budget`` counts the socket.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, charge: Callable[[float], None], budget: SocketBudget) -> None:
        super().__init__(loop)
        self._budget = budget
        self._charge = charge
        self._begin()

    def _begin(self) -> None:
        self._wire_bytes = self._lines = 0
        self._reading_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the open socket."""
        self._budget.open += 1
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Count the closed socket."""
        self._budget.open -= 1
        super().connection_lost(exc)

    def set_response_params(self, **given: Any) -> None:
        """Begin a request."""
        self._begin()
        super().set_response_params(**given)

    def data_received(self, data: bytes) -> None:
        """Take bytes of the answer, unless they are too many."""
        self._wire_bytes += len(data)
        self._lines += data.count(b"\r\n")
        if self._wire_bytes > MAX_WIRE_BYTES or self._lines > MAX_LINES:
            self._refuse()
            return
        began = time.perf_counter()
        super().data_received(data)
        took = time.perf_counter() - began
        self._reading_s += took
        if self._reading_s > SLOW_S:
            self._charge(self._reading_s)
            self._reading_s = 0.0

    def _refuse(self) -> None:
        error = aiohttp.ClientPayloadError("the answer is too long")
        transport, payload = self.transport, self._payload
        self.set_exception(error)
        if payload is not None:
            payload.set_exception(error)
        if transport is not None:
            transport.abort()
