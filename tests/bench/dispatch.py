"""The dispatcher by itself: ``dispatch.py [calls] [waiting] [--count N] [--rounds N] [--waiting N] [--postgres]``.

``calls``: it delivers a backlog that was stored before it started, to a partner that answers at once and to one that
takes 50 ms; in turns with a bare loop that makes the same calls over the same transport, so many at once, and does
nothing else. CPU is that of the process which makes the calls.

``waiting``: what a claim of 64 lanes costs with a million batches waiting, in turns with claims from a journal where a
few thousand wait; how long it takes a gateway that is started then until it answers, and until the first of them is at
the partner; and how much memory its processes have taken at the most, ten seconds later.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import uvloop
from fairness import Post, connection, median, stage, store
from messages import document, message
from run import PYTHON, get, process, reachable, wait

from gateway.clock import now_ms
from gateway.dispatch.dispatcher import put_back
from gateway.journal.engines import open_journal
from gateway.journal.wait_reasons import NO_REASON
from gateway.settings import load

IN_FLIGHT = 64
EVENTS = 2
CLAIMS = 40
SETTINGS = {"host": "http://127.0.0.1:1", "api_key": "test-key", "api_secret": "test-secret"}


def calls(given):
    """Deliveries by CPU and by the clock, next to the bare loop."""
    for delay_s in (0.0, 0.05):
        found = {"dispatcher": [], "bare loop": []}
        for _ in range(given.rounds):
            found["dispatcher"].append(_dispatched(given.count, delay_s))
            found["bare loop"].append(_bare(given.count, delay_s))
        print(f"\ncalls, partner at {1000 * delay_s:.0f} ms, {IN_FLIGHT} at once: medians of {given.rounds} rounds")
        mid = {}
        for name, each in found.items():
            mid[name] = [median([one[place] for one in each]) for place in (0, 1)]
            print(f"  {name:12}{mid[name][0]:9.0f} calls/s{mid[name][1]:9.0f} calls per CPU second")
        ours, bare = mid.values()
        print(
            f"  the dispatcher makes {ours[0] / bare[0]:.0%} (clock), {ours[1] / bare[1]:.0%} (CPU) of the bare loop's"
        )


def _dispatched(count, delay_s):
    with stage(lambda fast, _: connection("fast", fast), delay_s) as (gateway, fast, _):
        posts = [Post(0, message(number, EVENTS), number) for number in range(count)]
        asyncio.run(store(gateway, posts))
        with gateway.serving("dispatch") as running:
            wait(lambda: _taken(fast) > count // 10, 120)
            (child,) = psutil.Process(running.pid).children()
            before, made, since = _cpu_s(child), _taken(fast), time.perf_counter()
            wait(lambda: _taken(fast) >= count * EVENTS * 9 // 10, 300)
            made, spent = _taken(fast) - made, _cpu_s(child) - before
            return made / (time.perf_counter() - since), made / spent


def _bare(count, delay_s):
    with stage(lambda fast, _: connection("fast", fast), delay_s) as (_, fast, _other):
        command = [PYTHON, __file__, "bare", "--url", fast.url, "--count", str(count)]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout)


def _taken(partner):
    return json.loads(get(partner.url, "/count"))["count"]


def _cpu_s(one):
    return sum(one.cpu_times()[:2])


def bare(given):
    """The bare loop: what the plugin made of the same batches, sent."""
    import gateway_sessionm
    from gateway.deliver.sender import make_request, sign
    from gateway.deliver.transport import Transport
    from gateway.facts import iter_facts
    from gateway.mparticle.decoding import decode
    from gateway.mparticle.posts import read
    from gateway.plan import plan
    from gateway.testing import connection as connected

    loyalty = connected(gateway_sessionm, {**SETTINGS, "host": given.url})
    made = []
    for number in range(given.count):
        batch = decode("firehose", read(message(number, EVENTS)).parts[0].body, message="m", part=0)
        events = [fact for fact in iter_facts(batch) if fact.id.partition("-")[0].isdigit()]
        made += [call for planned in plan(batch, loyalty, events) for call in planned.calls]
    assert len(made) == given.count * EVENTS, (len(made), given.count * EVENTS)

    async def send():
        transport, left = Transport(connect_timeout_s=5, reply_timeout_s=10), iter(made)

        async def one_after_another():
            for call in left:
                answer = await transport.handle_async_request(make_request(loyalty, sign(loyalty, call)))
                assert answer.status_code == 200

        began, before = time.perf_counter(), time.process_time()
        await asyncio.gather(*(one_after_another() for _ in range(IN_FLIGHT)))
        taken, spent = time.perf_counter() - began, time.process_time() - before
        await transport.aclose()
        return len(made) / taken, len(made) / spent

    print(json.dumps(uvloop.run(send())))


def small(number):
    """A message of half a kilobyte, with one event, of a user of its own."""
    made = document(number, 1)
    event = {name: made["events"][0][name] for name in ("type", "id", "timestamp_ms", "source_id", "name")}
    return {
        name: made[name] for name in ("type", "id", "timestamp_ms", "mpid", "source_channel", "user_identities")
    } | {
        "runtime_environment": {"type": "ios"},
        "events": [event],
    }


def waiting(given):
    """Start with a backlog."""
    with (
        stage(lambda fast, _: connection("fast", fast)) as (gateway, fast, _),
        stage(lambda fast, _: connection("fast", fast)) as (few, _, _),
    ):
        _store_small(few, 0, CLAIMS * IN_FLIGHT)
        began, stored = time.perf_counter(), 0
        while stored < given.waiting:
            stored = _store_small(gateway, stored, min(stored + 20_000, given.waiting))
        print(f"\nwaiting: {given.waiting} batches, stored in {time.perf_counter() - began:.0f} s", flush=True)
        many_ms, few_ms = uvloop.run(_claims_ms(gateway, few))
        print(f"  a claim takes {many_ms:.2f} ms, with few waiting {few_ms:.2f} ms", flush=True)
        for _ in range(given.rounds):
            before, started = _taken(fast), time.perf_counter()
            command = (PYTHON, "-m", "gateway", "serve", "-c", str(gateway.config))
            with process(*command, env=gateway.environment) as running:
                wait(lambda: reachable(gateway.url), 60)
                answers = time.perf_counter() - started
                wait(lambda seen=before: _taken(fast) > seen, 120)
                delivers = time.perf_counter() - started
                time.sleep(10)
                peaks = {_role(one): _peak_mb(one) for one in psutil.Process(running.pid).children()}
            shown = ", ".join(f"{role} {peak:.0f} MB" for role, peak in peaks.items())
            print(
                f"  answers after {answers:.2f} s, first call after {delivers:.2f} s; at the most {shown}", flush=True
            )


def _store_small(gateway, start, end):
    uvloop.run(store(gateway, [Post(0, json.dumps(small(number)).encode(), number) for number in range(start, end)]))
    return end


async def _claims_ms(*gateways):
    """The median of some claims from each, in turns and all of different lanes, once ids are indexed."""
    journals = [await open_journal(load(gateway.config).journal) for gateway in gateways]
    for journal in journals:
        assert await journal.take_over()
    busy = 1.0
    while busy > 0.02:
        before = time.process_time()
        await asyncio.sleep(1)
        busy = time.process_time() - before
    times, lanes = [[] for _ in journals], [[] for _ in journals]
    for _ in range(CLAIMS):
        for journal, taken, claimed in zip(journals, times, lanes, strict=True):
            began = time.perf_counter()
            found = await journal.claim("fast", now_ms=now_ms(), lanes=IN_FLIGHT, items=16)
            taken.append(1000 * (time.perf_counter() - began))
            assert len(found) == IN_FLIGHT
            claimed.extend(found)
    for journal, claimed in zip(journals, lanes, strict=True):
        await asyncio.gather(*(journal.settle(put_back(lane, now_ms(), NO_REASON)) for lane in claimed))
        await journal.close()
    return [median(taken) for taken in times]


def _role(one):
    words = one.cmdline()
    return words[words.index("--role") + 1]


def _peak_mb(one):
    (line,) = (line for line in Path(f"/proc/{one.pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", default=["calls", "waiting"], help="calls, waiting; both by default.")
    parser.add_argument("--count", type=int, default=6_000, help="Batches of two calls.")
    parser.add_argument("--waiting", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--postgres", action="store_true")
    given = parser.parse_args()
    for name in given.cases:
        {"calls": calls, "waiting": waiting, "bare": bare}[name](given)


if __name__ == "__main__":
    sys.exit(main())
