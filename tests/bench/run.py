"""The benchmark: one table, in ratios where it can. ``run.py [--quick] [--postgres]``.

W1 is one user a message with two events and two calls out, W10 has ten of each. Every scenario starts a
gateway of its own (``gateway serve``) against a partner that answers at once, after 50 ms, or not at all. CPU counts
every process of the gateway from the first post until the last call has been delivered. The journal is SQLite, or with
``--postgres`` a PostgreSQL server on the same machine, whose CPU is counted by itself.
"""

from __future__ import annotations

import contextlib
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import psutil

HERE = Path(__file__).parent
PYTHON = sys.executable
QUICK = "--quick" in sys.argv
POSTGRES = "--postgres" in sys.argv
CONNECTIONS = 64
CONFIG = """
[ingress]
bind = "127.0.0.1:0"
authorization = ["Token bench"]
[journal]
url = "{journal}"
[log]
level = "warning"
[delivery]
in_flight = 128
[connections.loyalty]
plugin = "sessionm"
[connections.loyalty.settings]
host = "{vendor}"
api_key = "test-key"
api_secret = "test-secret"
requests_per_second = 0
requests_in_flight = 0
[connections.loyalty.filter]
events = {{ "*" = true }}
event_attributes."*" = {{ "*" = true }}
"""


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def get(url, path):
    parts = urlsplit(url)
    wire = HTTPConnection(parts.hostname, parts.port, timeout=5)
    try:
        wire.request("GET", path)
        return wire.getresponse().read()
    finally:
        wire.close()


def reachable(url, path="/healthz"):
    with contextlib.suppress(OSError):
        get(url, path)
        return True
    return False


def wait(claim, seconds=120.0):
    end = time.monotonic() + seconds
    while not claim():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.01)


@contextlib.contextmanager
def process(*command, **options):
    running = subprocess.Popen(command, **options)
    try:
        yield running
    finally:
        running.terminate()
        running.wait(30)


@contextlib.contextmanager
def partner(delay_s):
    """A fast partner in a process of its own; None where it refuses connections."""
    if delay_s is None:
        yield f"http://127.0.0.1:{free_port()}"
        return
    program = str(HERE.parent / "support" / "fast_vendor.py")
    with process(PYTHON, program, "0", str(delay_s), stdout=subprocess.PIPE, text=True) as running:
        yield f"http://127.0.0.1:{int(running.stdout.readline())}"


@contextlib.contextmanager
def journal(directory):
    """The URL of a new journal, and the process that keeps it, if it has one of its own."""
    if not POSTGRES:
        yield f"sqlite:///{directory}/bench.db", None
        return
    sys.path.insert(0, str(HERE.parent))
    from support.postgres_server import postgres_server

    with postgres_server(fsync="on", shared_buffers="256MB") as server:
        yield server.url(server.new_database()), server.process


@contextlib.contextmanager
def gateway(vendor, role="all"):
    """A served gateway, or one role of it; yields its processes, its URL, and how long it took to answer."""
    with tempfile.TemporaryDirectory() as directory, journal(directory) as (kept, server):
        config = Path(directory) / "gateway.toml"
        port = free_port()
        config.write_text(CONFIG.format(journal=kept, vendor=vendor).replace("127.0.0.1:0", f"127.0.0.1:{port}", 1))
        started = time.monotonic()
        with process(PYTHON, "-m", "gateway", "serve", "-c", str(config), "--role", role) as running:
            url = f"http://127.0.0.1:{port}"
            wait(lambda: reachable(url))
            first = time.monotonic() - started
            time.sleep(0.5)
            yield (running, server), url, first


def load(url, count, *, rate=0, events=2, start=0, connections=CONNECTIONS):
    done = subprocess.run(
        [PYTHON, str(HERE / "load.py"), f"{url}/mparticle", *map(str, (count, connections, rate, events, start))],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return json.loads(done.stdout)


def family(running):
    parent = psutil.Process(running.pid)
    return [parent, *parent.children(recursive=True)]


def cpu_s(running):
    if running is None:
        return 0.0
    return sum(sum(one.cpu_times()[:2]) for one in family(running))


def memory_mb(running):
    return sum(one.memory_full_info().pss for one in family(running)) / 2**20  # what is shared counts once


def facts(url):
    """(received, in flight) by the gateway's own count."""
    received = left = 0.0
    for line in get(url, "/metrics").decode().splitlines():
        if line.startswith("gateway_facts_received_total"):
            received += float(line.split()[-1])
        elif line.startswith("gateway_facts_in_flight"):
            left += float(line.split()[-1])
    return received, left


def bare(count):
    port = free_port()
    with process(PYTHON, str(HERE / "bare.py"), str(port)):
        url = f"http://127.0.0.1:{port}"
        wait(lambda: reachable(url, "/"))
        load(url, count // 10)
        return load(url, count)


def end_to_end(count, events, delay_s):
    """Post as fast as answered, then wait until everything has been delivered."""
    with partner(delay_s) as vendor, gateway(vendor) as ((running, server), url, first):
        load(url, 200, events=events, start=10**6)
        if delay_s is not None:
            wait(lambda: facts(url)[1] == 0)
        before, started = (cpu_s(running), cpu_s(server)), time.monotonic()
        posted = load(url, count, events=events)
        peak = memory_mb(running)
        if delay_s is not None:
            wait(lambda: facts(url)[1] == 0)
        taken = time.monotonic() - started
        spent, kept = cpu_s(running) - before[0], cpu_s(server) - before[1]
        peak = max(peak, memory_mb(running))
        return {**posted, "done": count / taken, "calls": count * events / taken, "cpu_ms": 1000 * spent / count} | {
            "memory_mb": peak,
            "kept_ms": 1000 * kept / count,
            "first_s": first,
            "refused": delay_s is None,
        }


def alone(count):
    """Post as fast as answered, where nobody delivers meanwhile."""
    with gateway("http://127.0.0.1:1", "ingest") as (_, url, _first):
        load(url, 200, start=10**6)
        return load(url, count)


def paced(count, rate, delay_s):
    """Acknowledgements at a steady rate."""
    with partner(delay_s) as vendor, gateway(vendor) as (_, url, _first):
        load(url, 200, start=10**6)
        return load(url, count, rate=rate)


def decoding():
    """Microseconds for one batch: reading at the endpoint, decoding, and planning."""
    sys.path.insert(0, str(HERE))
    from messages import message

    import gateway_sessionm
    from gateway.facts import iter_facts
    from gateway.mparticle.decoding import decode
    from gateway.mparticle.posts import read
    from gateway.plan import plan
    from gateway.testing import connection

    values = {"host": "http://127.0.0.1", "api_key": "test-key", "api_secret": "test-secret"}
    loyalty = connection(gateway_sessionm, values)
    rows = []
    for events in (2, 50):
        body = message(1, events)
        part = read(body).parts[0]
        batch = decode("firehose", part.body, message="m", part=0)
        steps = {
            "read": lambda body=body: read(body),
            "decode": lambda part=part: decode("firehose", part.body, message="m", part=0),
            "plan": lambda batch=batch: plan(batch, loyalty, iter_facts(batch)),
        }
        number = 2_000 if events == 2 else 200
        best = {name: min(timeit.repeat(step, number=number, repeat=5)) / number * 1e6 for name, step in steps.items()}
        rows.append((f"{len(body) / 1000:.0f} KB, {events} events", *(f"{best[name]:.0f}" for name in steps)))
    return rows


def rate_of(told):
    return told["per_second"]


def main():
    count = 1_500 if QUICK else 8_000
    print(f"Python {sys.version.split()[0]}, {psutil.cpu_count()} processors, {CONNECTIONS} connections", flush=True)
    pairs = [(bare(count), alone(count)) for _ in range(1 if QUICK else 3)]  # in turns: what else runs here changes
    limits = [limit for limit, _ in pairs]
    heads = {
        "acks/s": 8,
        "p50 ms": 8,
        "p99 ms": 8,
        "done/s": 8,
        "calls/s": 9,
        "CPU ms": 8,
        "DB ms": 8,
        "MB": 6,
        "first s": 8,
    }
    print(f"\n{'':34}" + "".join(f"{head:>{width}}" for head, width in heads.items()))

    def row(name, told):
        cells = f"{told['per_second']:8.0f}{told['p50_ms']:8.1f}{told['p99_ms']:8.1f}"
        if "done" in told:
            done = "        " if told["refused"] else f"{told['done']:8.0f}"
            calls = "         " if told["refused"] else f"{told['calls']:9.0f}"
            cells += f"{done}{calls}{told['cpu_ms']:8.2f}{told['kept_ms']:8.2f}"
            cells += f"{told['memory_mb']:6.0f}{told['first_s']:8.2f}"
        print(f"{name:34}{cells}", flush=True)
        bad = {status: n for status, n in told["statuses"].items() if status not in ("200", "202")}
        if bad:
            print(f"    answered otherwise: {bad}")

    row("bare Starlette on Hypercorn", limits[0])
    row("W1, nobody delivers", sorted((told for _, told in pairs), key=rate_of)[len(pairs) // 2])
    acks = {}
    for name, events, delay_s in (
        ("W1, partner at 0 ms", 2, 0.0),
        ("W1, partner at 50 ms", 2, 0.05),
        ("W1, partner refusing", 2, None),
        ("W10, partner at 0 ms", 10, 0.0),
        ("W10, partner at 50 ms", 10, 0.05),
        ("W10, partner refusing", 10, None),
    ):
        told = end_to_end(count if events == 2 else count // 5, events, delay_s)
        if events == 2:
            acks[name.partition(", ")[2]] = told
        row(name, told)
        limits.append(bare(count))
    rate = 400
    for name, delay_s in (("0 ms", 0.0), ("50 ms", 0.05), ("refusing", None)):
        row(f"W1 at {rate}/s, partner {name}", paced(rate * (2 if QUICK else 8), rate, delay_s))
    limit = statistics.median(map(rate_of, limits))
    alone_of_it = statistics.median(rate_of(told) / rate_of(limit) for limit, told in pairs)
    print(f"\nAcknowledged, W1, against the bare limit ({limit:.0f}/s, median of {len(limits)}):", end=" ")
    shares = {name: rate_of(told) / limit for name, told in acks.items()}
    print(", ".join(f"{name} {share:.0%}" for name, share in {"nobody delivers": alone_of_it, **shares}.items()))
    print(f"\n{'one batch, microseconds':34}{'read':>8}{'decode':>8}{'plan':>8}")
    for name, *cells in decoding():
        print(f"{name:34}" + "".join(f"{cell:>8}" for cell in cells))


if __name__ == "__main__":
    main()
