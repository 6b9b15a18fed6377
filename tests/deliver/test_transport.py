"""What each misbehaviour of a server comes out as: it decides what may be sent again."""

import asyncio
import gzip
import inspect
import os
import resource
import socket
from contextlib import asynccontextmanager

import aiohttp
import httpx
import pytest
from aiohttp.client_proto import ResponseHandler

from gateway.deliver.sockets import SocketBudget
from gateway.deliver.transport import Transport
from gateway.deliver.wire import MAX_REPLY_BYTES, MAX_WIRE_BYTES

pytestmark = pytest.mark.anyio
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@asynccontextmanager
async def serving(answer):
    """A server that gives each request to ``answer``; yields its URL and the list of requests it read."""
    seen = []

    async def converse(reader, writer):
        try:
            while True:
                seen.append(await reader.readuntil(b"\r\n\r\n"))
                if await answer(writer):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x", seen
    finally:
        server.close()


def writes(data, *, then_close=True):
    async def answer(writer):
        writer.write(data)
        await writer.drain()
        return then_close

    return answer


async def resets(writer):
    writer.transport.abort()
    return True


async def is_silent(_):
    await asyncio.sleep(1)
    return True


async def drips(writer):
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n")
    for _ in range(50):
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)
    return True


async def send(url, method="GET", timeout_s=0.2):
    transport = Transport(connect_timeout_s=timeout_s, reply_timeout_s=timeout_s)
    try:
        return await transport.handle_async_request(httpx.Request(method, url))
    finally:
        await transport.aclose()


MISBEHAVIOUR = {
    "closed without a word": (writes(b""), httpx.ReadError),
    "reset": (resets, httpx.ReadError),
    "half a head": (writes(b"HTTP/1.1 200 OK\r\ncontent-le"), httpx.ReadError),
    "garbage": (writes(b"\x16\x03garbage\r\n\r\n"), httpx.RemoteProtocolError),
    "body cut short": (writes(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nab"), httpx.RemoteProtocolError),
    "chunk cut short": (
        writes(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab"),
        httpx.RemoteProtocolError,
    ),
    "endless": (writes(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (MAX_REPLY_BYTES + 1)), httpx.RemoteProtocolError),
    "silent": (is_silent, httpx.ReadTimeout),
    "slow drip": (drips, httpx.ReadTimeout),
}


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
@pytest.mark.parametrize(("answer", "error"), MISBEHAVIOUR.values(), ids=MISBEHAVIOUR)
async def test_what_may_have_been_sent_is_told_from_what_was_not_and_never_repeated(method, answer, error):
    async with serving(answer) as (url, seen):
        with pytest.raises(error) as raised:
            await send(url, method)
        assert (type(raised.value), len(seen)) == (error, 1)


async def test_a_kept_connection_that_was_closed_meanwhile_is_not_used_for_a_silent_repeat():
    async with serving(writes(OK)) as (url, seen):
        transport = Transport(connect_timeout_s=0.2, reply_timeout_s=0.2)
        await transport.handle_async_request(httpx.Request("GET", url))
        await asyncio.sleep(0.05)
        assert (await transport.handle_async_request(httpx.Request("GET", url))).content == b"ok"
        assert len(seen) == 2
        await transport.aclose()


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("http://127.0.0.1:{port}/", httpx.ConnectError),
        ("https://127.0.0.1:{port}/", httpx.ConnectError),
        ("http://no-such-host.invalid/", httpx.ConnectError),
        ("ftp://127.0.0.1:{port}/", httpx.UnsupportedProtocol),
    ],
)
async def test_what_was_never_sent_says_so(url, error):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(error) as raised:
            await send(url.format(port=taken.getsockname()[1]), timeout_s=5)
    assert type(raised.value) is error


async def test_a_host_that_does_not_answer_is_a_connect_timeout():
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.settimeout(0)
            filler.connect_ex(("127.0.0.1", port))
        with pytest.raises(httpx.ConnectTimeout):
            await send(f"http://127.0.0.1:{port}/")
        for filler in fillers:
            filler.close()


async def test_a_large_answer_is_read_whole():
    size = MAX_REPLY_BYTES
    async with serving(writes(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size)) as (url, _):
        assert len((await send(url, timeout_s=5)).content) == size


def compressed(body):
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body)
    return writes(head + body)


async def ask(url, **headers):
    transport = Transport(connect_timeout_s=1, reply_timeout_s=5)
    try:
        return await transport.handle_async_request(httpx.Request("GET", url, headers=headers))
    finally:
        await transport.aclose()


async def test_a_compressed_answer_is_read_if_the_call_asked_for_it():
    async with serving(compressed(gzip.compress(b'{"ok":true}'))) as (url, _):
        assert (await ask(url, **{"accept-encoding": "gzip"})).json() == {"ok": True}


@pytest.mark.parametrize(
    ("body", "headers", "problem"),
    [
        (gzip.compress(b"{}"), {}, "the answer is compressed, which was not asked for"),
        (gzip.compress(b"{}"), {"accept-encoding": "br"}, "the answer is compressed, which was not asked for"),
        (b"{}", {"accept-encoding": "gzip"}, "the answer cannot be inflated"),
        (gzip.compress(b"{}")[:-4], {"accept-encoding": "gzip"}, "the answer is too large, or incomplete"),
        (
            gzip.compress(b"0" * (MAX_REPLY_BYTES + 1)),
            {"accept-encoding": "gzip"},
            "the answer is too large, or incomplete",
        ),
    ],
    ids=["not asked for", "asked for another encoding", "not compressed", "incomplete", "too large"],
)
async def test_a_compressed_answer_that_nobody_wants_is_no_answer(body, headers, problem):
    async with serving(compressed(body)) as (url, _):
        with pytest.raises(httpx.RemoteProtocolError, match=problem):
            await ask(url, **headers)


def floods(head, piece):
    """An answer that has no end: the same piece again and again; ``sent`` counts the bytes."""
    sent = [0]

    async def answer(writer):
        writer.write(head)
        while True:
            writer.write(piece)
            sent[0] += len(piece)
            await writer.drain()

    return answer, sent


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"", b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 100),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
        (CHUNKED, b"1\r\nx\r\n" * 1000),
        (CHUNKED, b"10000\r\n" + b"x" * 65_536 + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65_536),
        (b"HTTP/1.1 200 OK\r\n", b"a: b\r\n" * 1000),
    ],
    ids=["103", "100", "small chunks", "large chunks", "no length", "headers"],
)
async def test_an_answer_without_an_end_is_given_up_after_a_bound(head, piece):
    answer, sent = floods(head, piece)
    async with serving(answer) as (url, _):
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await ask(url)
    assert sent[0] < MAX_WIRE_BYTES + (8 << 20)  # what the sockets between them hold is sent, and not read


async def test_reading_that_takes_long_is_charged(monkeypatch):
    monkeypatch.setattr("gateway.deliver.wire.SLOW_S", 0.0)
    charged = []
    transport = Transport(connect_timeout_s=1, reply_timeout_s=1, charge=charged.append)
    async with serving(writes(OK)) as (url, _):
        await transport.handle_async_request(httpx.Request("GET", url))
        await transport.aclose()
    assert min(charged, default=0.0) > 0


def test_the_private_attributes_of_aiohttp_that_the_transport_sets_are_there():
    """A release that renames one would silently lift a limit, or repeat calls by itself."""
    source = inspect.getsource(aiohttp.TCPConnector) + inspect.getsource(aiohttp.BaseConnector)
    assert "self._factory" in source
    assert "_retry_connection" in inspect.getsource(aiohttp.ClientSession)
    assert "self._payload" in inspect.getsource(ResponseHandler)


async def test_a_redirect_is_an_answer_like_any_other():
    async with serving(writes(b"HTTP/1.1 302 Found\r\nlocation: /y\r\ncontent-length: 0\r\n\r\n")) as (url, seen):
        assert ((await send(url)).status_code, len(seen)) == (302, 1)


async def test_nothing_is_added_to_what_was_asked_for():
    async with serving(writes(OK)) as (url, seen):
        transport = Transport(connect_timeout_s=1, reply_timeout_s=1)
        request = httpx.Request("POST", url + "/a%2Fb?c=d%20e", headers={"X-One": "1"}, content=b"hello")
        await transport.handle_async_request(request)
        await transport.aclose()
    first, *headers = seen[0].decode().split("\r\n")
    assert first == "POST /x/a%2Fb?c=d%20e HTTP/1.1"
    names = {header.partition(":")[0].lower() for header in headers if header}
    assert names == {"host", "x-one", "content-length"}


async def test_no_cookie_is_kept():
    answer = b"HTTP/1.1 200 OK\r\nset-cookie: a=b\r\ncontent-length: 0\r\n\r\n"
    async with serving(writes(answer, then_close=False)) as (url, seen):
        transport = Transport(connect_timeout_s=1, reply_timeout_s=1)
        for _ in range(2):
            await transport.handle_async_request(httpx.Request("GET", url))
        await transport.aclose()
    assert b"cookie" not in seen[1].lower()


@pytest.mark.parametrize("public_only", [False, True])
async def test_a_name_that_leads_inside_is_not_dialled_for_a_customer(public_only):
    async with serving(writes(OK)) as (url, seen):
        transport = Transport(connect_timeout_s=1, reply_timeout_s=1, public_only=public_only)
        request = httpx.Request("GET", url.replace("127.0.0.1", "localhost"))
        if public_only:
            with pytest.raises(httpx.ConnectError):
                await transport.handle_async_request(request)
        else:
            assert (await transport.handle_async_request(request)).content == b"ok"
        await transport.aclose()
    assert len(seen) == (0 if public_only else 1)


async def test_a_process_without_descriptors_says_so_and_blames_nobody_else():
    transport = Transport(connect_timeout_s=1, reply_timeout_s=1)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with serving(writes(OK)) as (url, seen):
        free = os.open(os.devnull, os.O_RDONLY)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
        try:
            with pytest.raises(httpx.PoolTimeout):
                await transport.handle_async_request(httpx.Request("GET", url))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert (await transport.handle_async_request(httpx.Request("GET", url))).content == b"ok"
        await transport.aclose()
    assert len(seen) == 1


async def test_all_destinations_together_keep_to_the_number_of_sockets():
    budget, most = SocketBudget(limit=2), 0

    async def answers(writer):
        nonlocal most
        most = max(most, budget.open)
        await asyncio.sleep(0.02)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        await writer.drain()
        return True

    async with serving(answers) as (url, seen):
        transports = [Transport(connect_timeout_s=5, reply_timeout_s=5, budget=budget) for _ in range(6)]
        await asyncio.gather(*(one.handle_async_request(httpx.Request("GET", url)) for one in transports))
        for one in transports:
            await one.aclose()
        await asyncio.sleep(0.01)
    assert (len(seen), most, budget.open, budget.in_flight) == (6, 2, 0, 0)
