"""Requests on sockets: heads, framing and pipelines, damaged, to the real server."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import h11
import msgspec
from fuzz.bodies import make_body
from fuzz.gateways import AUTHORIZATION, Ingest, Loop, server_config
from fuzz.mutations import damage
from fuzz.targets import Finding, describe

from gateway.ingest.server import Server

ANSWER_S = 15.0
METHODS = (b"POST", b"POST", b"POST", b"POST", b"GET", b"HEAD", b"PUT", b"OPTIONS", b"CONNECT", b"post", b"PRI", b"")
PATHS = (
    b"/mparticle",
    b"/mparticle",
    b"/mparticle/",
    b"/mparticle/sailthru",
    b"/mparticle/nobody",
    b"/",
    b"*",
    b"//mparticle",
    b"/%",
    b"/\xff",
    b"/mparticle?a=b",
    b"http://gateway.example/mparticle",
    b"/readyz",
    b"/healthz",
    b"/metrics",
    b"/" + b"a" * 9_000,
    b"/../mparticle",
    b"",
)
VERSIONS = (b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.1 ", b"")
EXTRA = (
    b"content-length: -1",
    b"content-length: 5, 6",
    b"content-length: 99999999999999999999",
    b"content-length: 1e3",
    b"transfer-encoding: chunked",
    b"transfer-encoding: gzip",
    b"transfer-encoding: chunked, chunked",
    b"expect: 100-continue",
    b"connection: close",
    b"connection: upgrade\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__",
    b"upgrade: websocket",
    b"host: a\r\nhost: b",
    b"authorization: Basic x",
    b"authorization:",
    b"content-encoding: gzip",
    b"x: \x00",
    b"x: \xff\xfe",
    b" folded: yes",
    b"x" * 9_000 + b": y",
    b"x: " + b"y" * 70_000,
    b"no colon",
    b": empty",
)
OF_HTTP = (501, 505)
"""Statuses that HTTP asks for: an unknown transfer coding, and an unknown version."""
ENDS = (*(b"\r\n",) * 8, b"\n", b"\r")


def make_request(random: Random) -> bytes:
    """Return the bytes of one request, mostly of a post."""
    body, packed = make_body(random)
    lines = [b" ".join((random.choice(METHODS), random.choice(PATHS), random.choice(VERSIONS)))]
    if random.random() < 0.5:
        lines = [b"POST /mparticle HTTP/1.1"]
    if random.random() < 0.95:
        lines.append(b"host: gateway.example")
    if random.random() < 0.9:
        lines.append(b"authorization: " + AUTHORIZATION)
    lines.extend(name + b": " + value for name, value in packed)
    framing = random.random()
    if framing < 0.7:
        lines.append(b"content-length: %d" % (len(body) + random.choice((0, 0, 0, 0, 0, 1, -1, 50))))
    elif framing < 0.95:
        lines.append(b"transfer-encoding: chunked")
        half = len(body) // 2
        chunks = [chunk for chunk in (body[:half], body[half:]) if chunk]
        body = b"".join(b"%x%b\r\n%b\r\n" % (len(chunk), random.choice((b"", b";a=b")), chunk) for chunk in chunks)
        body += random.choice(
            (b"0\r\n\r\n", b"0\r\n\r\n", b"0\r\nx: y\r\n\r\n", b"", b"-1\r\n\r\n", b"fffffffffffffffff\r\n")
        )
    for _ in range(random.choice((0, 0, 0, 1, 1, 3))):
        lines.insert(random.randrange(1, len(lines) + 1), random.choice(EXTRA))
    end = random.choice(ENDS)
    request = end.join((*lines, b"", b"")) + body
    return damage(random, request) if random.random() < 0.1 else request


class Heads:
    """The server, on a socket of its own."""

    name = "heads"
    weight = 60

    def __init__(self, directory: Path) -> None:
        self._loop = Loop()
        self._ingest = Ingest(directory / self.name)
        self._unhandled: list[str] = []
        self._loop.run(self._start())

    async def _start(self) -> None:
        asyncio.get_running_loop().set_exception_handler(self._note_unhandled)
        listener = socket.create_server(("127.0.0.1", 0))
        self._address = listener.getsockname()
        self._stopped = asyncio.Event()

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await self._application(scope, receive, send)

        server = Server(application, server_config())
        self._serving = asyncio.ensure_future(server.serve(listener.detach(), until=self._stopped.wait))

    def _note_unhandled(self, _loop: object, context: dict[str, Any]) -> None:
        error = context.get("exception")
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        self._unhandled.append(context["message"] if error is None else describe(error))

    def try_input(self, random: Random) -> str:
        """Send one to three requests on a connection, in pieces, and read what is answered. Raises Finding."""
        requests = [make_request(random) for _ in range(random.choice((1, 1, 1, 2, 3)))]
        try:
            answered = self._loop.run(self._converse(random, b"".join(requests)))
        except TimeoutError:
            raise Finding(f"the connection was still open {ANSWER_S} seconds after the client's end") from None
        if self._unhandled:
            raise Finding(f"the server did not handle {self._unhandled.pop()}")
        statuses = _read_answers(answered, is_head=b"HEAD" in b"".join(requests))
        return " ".join(map(str, statuses)) if len(statuses) < 2 else "several answers"

    async def _converse(self, random: Random, sent: bytes) -> bytes:
        self._application = await self._ingest.application()
        if self._serving.done():
            raise Finding("the server has ended")
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection(*self._address)
            try:
                with suppress(OSError):
                    for piece in _split(random, sent):
                        writer.write(piece)
                        await asyncio.sleep(0)
                    await writer.drain()
                    writer.write_eof()
                return await _read_all(reader)
            finally:
                writer.close()

    def close(self) -> None:
        """Stop the server."""
        self._loop.run(self._stop())
        self._loop.close()

    async def _stop(self) -> None:
        self._stopped.set()
        await self._serving
        await self._ingest.close()


def _split(random: Random, sent: bytes) -> list[bytes]:
    at = sorted(random.randrange(len(sent) + 1) for _ in range(random.choice((0, 0, 1, 3))))
    return [sent[start:end] for start, end in zip((0, *at), (*at, len(sent)), strict=True)]


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    answered = bytearray()
    with suppress(ConnectionError):
        while piece := await reader.read(65_536):
            answered += piece
    return bytes(answered)


def _read_answers(answered: bytes, *, is_head: bool) -> list[int]:
    """Return the statuses of the answers, only of the first if one of the requests may have been HEAD.

    Raises Finding if an answer is no HTTP, or is an error of the gateway's own.
    """
    client = h11.Connection(h11.CLIENT)
    statuses: list[int] = []
    while answered:
        client.send(h11.Request(method="HEAD" if is_head else "GET", target="/", headers=[("host", "x")]))
        client.send(h11.EndOfMessage())
        client.receive_data(answered)
        answered = b""
        status, body = _read_answer(client)
        if not is_head:
            _check(status, body)
        statuses.append(status)
        if is_head or client.our_state is not h11.DONE or client.their_state is not h11.DONE:
            break
        answered, _ = client.trailing_data
        client = h11.Connection(h11.CLIENT)
    return statuses


def _read_answer(client: h11.Connection) -> tuple[int, bytes]:
    status, body = 0, bytearray()
    while True:
        try:
            event = client.next_event()
        except h11.RemoteProtocolError as error:
            raise Finding(f"an answer is not HTTP: {error}") from error
        if isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
        elif not isinstance(event, h11.InformationalResponse):
            return status, bytes(body)


def _check(status: int, body: bytes) -> None:
    problem = body.decode("utf-8", "replace")
    with suppress(msgspec.DecodeError):
        document = msgspec.json.decode(body)
        problem = document.get("error", "") if isinstance(document, dict) else ""
    deliberate = ("nothing listens at the path", "no connection named")
    if status >= 500 and status not in OF_HTTP and not problem.startswith(deliberate):
        raise Finding(f"the answer is {status}: {problem[:300]}")
