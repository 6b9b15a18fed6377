"""Base of fake vendors: a real HTTP server on loopback that keeps state and can misbehave.

A plugin's fake is a subclass of FakeVendor. Paths below ``/__fake__/`` inspect and control it:

====================== =============================================================================
GET  /__fake__/journal every request in order, as ``record`` describes it
GET  /__fake__/state   the data that the vendor has stored
POST /__fake__/seed    add data to it
POST /__fake__/config  change its options
POST /__fake__/faults  queue a fault (see Fault)
POST /__fake__/clock   ``{"now": seconds}`` stops the clock at a time, ``{"advance": seconds}`` moves it
POST /__fake__/reset   remove all data; keep the options
====================== =============================================================================
"""

from __future__ import annotations

import argparse
import asyncio
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal
from urllib.parse import parse_qsl

import h11
import msgspec


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request as received: ``path`` is still percent-encoded, header names are in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    def params(self) -> dict[str, str]:
        """Return the fields of the query string, decoded; the last value of a repeated field."""
        return dict(parse_qsl(self.query, keep_blank_values=True))

    def form(self) -> dict[str, str]:
        """Return the fields of an urlencoded body, decoded; the last value of a repeated field."""
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer: JSON if ``json`` is not None, else ``body``. ``note`` is added to the journal's entry."""

    status: int = 200
    json: Any = None
    body: bytes = b""
    headers: dict[str, str] = {}
    note: dict[str, Any] = {}

    def content(self) -> tuple[bytes, dict[str, str]]:
        """Return the bytes to send and their headers."""
        if self.json is None:
            return self.body, self.headers
        return msgspec.json.encode(self.json), {"content-type": "application/json", **self.headers}


class Match(msgspec.Struct, frozen=True):
    """The requests that a fault hits: all, or those of a method, of a path (a regular expression), or the nth."""

    method: str | None = None
    path_regex: str | None = None
    nth: int | None = None


class Action(msgspec.Struct, frozen=True):
    """The effect of a fault. With ``after`` the request takes effect first, and only its answer is changed.

    ``hang`` never answers. ``truncate`` stops in the middle of the body and closes; ``half_close`` stops there and
    still listens. ``drip_ms`` sends the right answer one byte at a time, with this pause between bytes.
    """

    status: int | None = None
    headers: dict[str, str] = {}
    body: str = ""
    delay_ms: float = 0
    close: bool = False
    hang: bool = False
    after: bool = False
    truncate: bool = False
    half_close: bool = False
    garbage: bool = False
    drip_ms: float = 0
    error_code: str | None = None


class Fault(msgspec.Struct):
    """A scripted fault, used up after it has hit ``times`` requests."""

    action: Action
    match: Match = Match()
    times: int = 1
    seen: int = 0

    def hits(self, request: Request) -> bool:
        """Return whether the fault hits this request, and count the request."""
        if self.match.method not in (None, request.method):
            return False
        if self.match.path_regex is not None and not re.search(self.match.path_regex, request.path):
            return False
        self.seen += 1
        if self.match.nth is not None and self.seen != self.match.nth:
            return False
        self.times -= 1
        return True


class VendorClock:
    """A clock in seconds since 1970 that stops when it is set, and can be moved."""

    def __init__(self) -> None:
        self._fixed: float | None = None

    def now(self) -> float:
        """Return the time."""
        return time.time() if self._fixed is None else self._fixed

    def set(self, now: float) -> None:
        """Stop the clock at this time."""
        self._fixed = now

    def advance(self, seconds: float) -> None:
        """Stop the clock this many seconds ahead of its time."""
        self._fixed = self.now() + seconds


class FakeVendor:
    """A fake vendor. Subclasses implement ``answer``, and the other methods as they need them."""

    def __init__(self) -> None:
        self.journal: list[dict[str, Any]] = []
        self.faults: list[Fault] = []
        self.clock = VendorClock()
        self.latency_ms: float = 0

    def answer(self, request: Request) -> Answer:
        """Carry out a request and return its answer."""
        raise NotImplementedError

    def error(self, code: str) -> Answer:
        """Return the vendor's answer for one of its error codes; scripted faults use it."""
        raise NotImplementedError

    def record(self, request: Request, answer: Answer | None) -> dict[str, Any]:
        """Return the journal's entry for a request; ``answer`` is None if a fault suppressed its effect."""
        return {
            "method": request.method,
            "path": request.path,
            "status": answer.status if answer else None,
            **(answer.note if answer else {}),
        }

    def state(self) -> Any:
        """Return the stored data as JSON."""
        return {}

    def seed(self, data: dict[str, Any]) -> None:
        """Add data."""
        raise NotImplementedError

    def configure(self, options: dict[str, Any]) -> None:
        """Change options. Raises ValueError for an unknown option."""
        for name, value in options.items():
            if name != "latency_ms":
                raise ValueError(f"no option named {name!r}")
            self.latency_ms = float(value)

    def reset(self) -> None:
        """Remove all data; keep the options."""
        self.journal.clear()
        self.faults.clear()
        self.clock = VendorClock()

    def take_fault(self, request: Request) -> Action | None:
        """Return the effect of the first queued fault that hits this request, and count it."""
        for fault in self.faults:
            if fault.hits(request):
                if fault.times <= 0:
                    self.faults.remove(fault)
                return fault.action
        return None


Effect = Answer | Literal["close", "hang"]


def handle(vendor: FakeVendor, request: Request) -> tuple[Effect, Action]:
    """Answer one request, as a scripted fault changes it."""
    if request.path.startswith("/__fake__/"):
        return control(vendor, request), Action()
    action = vendor.take_fault(request) or Action()
    is_replaced = action.close or action.hang or action.status is not None or action.error_code is not None
    answer = None if is_replaced and not action.after else vendor.answer(request)
    outcome: Effect
    if action.close or action.hang:
        outcome = "close" if action.close else "hang"
    elif action.status is not None:
        outcome = Answer(status=action.status, body=action.body.encode(), headers=action.headers)
    elif action.error_code is not None:
        outcome = vendor.error(action.error_code)
    else:
        assert answer is not None
        outcome = answer
    vendor.journal.append(vendor.record(request, outcome if isinstance(outcome, Answer) else answer))
    return outcome, action


def control(vendor: FakeVendor, request: Request) -> Answer:
    """Answer a request below ``/__fake__/``."""
    what = (request.method, request.path.removeprefix("/__fake__/"))
    if what == ("GET", "journal"):
        return Answer(json=vendor.journal)
    if what == ("GET", "state"):
        return Answer(json=vendor.state())
    if what == ("POST", "reset"):
        vendor.reset()
        return Answer(json={"ok": True})
    try:
        data = msgspec.json.decode(request.body, type=dict[str, Any])
        _control_with(vendor, what, data)
    except (msgspec.MsgspecError, ValueError, LookupError) as error:
        return Answer(status=400, json={"error": str(error)})
    return Answer(json={"ok": True})


def _control_with(vendor: FakeVendor, what: tuple[str, str], data: dict[str, Any]) -> None:
    if what == ("POST", "seed"):
        vendor.seed(data)
    elif what == ("POST", "config"):
        vendor.configure(data)
    elif what == ("POST", "faults"):
        vendor.faults.append(msgspec.convert(data, Fault))
    elif what == ("POST", "clock") and "now" in data:
        vendor.clock.set(float(data["now"]))
    elif what == ("POST", "clock"):
        vendor.clock.advance(float(data["advance"]))
    else:
        raise LookupError("unknown request; see the docstring of gateway.testing.vendor")


class VendorServer:
    """A server of a fake vendor on loopback; ``running`` and ``main`` start one."""

    def __init__(self, vendor: FakeVendor) -> None:
        self.vendor = vendor
        self._open: set[asyncio.Task[None]] = set()

    async def start(self, port: int) -> str:
        """Listen on this port (0: any free port) and return the base URL. Raises OSError if the port is taken."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", port)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Stop listening, and close every connection."""
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await asyncio.sleep(0)  # a closed transport releases its socket in the next round of the loop

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            await self._converse(reader, writer)
        except (OSError, h11.RemoteProtocolError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = h11.Connection(h11.SERVER)
        while (request := await _read(wire, reader)) is not None:
            outcome, action = handle(self.vendor, request)
            await asyncio.sleep((action.delay_ms + self.vendor.latency_ms) / 1000)
            if outcome == "hang":
                await reader.read()
                return
            if outcome == "close" or action.garbage:
                writer.write(b"\x16\x03garbage\r\n\r\n" if action.garbage else b"")
                return
            if not await _write(wire, writer, outcome, action):
                await reader.read(-1 if action.half_close else 0)
                return
            if wire.our_state is not h11.DONE:
                return
            wire.start_next_cycle()


async def _write(wire: h11.Connection, writer: asyncio.StreamWriter, answer: Answer, action: Action) -> bool:
    """Send an answer; return False if the action stopped it halfway."""
    body, headers = answer.content()
    head = wire.send(
        h11.Response(status_code=answer.status, headers=[*headers.items(), ("content-length", str(len(body)))])
    )
    assert head is not None
    if action.truncate or action.half_close:
        writer.write(head + body[: len(body) // 2])
        if action.half_close:
            writer.write_eof()
        return False
    rest = (wire.send(h11.Data(data=body)) or b"") + (wire.send(h11.EndOfMessage()) or b"")
    step = 1 if action.drip_ms else len(head + rest)
    for start in range(0, len(head + rest), step):
        writer.write((head + rest)[start : start + step])
        await writer.drain()
        await asyncio.sleep(action.drip_ms / 1000)
    return True


async def _read(wire: h11.Connection, reader: asyncio.StreamReader) -> Request | None:
    head: h11.Request | None = None
    body = bytearray()
    while True:
        event = wire.next_event()
        if event is h11.NEED_DATA:
            wire.receive_data(await reader.read(65536))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            path, _, query = head.target.decode("latin-1").partition("?")
            headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
            return Request(method=head.method.decode(), path=path, query=query, headers=headers, body=bytes(body))
        else:
            return None


@contextmanager
def running(vendor: FakeVendor, *, port: int = 0) -> Iterator[str]:
    """Serve a fake vendor from a thread of its own; yield its base URL. Raises OSError if the port is taken."""
    loop = asyncio.new_event_loop()
    server = VendorServer(vendor)
    thread = threading.Thread(target=loop.run_forever, name="fake-vendor", daemon=True)
    thread.start()
    try:
        url = asyncio.run_coroutine_threadsafe(server.start(port), loop).result()
        try:
            yield url
        finally:
            asyncio.run_coroutine_threadsafe(server.stop(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def main(make: Callable[[str, str], FakeVendor], argv: list[str] | None = None) -> None:
    """Run a fake vendor from the command line until interrupted: ``--port N --api-key K --api-secret S``."""
    parser = argparse.ArgumentParser(description="A fake vendor on loopback, for tests.")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 (default) takes any free port")
    parser.add_argument("--api-key", default="test-key")
    parser.add_argument("--api-secret", default="test-secret")
    options = parser.parse_args(argv)

    async def serve() -> None:
        url = await VendorServer(make(options.api_key, options.api_secret)).start(options.port)
        print(f"listening on {url}", flush=True)
        await asyncio.Event().wait()

    with suppress(KeyboardInterrupt):
        asyncio.run(serve())
