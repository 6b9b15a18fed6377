"""Fairness: what a hot user, a slow partner, a bad plugin, or somebody's backlog costs the others.

``fairness.py [CASE...] [--rounds N] [--seconds S] [--rate R] [--postgres]``. In each round of a case the same gateway
gets the same load twice, once without the trouble and once with it, in turns; only those are measured who are not the
trouble. Latency is from when a post was due until its call is at the partner. Rates are far below what the machine can
do, but for ``plugins``: there the dispatcher works on a backlog for minutes, and it is counted how many seconds
the others lose.

The cases: ``hot`` ``slow`` ``hanging`` ``backlog`` ``accounts`` ``plugins``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import uvloop
from messages import document
from run import PYTHON, free_port, get, journal, process, reachable, wait

sys.path.insert(0, str(Path(__file__).parent.parent))

from support.misbehaving import install

from gateway.ingest.entries import read_entries
from gateway.journal.engines import open_journal, prepare
from gateway.settings import load

HERE = Path(__file__).parent
CONFIG = """
[ingress]
bind = "127.0.0.1:{port}"
authorization = ["Token bench"]
[journal]
url = "{journal}"
[log]
level = "error"
"""
PLAIN = """
[connections.{name}]
plugin = "sessionm"
{more}
[connections.{name}.settings]
host = "{vendor}"
requests_per_second = 0
requests_in_flight = 0
[connections.{name}.filter]
events = {{ "*" = true }}
event_attributes."*" = {{ "*" = true }}
"""
KEYS = 'api_key = "test-key"\napi_secret = "test-secret"\nrequests_per_second = 0'
BAD = """
[connections.other]
plugin = "misbehaving"
login_identities = []
max_age_hours = 0
settings.base_url = "{vendor}"
filter.new_data_points = true
"""
HOT = "8999999999999999999"
DEEDS = ("loops", "sleeps", "takes", "raises", "exits", "hangs")


def connection(name, vendor, *, hosted=False):
    more = 'credentials = "account"' if hosted else ""
    made = PLAIN.format(name=name, vendor=vendor, more=more)
    return made if hosted else made.replace("requests_per_second = 0", KEYS)


@dataclass(frozen=True)
class Post:
    """What is posted when, and whether anybody looks how long it takes."""

    due_s: float
    body: bytes
    number: int
    path: str = "/mparticle/fast"
    measured: bool = True


class Numbers:
    """Every message is new: its number is in its id, its user and its event."""

    def __init__(self):
        self.next = 0

    def post(self, due_s, *, path="/mparticle/fast", user=None, event=None, account=None, measured=True):
        self.next += 1
        made = document(self.next, 1)
        if user is not None:
            made["mpid"] = user
        if event is not None:
            made["events"][0]["name"] = event
        if account is not None:
            made["account"] = {"account_id": account, "account_settings": {"api_key": "k", "api_secret": "s"}}
        return Post(due_s, json.dumps(made).encode(), self.next, path, measured)

    def steady(self, rate, seconds, **how):
        return [self.post(n / rate, **how) for n in range(round(rate * seconds))]


class Gateway:
    """Ingest and dispatch, started and stopped each for itself, on one journal."""

    def __init__(self, directory, kept, connections):
        install(directory)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.config = Path(directory) / "gateway.toml"
        self.config.write_text(CONFIG.format(port=port, journal=kept) + connections)
        keys = json.dumps([b64encode(b"k" * 32).decode()])
        self.environment = {**os.environ, "PYTHONPATH": str(directory), "GATEWAY_ACCOUNTS__SEALING_KEYS": keys}

    @contextlib.contextmanager
    def serving(self, role):
        command = (PYTHON, "-m", "gateway", "serve", "-c", str(self.config), "--role", role)
        with process(*command, env=self.environment, stderr=subprocess.DEVNULL) as running:
            if role != "dispatch":
                wait(lambda: reachable(self.url))
            yield running

    def left(self, name):
        """How many facts of a connection have no word yet."""
        for line in get(self.url, "/metrics").decode().splitlines():
            if line.startswith(f'gateway_facts_in_flight{{connection="{name}"'):
                return float(line.split()[-1])
        return 0.0


class Partner:
    """One that notes arrivals, in a process of its own."""

    def __init__(self, url):
        self.url = url
        self.seen = {}

    def delay(self, seconds):
        get(self.url, f"/delay/{seconds}")

    def look(self):
        for number, at in json.loads(get(self.url, "/seen")):
            self.seen.setdefault(number, at)
        return self.seen


@contextlib.contextmanager
def partner():
    command = (PYTHON, str(HERE / "arrivals.py"), "0")
    with process(*command, stdout=subprocess.PIPE, text=True) as running:
        yield Partner(f"http://127.0.0.1:{int(running.stdout.readline())}")


@contextlib.contextmanager
def stage(connections, delay_s=0.0):
    """A gateway that is not started yet, its fast partner, and the one of the other connection."""
    with (
        tempfile.TemporaryDirectory() as directory,
        journal(directory) as (kept, _),
        partner() as fast,
        partner() as other,
    ):
        fast.delay(delay_s)
        yield Gateway(Path(directory), kept, connections(fast.url, other.url)), fast, other


@contextlib.contextmanager
def served(connections, delay_s=0.0):
    """The same, started."""
    with stage(connections, delay_s) as (gateway, fast, other), gateway.serving("all"):
        yield gateway, fast, other


async def post_all(url, posts):
    """Post each when it is due, whatever becomes of the others; returns when each was due, by number."""
    due = {}

    async def one(session, post, at):
        await asyncio.sleep(at - time.monotonic())
        due[post.number] = at
        async with session.post(url + post.path, data=post.body, headers={"authorization": "Token bench"}) as answer:
            assert answer.status == 200, await answer.text()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64)) as session:
        start = time.monotonic() + 0.2
        await asyncio.gather(*(one(session, post, start + post.due_s) for post in posts))
    return due


def latencies(gateway, at, posts):
    """Post, wait until all that is measured has arrived, and say how long each took, in milliseconds."""
    due = uvloop.run(post_all(gateway.url, posts))
    wanted = [post.number for post in posts if post.measured]
    wait(lambda: at.look().keys() >= set(wanted), 300)
    return sorted(1000 * (at.seen[number] - due[number]) for number in wanted)


def median(values):
    values = sorted(values)
    return (
        values[len(values) // 2] if len(values) % 2 else (values[len(values) // 2 - 1] + values[len(values) // 2]) / 2
    )


def turns(rounds):
    """Without and with, then with and without: so that neither is always first."""
    for number in range(rounds):
        yield from ((number, kind) for kind in ((False, True) if number % 2 == 0 else (True, False)))


def told(name, found):
    """Print medians over the rounds, their spread, and what the trouble costs."""
    print(f"\n{name}")
    print(f"  {'':10}{'p50 ms':>9}{'p99 ms':>9}   (lowest to highest of the rounds)")
    mid = {}
    for kind, label in ((False, "without"), (True, "with")):
        cells = []
        for share in (50, 99):
            each = [values[len(values) * share // 100] for values in found[kind]]
            mid[kind, share] = median(each)
            cells.append((median(each), f"{min(each):.1f}-{max(each):.1f}"))
        print(f"  {label:10}{cells[0][0]:9.2f}{cells[1][0]:9.2f}   p50 {cells[0][1]}, p99 {cells[1][1]}")
    costs = {share: mid[True, share] / mid[False, share] - 1 for share in (50, 99)}
    pairs = [b[len(b) // 2] / a[len(a) // 2] - 1 for a, b in zip(found[False], found[True], strict=True)]
    shown = ", ".join(f"{pair:+.0%}" for pair in pairs)
    print(f"  costs the others {costs[50]:+.1%} (p50; by round {shown}), {costs[99]:+.1%} (p99)", flush=True)


def hot(given):
    """A user with 30 % of all traffic, at a partner that answers at once, and at one that takes 50 ms."""
    for delay_s in (0.0, 0.05):
        numbers, found = Numbers(), {False: [], True: []}
        with served(lambda fast, _: connection("fast", fast), delay_s) as (gateway, fast, _):
            latencies(gateway, fast, numbers.steady(given.rate, 2))
            for _, is_hot in turns(given.rounds):
                posts = numbers.steady(given.rate * 0.7, given.seconds)
                more = {"user": HOT} if is_hot else {}
                posts += numbers.steady(given.rate * 0.3, given.seconds, measured=False, **more)
                found[is_hot].append(latencies(gateway, fast, posts))
                wait(lambda: gateway.left("fast") == 0, 300)
        told(f"hot: one user with 30 % of {given.rate}/s, partner at {1000 * delay_s:.0f} ms; the other users", found)


def slow(given, delay_s=2.0, name="slow: the other connection's partner takes 2 s"):
    """The other connection's partner takes its time."""
    numbers, found = Numbers(), {False: [], True: []}
    with served(lambda fast, other: connection("fast", fast) + connection("other", other)) as (gateway, fast, other):
        latencies(gateway, fast, numbers.steady(given.rate, 2))
        for _, is_slow in turns(given.rounds):
            other.delay(delay_s if is_slow else 0.0)
            posts = numbers.steady(given.rate / 2, given.seconds)
            posts += numbers.steady(given.rate / 2, given.seconds, path="/mparticle/other", measured=False)
            found[is_slow].append(latencies(gateway, fast, posts))
            other.delay(0.0)
            wait(lambda: gateway.left("other") == 0, 300)
    told(f"{name}, {given.rate / 2:.0f}/s on each; the fast one", found)


def hanging(given):
    """The other connection's partner never answers."""
    slow(given, 30.0, "hanging: the other connection's partner does not answer")


def backlog(given):
    """The other connection has far more to do than can be done meanwhile."""
    numbers, found = Numbers(), {False: [], True: []}
    with stage(lambda fast, other: connection("fast", fast) + connection("other", other)) as (gateway, fast, _):
        _beside_backlog(given, numbers, found, gateway, fast, {"path": "/mparticle/other"})
    told(f"backlog: 10/s on one connection, {given.backlog} batches wait on the other; the one without", found)


def accounts(given):
    """The same with two customers of one hosted connection."""
    numbers, found = Numbers(), {False: [], True: []}
    with stage(lambda fast, _: connection("fast", fast, hosted=True)) as (gateway, fast, _):
        _beside_backlog(given, numbers, found, gateway, fast, {"account": 2}, {"account": 1})
    told(f"accounts: 10/s for one customer, {given.backlog} batches wait for another; the one without", found)


def _beside_backlog(given, numbers, found, gateway, fast, of_backlog, of_trickle=None):
    trickle = of_trickle or {}
    with gateway.serving("ingest"):
        for _, is_behind in turns(given.rounds):
            if is_behind:
                uvloop.run(
                    post_all(gateway.url, numbers.steady(800, given.backlog / 800, measured=False, **of_backlog))
                )
            with gateway.serving("dispatch"):
                latencies(gateway, fast, numbers.steady(10, 1, **trickle))  # it has to start first
                found[is_behind].append(latencies(gateway, fast, numbers.steady(10, given.seconds, **trickle)))
                waits = sum(map(gateway.left, ("fast", "other")))
                if is_behind:
                    print(f"  {waits:.0f} facts of the backlog waited at the end", flush=True)
                wait(lambda: not sum(map(gateway.left, ("fast", "other"))), 300)


def plugins(given):
    """A plugin that misbehaves at every batch beside a healthy connection that has a backlog."""
    for deed in given.deeds:
        numbers = Numbers()
        with stage(lambda fast, other: connection("fast", fast) + BAD.format(vendor=other)) as (gateway, fast, _):
            posts = numbers.steady(1, given.stored)
            bad = numbers.steady(1, given.stored // 100, path="/mparticle/other", event=f"{deed}@plan")
            asyncio.run(store(gateway, [*posts, *bad]))
            with gateway.serving("dispatch"):
                began = time.monotonic()
                time.sleep(given.minutes * 60)
                at = sorted(fast.look().values())
        seconds = Counter(int(one - began) for one in at)
        print(f"\nplugins: one that {deed} at every batch; the healthy connection, from the dispatcher's start")
        for minute in range(given.minutes):
            each = [seconds[60 * minute + second] for second in range(60)]
            print(
                f"  minute {minute + 1}: {sum(each) / 60:.0f} batches/s, {each.count(0)} seconds without any",
                flush=True,
            )


async def store(gateway, posts):
    """Put batches into the journal as the endpoint would."""
    kept = load(gateway.config).journal
    await prepare(kept)
    opened = await open_journal(kept)
    for start in range(0, len(posts), 1_000):
        entries = {}
        for post in posts[start : start + 1_000]:
            name = post.path.rpartition("/")[2]
            entries.setdefault(name, []).extend(read_entries(post.body, None, opened.salt)[1])
        for name, some in entries.items():
            await opened.accept(some, (name,))
    await opened.close()


CASES = {case.__name__: case for case in (hot, slow, hanging, backlog, accounts, plugins)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], help="Which; all of them, if none is named.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=int, default=100, help="Posts a second.")
    parser.add_argument("--backlog", type=int, default=8_000, help="Batches.")
    parser.add_argument("--stored", type=int, default=100_000, help="Batches that wait beside a bad plugin's.")
    parser.add_argument("--minutes", type=int, default=3, help="How long they are delivered.")
    parser.add_argument("--deeds", nargs="*", choices=DEEDS, default=DEEDS)
    parser.add_argument("--postgres", action="store_true")
    given = parser.parse_args()
    for name in given.cases or CASES:
        CASES[name](given)


if __name__ == "__main__":
    main()
