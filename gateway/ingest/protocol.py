"""HTTP/1.1 as the endpoint speaks it: Hypercorn's protocol, without HTTP/2 in clear, and with errors that are seen."""

from __future__ import annotations

from http import HTTPStatus
from itertools import chain

import h11
import msgspec
from hypercorn.events import Closed
from hypercorn.protocol.h11 import H11Protocol

from gateway.admin import metrics
from gateway.log import logger

UNSUPPORTED = 505


class EndpointProtocol(H11Protocol):
    """The protocol of one connection. Errors of HTTP itself are answered as JSON, logged and counted."""

    _is_head = False

    async def _check_protocol(self, event: h11.Request) -> None:
        """Take no upgrade to HTTP/2: load balancers in front of the gateway speak HTTP/1.1 to it."""

    async def _create_stream(self, request: h11.Request) -> None:
        self._is_head = request.method == b"HEAD"
        if request.http_version not in (b"1.0", b"1.1"):
            await self._send_error_response(UNSUPPORTED)
            await self.send(Closed())
            return
        await super()._create_stream(request)

    async def _send_error_response(self, status_code: int) -> None:
        problem = HTTPStatus(status_code).phrase
        metrics.count_answer(status_code, 0.0)
        logger.warning("request refused", status=status_code, problem=problem)
        body = msgspec.json.encode({"error": problem})
        own = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        headers = list(chain(own, self.config.response_headers("h11")))
        is_head = self._is_head and self.connection.our_state is not h11.IDLE  # idle: the next request was not read
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        if not is_head:
            await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())
