"""The journal by itself: what storing, claiming and settling cost on each engine, and whether a backlog changes that.

``journal.py [--backlog N] [--only ENGINE]``: 64 producers store batches of 6 KB; then they are claimed and settled, 128
lanes at once, first with nothing else in the journal, then before N other users' batches (of 1 KB). The server's CPU is
counted by itself. On PostgreSQL it is shown what a claim touches.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import uvloop

sys.path.insert(0, str(Path(__file__).parent.parent))

from support.postgres_server import postgres_server

from gateway.journal.engines import open_journal, prepare
from gateway.journal.postgres import claim
from gateway.journal.types import Entry, Finished, Outcome, Settlement, hash64, hash128, hash_ref
from gateway.settings import JournalSettings

BODY = (b'{"type":"event_processing_request","padding":"' + b"lorem ipsum 0123456789 " * 260)[:6000]
DONE = (Outcome("identities", "delivered"), Outcome("event", "delivered"))
CONNECTIONS = ("loyalty",)
FAR_MS = 2**52


def entry(name, body=BODY, due_ms=1):
    return Entry(
        dedupe=hash128(name),
        user=hash64(name),
        message=name,
        part=0,
        dialect="firehose",
        received_ms=due_ms,
        facts=2,
        refs=tuple(hash_ref(f"{kind}:{name}", b"") for kind in ("id", "event", "event2", "mpid")),
        body=body,
    )


class Cost:
    """Seconds and CPU seconds of what happens inside ``with``; the server's CPU apart."""

    def __init__(self, server):
        self.server = psutil.Process(server.process.pid) if server else None

    def cpu(self):
        of = [self.server, *self.server.children()] if self.server else []
        return time.process_time(), sum(sum(one.cpu_times()[:2]) for one in of)

    def __enter__(self):
        self.started, self.before = time.perf_counter(), self.cpu()
        return self

    def __exit__(self, *_):
        self.taken = time.perf_counter() - self.started
        self.spent = [after - before for after, before in zip(self.cpu(), self.before, strict=True)]

    def row(self, name, count):
        ours, theirs = (1e6 * spent / count for spent in self.spent)
        print(f"  {name:44}{count / self.taken:9.0f}/s{ours:9.0f} us{theirs:9.0f} us", flush=True)


async def store(journal, cost, count, producers=64):
    numbers = iter(range(count))
    times = []

    async def produce():
        for number in numbers:
            started = time.perf_counter()
            await journal.accept([entry(f"m{number}")], CONNECTIONS)
            times.append(time.perf_counter() - started)

    with cost:
        await asyncio.gather(*(produce() for _ in range(producers)))
    times.sort()
    cost.row("store, 64 at once", count)
    print(f"  {'':44}{1000 * times[len(times) // 2]:8.1f} ms p50{1000 * times[len(times) * 99 // 100]:8.1f} ms p99")


async def deliver(journal, cost, count, name):
    """Claim and settle, as a dispatcher with 128 lanes in hand would that makes two calls a batch."""
    claims = done = 0

    async def work(lane):
        for _ in range(2):
            progress = {item.seq: {"call": {"word": "delivered"}} for item in lane.items}
            await journal.settle(
                Settlement(connection=lane.connection, user=lane.user, fence=lane.fence, progress=progress)
            )
        finished = tuple(Finished(seq=item.seq, facts=2, outcomes=DONE) for item in lane.items)
        await journal.settle(
            Settlement(connection=lane.connection, user=lane.user, fence=lane.fence, finished=finished, release=True)
        )

    with cost:
        working = set()
        while done < count:
            lanes = await journal.claim(CONNECTIONS[0], now_ms=FAR_MS, lanes=128 - len(working), items=16)
            claims += 1
            working |= {asyncio.create_task(work(lane)) for lane in lanes}
            ended, working = await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
            done += len(ended)
        if working:
            await asyncio.wait(working)
            done += len(working)
    cost.row(name, done)


async def backlog(journal, count):
    for start in range(0, count, 2_000):
        some = range(start, min(start + 2_000, count))
        await journal.accept([entry(f"backlog{n}", body=BODY[:1000], due_ms=10) for n in some], CONNECTIONS)


async def measure(settings, server, count, more):
    await prepare(settings)
    journal = await open_journal(settings)
    assert await journal.take_over()
    await store(journal, Cost(server), count)
    if server:
        await show_claim(journal)
    await deliver(journal, Cost(server), count, "claim, settle three times: empty journal")
    if more:
        await backlog(journal, more)
        for number in range(count):
            await journal.accept([entry(f"n{number}")], CONNECTIONS)
        if server:
            await show_claim(journal)
        await deliver(journal, Cost(server), count, f"claim, settle three times: {more} wait behind")
    await journal.close()


async def show_claim(journal):
    """What a claim of 64 lanes touches and takes, with as much in the journal as there is."""
    given = (CONNECTIONS[0], FAR_MS, True, 64, 15_000, "bench", 1, [])

    async def explain(connection):
        transaction = connection.transaction()
        await transaction.start()
        told = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {claim.TAKE}", *given)
        await transaction.rollback()
        (top,) = json.loads(told)
        pages = top["Plan"]["Shared Hit Blocks"] + top["Plan"]["Shared Read Blocks"]
        print(f"  a claim of 64 lanes touches {pages} pages and takes {top['Execution Time']:.1f} ms", flush=True)

    for _ in range(5):
        await journal._working.run(explain)


@contextmanager
def engines():
    with tempfile.TemporaryDirectory() as directory, postgres_server(fsync="on", shared_buffers="256MB") as server:
        yield {
            "SQLite": (JournalSettings(url=f"sqlite:///{directory}/bench.db"), None),
            "PostgreSQL": (JournalSettings(url=server.url(server.new_database())), server),
        }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--backlog", type=int, default=0)
    parser.add_argument("--only", choices=("SQLite", "PostgreSQL"))
    given = parser.parse_args()
    with engines() as found:
        for name, (settings, server) in found.items():
            if given.only not in (None, name):
                continue
            print(f"{name:46}{'':11}{'client':>12}{'server':>12}")
            uvloop.run(measure(settings, server, given.count, given.backlog))


if __name__ == "__main__":
    main()
