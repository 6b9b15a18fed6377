"""The load: bodies posted over many connections as fast as they are answered, or at a steady rate.

Run as a program: ``load.py URL COUNT CONNECTIONS RATE EVENTS`` posts unique Firehose messages and prints what
it saw as JSON. A rate of 0 means as fast as they are answered.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from urllib.parse import urlsplit

import uvloop
from messages import message


def requests(count, events, path, start=0):
    """The requests, ready to be written."""
    for number in range(start, start + count):
        body = message(number, events)
        head = (
            f"POST {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Token bench\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        yield head.encode() + body


class Client(asyncio.Protocol):
    """One connection: writes a request, waits for its answer, and asks for the next.

    A server closes a connection after so many requests; then another takes its place. A request that had no answer
    by then counts as one of status 0.
    """

    def __init__(self, load):
        self.load = load
        self.buffer = b""
        self.is_busy = False

    def connection_made(self, transport):
        self.transport = transport
        self.load.idle(self)

    def write(self, request, since):
        self.since = since
        self.is_busy = True
        self.transport.write(request)

    def connection_lost(self, _):
        if self.is_busy:
            self.load.answered(0, time.perf_counter() - self.since)
        self.load.replace(self)

    def data_received(self, data):
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.buffer[:end].lower()
        length = int(head[head.index(b"content-length:") + 15 :].split(b"\r\n", 1)[0])
        if len(self.buffer) >= end + 4 + length:
            self.load.answered(int(head[9:12]), time.perf_counter() - self.since)
            self.buffer = b""
            self.is_busy = False
            if b"connection: close" in head:
                self.transport.close()
            else:
                self.load.idle(self)


class Load:
    """Everything to post, and what came of it."""

    def __init__(self, waiting, rate, connect):
        self.connect = connect
        self.connecting = set()
        self.waiting = iter(waiting)
        self.rate = rate
        self.sent = 0
        self.seconds = []
        self.statuses = {}
        self.free = []
        self.done = asyncio.get_running_loop().create_future()
        self.started = time.perf_counter()

    def idle(self, client):
        """A connection has nothing to do."""
        if self.rate:
            self.free.append(client)
        else:
            self.post(client, time.perf_counter())

    def replace(self, client):
        """A connection is gone."""
        if client in self.free:
            self.free.remove(client)
        if not self.done.done():
            task = asyncio.ensure_future(self.connect(self))
            self.connecting.add(task)
            task.add_done_callback(self.connecting.discard)

    def post(self, client, since):
        request = next(self.waiting, None)
        if request is not None:
            self.sent += 1
            client.write(request, since)
        elif sum(self.statuses.values()) == self.sent and not self.done.done():
            self.done.set_result(None)

    def answered(self, status, seconds):
        self.seconds.append(seconds)
        self.statuses[status] = self.statuses.get(status, 0) + 1

    async def pace(self):
        """Post at the rate. A request that has to wait for a free connection counts from when it was due."""
        while not self.done.done():
            due = self.started + self.sent / self.rate
            if (early := due - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            elif self.free:
                self.post(self.free.pop(), due)
            else:
                await asyncio.sleep(0.0005)


async def run(url, count, connections, rate, events, start=0):
    """Post; returns seconds taken, requests a second, percentiles in milliseconds, and statuses."""
    parts = urlsplit(url)
    prepared = list(requests(count, events, parts.path or "/mparticle", start))
    loop = asyncio.get_running_loop()

    async def connect(load):
        await loop.create_connection(lambda: Client(load), parts.hostname, parts.port)

    load = Load(prepared, rate, connect)
    for _ in range(min(connections, count)):
        await connect(load)
    pacing = loop.create_task(load.pace()) if rate else None
    await load.done
    taken = time.perf_counter() - load.started
    if pacing:
        await pacing
    seconds = sorted(load.seconds)
    return {
        "seconds": taken,
        "per_second": count / taken,
        "p50_ms": 1000 * seconds[len(seconds) // 2],
        "p99_ms": 1000 * seconds[len(seconds) * 99 // 100],
        "statuses": load.statuses,
    }


if __name__ == "__main__":
    url, count, connections, rate, events, start = sys.argv[1], *map(int, sys.argv[2:])
    print(json.dumps(uvloop.run(run(url, count, connections, rate, events, start))))
