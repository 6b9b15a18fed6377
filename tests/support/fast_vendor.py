"""A partner that takes everything as fast as Python can answer, and writes down what it saw.

It answers as SessionM does where all is well. Run as a program it listens on the port given, and answers
``GET /count`` with how many calls it took.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from contextlib import contextmanager

ANSWER = b'{"status":"ok"}'
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: "


class FastVendor:
    """What the connections share: the requests seen, and how long each answer takes."""

    def __init__(self, *, delay_s=0.0, keep=True):
        self.delay_s = delay_s
        self.keep = keep
        self.seen = []
        self.count = 0
        self.open = set()

    def take(self, target, body):
        """One request; returns the body to answer with."""
        if target == b"/count":
            return b'{"count":%d}' % self.count
        self.count += 1
        if self.keep:
            self.seen.append((target, body))
        return ANSWER


class Wire(asyncio.Protocol):
    """One connection, its requests answered in order."""

    def __init__(self, vendor):
        self.vendor = vendor
        self.buffer = b""

    def connection_made(self, transport):
        self.transport = transport
        self.vendor.open.add(transport)

    def connection_lost(self, _):
        self.vendor.open.discard(self.transport)

    def data_received(self, data):
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end]
            lower = head.lower()
            place = lower.find(b"content-length:")
            length = int(lower[place + 15 :].split(b"\r\n", 1)[0]) if place >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            body = self.buffer[end + 4 : end + 4 + length]
            self.buffer = self.buffer[end + 4 + length :]
            answer = self.vendor.take(head.split(b" ", 2)[1], body)
            written = HEAD + b"%d\r\n\r\n" % len(answer) + answer
            if self.vendor.delay_s:
                asyncio.get_running_loop().call_later(self.vendor.delay_s, self.write, written)
            else:
                self.write(written)

    def write(self, answer):
        if not self.transport.is_closing():
            self.transport.write(answer)


async def listen(vendor, port=0):
    """Serve; returns the server and its port."""
    server = await asyncio.get_running_loop().create_server(lambda: Wire(vendor), "127.0.0.1", port, backlog=1024)
    return server, server.sockets[0].getsockname()[1]


async def stop(vendor, server):
    """Stop listening and drop every connection."""
    server.close()
    for transport in tuple(vendor.open):
        transport.abort()
    await asyncio.sleep(0.01)


@contextmanager
def fast_vendor(port=0, **options):
    """A fast vendor in a thread of its own; yields it with its ``url``."""
    vendor = FastVendor(**options)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        server, port = asyncio.run_coroutine_threadsafe(listen(vendor, port), loop).result()
        vendor.url = f"http://127.0.0.1:{port}"
        yield vendor
        asyncio.run_coroutine_threadsafe(stop(vendor, server), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


if __name__ == "__main__":

    async def serve():
        server, port = await listen(FastVendor(delay_s=float(sys.argv[2]), keep=False), int(sys.argv[1]))
        print(port, flush=True)
        await server.serve_forever()

    asyncio.run(serve())
