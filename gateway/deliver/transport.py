"""The transport: httpx's interface over aiohttp's connections, with every failure named for what it means.

httpx's own pool grows quadratically slower with the requests that wait for it; aiohttp's does not. What a
failure comes out as decides whether a call may be repeated: a ``ConnectError`` or ``ConnectTimeout`` was
never sent, everything else may have been.
"""

from __future__ import annotations

import asyncio
import ssl

import aiohttp
import httpx
from yarl import URL

KEEP_ALIVE_S = 15.0
MAX_REPLY_BYTES = 4 << 20
AUTOMATIC = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")


class Transport(httpx.AsyncBaseTransport):
    """A pool of connections to one destination. It follows no redirect, keeps no cookie and reads no proxy variable.

    Raises httpx's exceptions: ConnectTimeout and ConnectError where nothing was sent; ReadTimeout, ReadError
    and RemoteProtocolError (an answer that is no HTTP, was cut short, or is too large) where something may have been;
    UnsupportedProtocol for a URL that is none.
    """

    def __init__(
        self, *, connect_timeout_s: float, reply_timeout_s: float, verify: ssl.SSLContext | None = None
    ) -> None:
        self._timeout = aiohttp.ClientTimeout(total=connect_timeout_s + reply_timeout_s, sock_connect=connect_timeout_s)
        self._verify = verify
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and read its whole answer."""
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
            raise httpx.ConnectError(str(error), request=request) from error
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise httpx.UnsupportedProtocol(str(error), request=request) from error
        except TimeoutError as error:
            raise httpx.ReadTimeout("no answer in time", request=request) from error
        except (aiohttp.ClientResponseError, aiohttp.ClientPayloadError) as error:
            raise httpx.RemoteProtocolError("the answer is not HTTP", request=request) from error
        except (aiohttp.ClientError, OSError) as error:
            raise httpx.ReadError("the connection was lost", request=request) from error
        headers = [(name, value) for name, value in answer.raw_headers if name.lower() != b"content-encoding"]
        return httpx.Response(answer.status, headers=headers, content=body, request=request)  # decoded already

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            await asyncio.sleep(0)

    def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=0,  # what is in flight is bounded by the gates
            keepalive_timeout=KEEP_ALIVE_S,
            ssl=self._verify or True,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=AUTOMATIC,
        )
        # aiohttp would repeat a lost GET or PUT by itself; when to repeat is the gateway's decision alone.
        self._session._retry_connection = False  # noqa: SLF001
        return self._session


def _url(request: httpx.Request) -> URL:
    """Return the URL of a request. Its extension ``target`` replaces the URL's path, as in httpx's own transports."""
    target = request.extensions.get("target")
    if target is None:
        return URL(str(request.url), encoded=True)
    return URL(f"{request.url.scheme}://{request.url.netloc.decode()}{target.decode()}", encoded=True)


async def _read(answer: aiohttp.ClientResponse, request: httpx.Request) -> bytes:
    """The body of an answer. Raises RemoteProtocolError where it is larger than anybody would answer."""
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > MAX_REPLY_BYTES:
            raise httpx.RemoteProtocolError("the answer is too large", request=request)
    return bytes(body)
