"""Transport: httpx's interface over aiohttp's connections, with an exception for each kind of failure.

httpx's own pool slows down quadratically with the requests that wait for it; aiohttp's does not. The exception decides
whether a call may be repeated: after ``ConnectError`` or ``ConnectTimeout`` the call was never sent, after any other
it may have been.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
import zlib
from collections.abc import Callable
from functools import partial

import aiohttp
import httpx
from yarl import URL

from gateway.deliver.sockets import BUDGET, PublicResolver, SocketBudget
from gateway.deliver.wire import MAX_REPLY_BYTES, BoundedHandler

KEEP_ALIVE_S = 15.0
NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
INFLATED = ("gzip", "deflate")
AUTOMATIC = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")


class Transport(httpx.AsyncBaseTransport):
    """A pool of connections to one destination, without redirects, cookies or proxy variables.

    Raises httpx's exceptions: ConnectTimeout, ConnectError and PoolTimeout (this process has no descriptor left) if
    nothing was sent; ReadTimeout, ReadError and RemoteProtocolError (an answer that is not HTTP, is incomplete or too
    large) if something may have been sent; UnsupportedProtocol for an invalid URL.

    ``public_only``: a name that leads to no public address is a ConnectError.
    """

    def __init__(  # noqa: PLR0913  # each is a limit or a port
        self,
        *,
        connect_timeout_s: float,
        reply_timeout_s: float,
        verify: ssl.SSLContext | None = None,
        charge: Callable[[float], None] = lambda _: None,
        public_only: bool = False,
        budget: SocketBudget = BUDGET,
    ) -> None:
        self._timeout = aiohttp.ClientTimeout(total=connect_timeout_s + reply_timeout_s, sock_connect=connect_timeout_s)
        self._verify = verify
        self._charge = charge
        self._public_only = public_only
        self._budget = budget
        self._in_flight = 0
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and read the whole answer."""
        await self._budget.begin_call()
        self._in_flight += 1
        try:
            return await self._send(request)
        finally:
            self._budget.end_call()
            self._in_flight -= 1
            if self._budget.is_tight and not self._in_flight:
                await self.aclose()  # keeps no connection that others need

    async def _send(self, request: httpx.Request) -> httpx.Response:
        session = self._session or self._open()
        try:
            async with session.request(
                request.method,
                _url(request),
                headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw],
                data=request.content or None,
                allow_redirects=False,
            ) as answer:
                body = await _read(answer, request)
        except aiohttp.ConnectionTimeoutError as error:
            raise httpx.ConnectTimeout(str(error), request=request) from error
        except aiohttp.ClientConnectorError as error:
            kind = httpx.PoolTimeout if error.os_error.errno in NO_DESCRIPTORS else httpx.ConnectError
            raise kind(str(error), request=request) from error
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise httpx.UnsupportedProtocol(str(error), request=request) from error
        except TimeoutError as error:
            raise httpx.ReadTimeout("no answer in time", request=request) from error
        except (aiohttp.ClientResponseError, aiohttp.ClientPayloadError) as error:
            raise httpx.RemoteProtocolError("the answer is not HTTP", request=request) from error
        except (aiohttp.ClientError, OSError) as error:
            raise httpx.ReadError("the connection was lost", request=request) from error
        if encoding := answer.headers.get("content-encoding", "").strip().lower():
            body = _inflate(body, encoding, request)
        headers = [(name, value) for name, value in answer.raw_headers if name.lower() != b"content-encoding"]
        return httpx.Response(answer.status, headers=headers, content=body, request=request)

    async def aclose(self) -> None:
        """Close every connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
            await asyncio.sleep(0)

    def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=0,  # the gates limit the calls in flight
            keepalive_timeout=KEEP_ALIVE_S,
            ssl=self._verify or True,
            resolver=PublicResolver() if self._public_only else None,
        )
        handler = partial(BoundedHandler, asyncio.get_running_loop(), self._charge, self._budget)
        connector._factory = handler  # type: ignore[assignment]  # noqa: SLF001  # aiohttp has no public way
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=AUTOMATIC,
            auto_decompress=False,
        )
        # aiohttp would repeat a lost GET or PUT by itself; only the gateway decides on retries.
        self._session._retry_connection = False  # noqa: SLF001  # aiohttp has no public way
        return self._session


def _url(request: httpx.Request) -> URL:
    """Return the URL of a request. Its extension ``target`` replaces the URL's path, as in httpx's own transports."""
    target = request.extensions.get("target")
    if target is None:
        return URL(str(request.url), encoded=True)
    return URL(f"{request.url.scheme}://{request.url.netloc.decode()}{target.decode()}", encoded=True)


def _inflate(body: bytes, encoding: str, request: httpx.Request) -> bytes:
    """Return a body without its encoding. Raises RemoteProtocolError if that was not asked for, or is too large."""
    if encoding == "identity":
        return body
    if encoding not in INFLATED or encoding not in request.headers.get("accept-encoding", "").lower():
        raise httpx.RemoteProtocolError("the answer is compressed, which was not asked for", request=request)
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        inflated = inflater.decompress(body, MAX_REPLY_BYTES + 1)
    except zlib.error as error:
        raise httpx.RemoteProtocolError("the answer cannot be inflated", request=request) from error
    if len(inflated) > MAX_REPLY_BYTES or not inflater.eof:
        raise httpx.RemoteProtocolError("the answer is too large, or incomplete", request=request)
    return inflated


async def _read(answer: aiohttp.ClientResponse, request: httpx.Request) -> bytes:
    """Return the body of an answer. Raises RemoteProtocolError if it is larger than MAX_REPLY_BYTES."""
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > MAX_REPLY_BYTES:
            raise httpx.RemoteProtocolError("the answer is too large", request=request)
    return bytes(body)
