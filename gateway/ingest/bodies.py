"""Request bodies: read from an ASGI connection and inflated, never beyond a bound."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Self

GZIP = b"\x1f\x8b"
JSON = re.compile(rb"(?:\xef\xbb\xbf)?\s*[\[{]")
ANY_HEADER, RAW_DEFLATE = 47, -15  # zlib's numbers for formats
WINDOW = 16_384
"""The most bytes that are inflated at once; what follows a member of a gzip file within them is copied."""

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class BodyRefused(Exception):
    """The body is refused, with this HTTP status."""

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(problem)
        self.status = status
        self.problem = problem


class ClientGone(Exception):
    """The client has closed its connection before its body was complete."""


class Allowance:
    """Bounds the bytes of bodies that this process holds at once."""

    def __init__(self, most: int) -> None:
        self._left = most

    def take(self, count: int) -> None:
        """Set bytes aside. Raises BodyRefused (503) if that is too many."""
        if count > self._left:
            raise BodyRefused(503, "too much is waiting to be stored; try again")
        self._left -= count

    def give_back(self, count: int) -> None:
        """Return bytes taken."""
        self._left += count


class BodyTimer:
    """Bounds the time in which a body arrives, with one timer for all bodies: a timer each would cost more.

    Use it as a context manager, in a task. It raises BodyRefused (408) out of a read that takes longer.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: dict[asyncio.Task[Any], float] = {}  # in order of time
        self._late: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        task, loop = _this_task(), asyncio.get_running_loop()
        self._until[task] = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._look, loop)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        task = _this_task()
        self._until.pop(task, None)
        if task in self._late:
            self._late.discard(task)
            if task.uncancel() == 0 and kind is asyncio.CancelledError:
                raise BodyRefused(408, f"the body did not arrive within {self._seconds:g} seconds") from None

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Interrupt the tasks that are late, and look again when the next one may be."""
        for task, until in list(self._until.items()):
            if until > loop.time():
                self._timer = loop.call_at(until, self._look, loop)
                return
            del self._until[task]
            self._late.add(task)
            task.cancel()
        self._timer = None


def _this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("outside of a task")
    return task


class Body:
    """A body being read. Use it as a context manager: leaving it returns its part of the allowance."""

    def __init__(self, headers: Iterable[tuple[bytes, bytes]], most: int, allowance: Allowance) -> None:
        fields = dict(headers)
        self._length = fields.get(b"content-length", b"")
        self._encoding = fields.get(b"content-encoding", b"identity").strip().lower()
        self._most = most
        self._allowance = allowance
        self._taken = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._allowance.give_back(self._taken)

    async def read(self, receive: Receive, patience: BodyTimer) -> bytes:
        """Return the whole body, inflated if it is compressed.

        Its first bytes decide whether it is, since senders and proxies get the header wrong.

        Raises ClientGone, and BodyRefused: 413 for a body that is too large, as soon as it is known; 415 for an unknown
        encoding; 400 for broken compression; 408 for one that takes too long; 503 where too much is in hand.
        """
        body = await self.read_as_it_is(receive, patience)
        if body.startswith(GZIP) or is_zlib(body):
            return self._inflated(body)
        if self._encoding in (b"identity", b"") or JSON.match(body):
            return body
        if self._encoding not in (b"gzip", b"x-gzip", b"deflate"):
            raise BodyRefused(415, "content-encoding must be gzip or deflate, or none")
        return self._inflated(body, wbits=RAW_DEFLATE if self._encoding == b"deflate" else ANY_HEADER)

    async def read_as_it_is(self, receive: Receive, patience: BodyTimer) -> bytes:
        """Return the whole body as it was sent. Raises ClientGone, and BodyRefused: 413, 408 and 503 as `read` does."""
        if self._length.isdigit() and int(self._length) > self._most:
            raise BodyRefused(413, f"the body is larger than {self._most} bytes")
        with patience:
            return await self._received(receive)

    async def _received(self, receive: Receive) -> bytes:
        chunks = []
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            chunks.append(self._counted(message.get("body", b"")))
            more = message.get("more_body", False)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _counted(self, chunk: bytes) -> bytes:
        self._allowance.take(len(chunk))
        self._taken += len(chunk)
        if self._taken > self._most:
            raise BodyRefused(413, f"the body is larger than {self._most} bytes")
        return chunk

    def _inflated(self, body: bytes, wbits: int = ANY_HEADER) -> bytes:
        try:
            inflated = inflate(body, self._most, wbits)
        except zlib.error:
            raise BodyRefused(400, "the body is not what its content-encoding says") from None
        if len(inflated) > self._most:
            raise BodyRefused(413, f"the body inflates to more than {self._most} bytes")
        self._allowance.take(len(inflated))
        self._taken += len(inflated)
        return inflated


def is_zlib(body: bytes) -> bool:
    """Return whether a body begins as zlib's format does, which no JSON document does."""
    return body[:1] == b"x" and len(body) > 1 and int.from_bytes(body[:2]) % 31 == 0


def inflate(body: bytes, most: int, wbits: int = ANY_HEADER) -> bytes:
    """Inflate all members of a compressed body, up to one byte beyond the bound.

    Raises zlib.error for a body that is not compressed, is cut short, or has bytes after its end.
    """
    inflated = bytearray()
    inflater = zlib.decompressobj(wbits=wbits)
    for start in range(0, len(body), WINDOW):
        rest = body[start : start + WINDOW]
        while rest:
            if inflater.eof:
                inflater = zlib.decompressobj(wbits=wbits)
            inflated += inflater.decompress(rest, most + 1 - len(inflated))
            if len(inflated) > most:
                return bytes(inflated)
            rest = inflater.unused_data
    if not inflater.eof:
        raise zlib.error("cut short")
    return bytes(inflated)
