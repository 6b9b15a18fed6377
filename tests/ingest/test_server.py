"""The server under the endpoint: when it closes a connection, and how many it takes."""

import asyncio
import socket
from contextlib import asynccontextmanager

import pytest
from hypercorn.config import Config

from gateway.ingest.server import RESERVED_DESCRIPTORS, Server

pytestmark = pytest.mark.anyio
HEAD = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n"


async def ok(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def serving(application=ok):
    """Serve an application on loopback. Gives what opens a connection to it, and an event that stops it."""
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    stop, config = asyncio.Event(), Config()
    config.graceful_timeout = 2.0
    running = asyncio.create_task(Server(application, config).serve(listener.detach(), until=stop.wait))
    writers = []

    async def connect(sent=b""):
        reader, writer = await asyncio.open_connection(*address)
        writers.append(writer)
        writer.write(sent)
        return reader, writer

    try:
        yield connect, stop
    finally:
        stop.set()
        await asyncio.wait_for(running, 5)
        for writer in writers:
            writer.close()


async def answered(reader):
    """Read one answer."""
    return (await asyncio.wait_for(reader.readuntil(b"ok"), 5)).partition(b"\r\n")[0]


async def closed(reader):
    try:
        return await asyncio.wait_for(reader.read(), 5) == b""
    except ConnectionResetError:  # the server closed it while more was on its way
        return True


async def test_a_connection_is_kept_for_the_next_request():
    async with serving() as (connect, _):
        reader, writer = await connect(HEAD)
        for _ in range(3):
            assert await answered(reader) == b"HTTP/1.1 200 "
            writer.write(HEAD)
        assert await answered(reader) == b"HTTP/1.1 200 "


async def test_an_idle_connection_is_closed_in_time(monkeypatch):
    monkeypatch.setattr("gateway.ingest.server.KEEP_ALIVE_S", 0.2)
    async with serving() as (connect, _):
        silent, _ = await connect()
        used, _ = await connect(HEAD)
        assert await answered(used) == b"HTTP/1.1 200 "
        assert (await closed(silent), await closed(used)) == (True, True)


async def test_a_head_that_does_not_end_is_given_its_time_and_no_more(monkeypatch):
    monkeypatch.setattr("gateway.ingest.server.HEAD_S", 0.3)
    async with serving() as (connect, _):
        reader, writer = await connect(HEAD[:10])
        dripping = asyncio.create_task(drip(writer))
        assert await closed(reader)
        dripping.cancel()


async def drip(writer):
    while True:
        await asyncio.sleep(0.05)
        writer.write(b"x")


async def test_a_slow_answer_is_not_cut_by_the_idle_time_and_is_finished_at_a_stop(monkeypatch):
    monkeypatch.setattr("gateway.ingest.server.KEEP_ALIVE_S", 0.1)
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def slow(scope, receive, send):
        begun.set()
        await may_end.wait()
        await ok(scope, receive, send)

    async with serving(slow) as (connect, stop):
        reader, _ = await connect(HEAD)
        await begun.wait()
        await asyncio.sleep(0.3)
        stop.set()
        await asyncio.sleep(0.05)
        may_end.set()
        assert await answered(reader) == b"HTTP/1.1 200 "
        assert await closed(reader)


async def test_a_connection_beyond_the_bound_is_told_to_come_again(monkeypatch):
    monkeypatch.setattr("resource.getrlimit", lambda _: (RESERVED_DESCRIPTORS + 2, -1))
    async with serving() as (connect, _):
        for _ in range(2):
            reader, writer = await connect(HEAD)
            await answered(reader)
        refused, _ = await connect(HEAD)
        assert (await asyncio.wait_for(refused.read(), 5)).startswith(b"HTTP/1.1 503 ")
        writer.close()
        await asyncio.sleep(0.1)
        reader, _ = await connect(HEAD)
        assert await answered(reader) == b"HTTP/1.1 200 "


async def test_an_error_has_no_body_in_an_answer_to_head():
    unhandled = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    async with serving() as (connect, _):
        reader, _ = await connect(b"HEAD / HTTP/2.0\r\nhost: test\r\n\r\n")
        head, _, body = (await asyncio.wait_for(reader.read(), 5)).partition(b"\r\n\r\n")
        assert (head.partition(b"\r\n")[0], body) == (b"HTTP/1.1 505 ", b"")
    assert unhandled == []


async def test_nonsense_after_a_request_with_head_is_answered_with_a_body():
    async with serving() as (connect, _):
        reader, _ = await connect(HEAD.replace(b"GET", b"HEAD") + b"nonsense\r\n\r\n")
        first, second, body = (await asyncio.wait_for(reader.read(), 5)).split(b"\r\n\r\n")
        assert [one.partition(b"\r\n")[0] for one in (first, second)] == [b"HTTP/1.1 200 ", b"HTTP/1.1 400 "]
        assert body == b'{"error":"Bad Request"}'
