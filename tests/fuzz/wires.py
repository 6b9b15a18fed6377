"""Answers on sockets: damaged bytes from a partner, read by the transport."""

from __future__ import annotations

import asyncio
import gzip
import re
from contextlib import suppress
from pathlib import Path
from random import Random

import httpx
from fuzz.gateways import Loop
from fuzz.mutations import damage
from fuzz.targets import Finding

from gateway.deliver.transport import Transport
from gateway.deliver.wire import MAX_REPLY_BYTES

ANSWER_S = 10.0
STATUS_LINES = (
    b"HTTP/1.1 200 OK",
    b"HTTP/1.1 200 OK",
    b"HTTP/1.0 200 OK",
    b"HTTP/1.1 204 No Content",
    b"HTTP/1.1 304 No",
    b"HTTP/1.1 200",
    b"HTTP/1.1 999 Odd",
    b"HTTP/2 200",
    b"HTTP/1.1 100 Continue",
    b"200 OK",
    b"",
)
LINES = (
    b"content-length: 2",
    b"content-length: 3",
    b"content-length: -1",
    b"content-length: 2\r\ncontent-length: 3",
    b"content-length: 99999999999999",
    b"transfer-encoding: chunked",
    b"transfer-encoding: identity",
    b"connection: close",
    b"content-encoding: gzip",
    b"content-encoding: br",
    b"content-encoding: deflate",
    b"x: \x00",
    b"x: \xff",
    b"no colon",
    b"x" * 9_000 + b": 1",
    b"x: " + b"y" * 9_000,
    b"retry-after: 1e9",
    b"set-cookie: a=b",
    b"location: /x",
    b"trailer: x",
    b"keep-alive: timeout=0",
    b"upgrade: h2c",
)
CONTENTS = (
    b"ok",
    b'{"status": "ok"}',
    b"2\r\nok\r\n0\r\n\r\n",
    b"2;a=b\r\nok\r\n0\r\nx: y\r\n\r\n",
    b"fffffffff\r\nok",
    b"-2\r\nok\r\n",
    b"0\r\n\r\n",
    b"zz\r\nok\r\n",
    gzip.compress(b"ok"),
    gzip.compress(b"\0" * (8 << 20), 9),
    b"",
    b"\r\n" * 60_000,
)


def make_answer(random: Random) -> bytes:
    """Return the bytes of an answer."""
    lines = [random.choice(STATUS_LINES), *(random.choice(LINES) for _ in range(random.choice((0, 1, 1, 2, 4))))]
    if random.random() < 0.5:
        lines = [STATUS_LINES[0], *(random.choice(LINES) for _ in range(random.choice((0, 1, 1))))]
    end = random.choice((*(b"\r\n",) * 9, b"\n"))
    answer = end.join((*lines, b"", random.choice(CONTENTS)))
    if random.random() < 0.1:
        answer = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * random.choice((1, 3, 200)) + answer
    if random.random() < 0.1:
        answer += random.randbytes(random.choice((1, 1_000, 300_000)))
    return damage(random, answer) if random.random() < 0.2 else answer


class Wires:
    """The transport, and a server that answers what an input says, then closes or keeps the connection."""

    name = "wires"
    weight = 30

    def __init__(self, directory: Path) -> None:
        self._loop = Loop()
        self._answer, self._keeps = b"", False
        self._loop.run(self._start())

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/x"
        self._transport = Transport(connect_timeout_s=0.5, reply_timeout_s=0.1)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
                await reader.readexactly(int(length[1]) if length else 0)
                writer.write(self._answer)
                await writer.drain()
                if not self._keeps:
                    break
        with suppress(ConnectionError):
            writer.close()

    def try_input(self, random: Random) -> str:
        """Make one call. Raises Finding."""
        self._answer, self._keeps = make_answer(random), random.random() < 0.03
        method = random.choice(("POST", "POST", "GET", "DELETE"))
        encodings = random.choice(("", "gzip, deflate"))
        return self._loop.run(self._call(method, {"accept-encoding": encodings} if encodings else {}))

    async def _call(self, method: str, headers: dict[str, str]) -> str:
        request = httpx.Request(method, self._url, content=b"body" if method == "POST" else None)
        request.headers.pop("accept-encoding", None)
        request.headers.update(headers)
        try:
            async with asyncio.timeout(ANSWER_S):
                reply = await self._transport.handle_async_request(request)
        except httpx.RequestError as error:
            if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)):
                raise Finding(f"{type(error).__name__} says that the call was never sent, but it was") from error
            return type(error).__name__
        except TimeoutError:
            raise Finding(f"no reply and no error within {ANSWER_S} seconds") from None
        if len(reply.content) > MAX_REPLY_BYTES:
            raise Finding(f"the reply has {len(reply.content)} bytes")
        return f"{reply.status_code // 100}xx"

    def close(self) -> None:
        """Close every connection."""
        self._loop.run(self._stop())
        self._loop.close()

    async def _stop(self) -> None:
        await self._transport.aclose()
        self._server.close()
        await self._server.wait_closed()
