"""How many calls Sailthru gets: a served gateway, the fake, and changes as mParticle posts them.

``sailthru_calls.py table [--outage SECONDS]`` makes the table of the README: 1,000 changes of memberships and 1,000 of
attributes, while Sailthru can be reached and while it cannot. ``sailthru_calls.py backfill [MEMBERS] [--most N]``
connects an audience with that many members, and tells how long its list takes, in how many calls and how much memory.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psutil

from gateway.testing import running
from gateway_sailthru.fake import FakeSailthru

CHANGES, USERS, RATE = 1_000, 100, 20
PROFILES_A_POST = 500
CONFIG = """
[ingress]
bind = "127.0.0.1:{port}"
authorization = ["Token bench"]
[journal]
url = "sqlite:///{directory}/bench.db"
[log]
level = "warning"
"""
CONNECTION = """
[connections.{name}]
plugin = "sailthru"
max_age_hours = 0
[connections.{name}.settings]
base_url = "http://127.0.0.1:{port}"
api_key = "test-key"
api_secret = "test-secret"
{settings}
"""


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Gateway:
    """A served gateway with a connection for each fake."""

    def __init__(self, directory: str, connections: dict[str, tuple[int, str]]) -> None:
        self.port, self.posts = free_port(), 0
        parts = [CONFIG.format(port=self.port, directory=directory)]
        parts += [CONNECTION.format(name=n, port=p, settings=s) for n, (p, s) in connections.items()]
        config = Path(directory) / "gateway.toml"
        config.write_text("".join(parts))
        self.process = subprocess.Popen([sys.executable, "-m", "gateway", "serve", "-c", str(config)])
        wait(lambda: self.ask("GET", "/healthz"))

    def ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        wire = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            wire.request(method, path, body, {"authorization": "Token bench"})
            answer = wire.getresponse()
            told = answer.read()
            if answer.status != 200:
                raise RuntimeError(told)
            return told
        except ConnectionError:
            return b""
        finally:
            wire.close()

    def post(self, **message: Any) -> None:
        self.posts += 1
        common = {"id": f"00000000-0000-4000-8000-{self.posts:012d}", "firehose_version": "3.2.0"}
        account = {"account_id": 7, "account_settings": {}}
        said = {**common, "timestamp_ms": time.time_ns() // 10**6, "account": account, **message}
        self.ask("POST", "/mparticle", json.dumps(said).encode())

    def connect_audience(self) -> None:
        kind = "audience_subscription_request"
        self.post(type=kind, audience_id=5150, audience_name="Members", action="add")

    def memberships(self, users: range, action: str) -> None:
        audiences = [{"audience_id": 5150, "audience_name": "Members", "action": action}]
        profiles = [{**user("m", number), "audiences": audiences} for number in users]
        self.post(type="audience_membership_change_request", user_profiles=profiles)

    def attribute(self, number: int, value: int) -> None:
        self.post(
            type="event_processing_request", **user("a", number), user_attributes={"Points": str(value)}, events=[]
        )

    def waiting(self) -> int:
        lines = [line.split() for line in self.ask("GET", "/metrics").decode().splitlines()]
        return sum(int(float(words[-1])) for words in lines if words[0].startswith("gateway_facts_in_flight{"))

    def peak_mb(self) -> float:
        """The most memory that any of the gateway's processes had."""
        peaks = [Path(f"/proc/{one.pid}/status").read_text() for one in psutil.Process(self.process.pid).children()]
        return max(int(told.split("VmHWM:")[1].split()[0]) for told in peaks) / 1024

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)


def user(kind: str, number: int) -> dict[str, Any]:
    identity = {"type": "email", "encoding": "raw", "value": f"{kind}{number}@example.com"}
    return {"mpid": f"{ord(kind)}{number:09d}", "user_identities": [identity]}


def wait(claim: Any, seconds: float = 3600.0) -> None:
    end = time.monotonic() + seconds
    while not claim():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.05)


def changes(gateway: Gateway, action: str, seconds: float) -> None:
    """Post all changes, evenly over so many seconds; every user's attribute has another value each time."""
    start = time.monotonic()
    for number in range(CHANGES):
        gateway.memberships(range(number, number + 1), action)
        gateway.attribute(number % USERS, gateway.posts)
        time.sleep(max(0.0, start + (number + 1) * seconds / CHANGES - time.monotonic()))


def counted(fake: FakeSailthru, since: int) -> Counter[str]:
    """Calls by what they were about."""
    kinds: Counter[str] = Counter()
    for one in fake.journal[since:]:
        is_attribute = str((one["json"] or {}).get("id", "")).startswith("a")
        kinds["attributes" if is_attribute else "memberships"] += one["path"] != "/list"
    return kinds


def table(outage_s: float) -> None:
    fakes = {"one by one": FakeSailthru(), "bulk_from = 100": FakeSailthru()}
    ports = [free_port() for _ in fakes]
    connections = {"plain": (ports[0], ""), "bulk": (ports[1], "bulk_from = 100")}

    def up() -> contextlib.ExitStack:
        stack = contextlib.ExitStack()
        for fake, port in zip(fakes.values(), ports, strict=True):
            stack.enter_context(running(fake, port=port))
        return stack

    with tempfile.TemporaryDirectory() as directory:
        reachable = up()
        gateway = Gateway(directory, connections)
        gateway.connect_audience()
        wait(lambda: gateway.waiting() == 0)
        for phase, action in (("at rest", "add"), (f"after {outage_s:.0f} s without Sailthru", "delete")):
            since = [len(fake.journal) for fake in fakes.values()]
            if action == "delete":
                reachable.close()
            changes(gateway, action, CHANGES / RATE if action == "add" else outage_s)
            again = time.monotonic()
            if action == "delete":
                reachable = up()
            wait(lambda: gateway.waiting() == 0)
            print(f"{phase}: done {time.monotonic() - again:.0f} s after the last change")
            for (name, fake), before in zip(fakes.items(), since, strict=True):
                print(f"    {name}: {dict(counted(fake, before))}", flush=True)
        gateway.stop()
        reachable.close()


def backfill(members: int, most: int) -> None:
    fake = FakeSailthru()
    with running(fake) as url, tempfile.TemporaryDirectory() as directory:
        port = int(url.rpartition(":")[2])
        gateway = Gateway(directory, {"bulk": (port, f"bulk_from = 1000\nbulk_most = {most}")})
        start = time.monotonic()
        gateway.connect_audience()
        for first in range(0, members, PROFILES_A_POST):
            gateway.memberships(range(first, min(members, first + PROFILES_A_POST)), "add")
        print(f"{members} memberships acknowledged after {time.monotonic() - start:.0f} s", flush=True)
        wait(lambda: gateway.waiting() == 0)
        taken = time.monotonic() - start
        calls = Counter(f"{one['method']} {one['path']}" for one in fake.journal)
        on_list = sum("Members" in one.lists for one in fake.users.profiles.values())
        print(f"{on_list} members on the list after {taken:.0f} s, in {calls.total()} calls: {dict(calls)}")
        print(f"most memory of one process: {gateway.peak_mb():.0f} MB; flows started: {len(fake.users.flow_entries)}")
        gateway.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["table", "backfill"])
    parser.add_argument("members", type=int, nargs="?", default=100_000)
    parser.add_argument("--most", type=int, default=10_000)
    parser.add_argument("--outage", type=float, default=600.0)
    given = parser.parse_args()
    if given.what == "table":
        table(given.outage)
    else:
        backfill(given.members, given.most)


if __name__ == "__main__":
    main()
