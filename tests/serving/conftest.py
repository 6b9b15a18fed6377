"""A gateway as it is deployed: its own processes, its own files, real sockets."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gateway.testing import running
from gateway_sailthru.fake import FakeSailthru
from gateway_sessionm.fake import FakeSessionM

TOKEN = "Token test"
CONFIG = """
[ingress]
bind = "127.0.0.1:{port}"
authorization = ["{token}"]
{ingress}
[journal]
{journal}
[delivery]
retry_first_s = 0.05
retry_most_s = 0.5
pause_s = {pause_s}
[connections.loyalty]
plugin = "sessionm"
login_identities = []
[connections.loyalty.settings]
host = "{vendor}"
api_key = "test-key"
api_secret = "{secret}"
requests_per_second = 0
[connections.loyalty.filter]
new_data_points = true
{more}
"""
EMAIL = """
[connections.email]
plugin = "sailthru"
max_age_hours = 0
[connections.email.settings]
base_url = "{url}"
api_key = "test-key"
api_secret = "test-secret"
look_again_s = 0.1
"""


def wait_for(claim, *, seconds=20.0):
    """Wait until ``claim()`` is true, or fail saying what it last was."""
    end = time.monotonic() + seconds
    while not (last := claim()):
        assert time.monotonic() < end, f"still {last!r} after {seconds} s"
        time.sleep(0.02)
    return last


class Gateway:
    """``gateway serve`` in a directory of its own."""

    def __init__(self, directory: Path, vendor: str, **fields):
        self.directory = directory
        self.vendor = vendor
        journal = f'url = "sqlite:///{directory}/gateway.db"'
        self.fields = {
            "journal": journal,
            "port": 0,
            "token": TOKEN,
            "ingress": "",
            "secret": "test-secret",
            "pause_s": 0.3,
            "more": "",
            **fields,
        }
        self.python = sys.executable
        self.role = "all"
        self.process = None
        self.url = ""

    @property
    def log(self):
        return (self.directory / "serve.log").read_text()

    @property
    def config(self):
        return self.directory / "gateway.toml"

    def start(self, *, role="all", **fields):
        self.role = role
        self.fields.update(fields)
        self.config.write_text(CONFIG.format(directory=self.directory, vendor=self.vendor, **self.fields))
        return self.start_as_it_is()

    def start_as_it_is(self):
        """Start with the configuration file that is there."""
        before = len(self.log) if (self.directory / "serve.log").exists() else 0
        with (self.directory / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.python, "-m", "gateway", "serve", "-c", str(self.config), "--role", self.role],
                stderr=log,
                cwd=self.directory,
            )
        if self.role == "dispatch":
            wait_for(lambda: "dispatch" in self.children())
            return self
        found = wait_for(lambda: re.search(r'"url":"(http://[^"]+)"', self.log[before:]))
        self.url = found[1]
        self.fields["port"] = urlsplit(self.url).port
        wait_for(self.answers)
        return self

    wait = staticmethod(wait_for)

    def memory_mb(self, pid):
        (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024

    def answers(self):
        with contextlib.suppress(OSError):
            return self.get("/healthz")[0] == 200

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def children(self):
        """The process ids of the roles, by role."""
        pids = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        roles = {}
        for pid in pids:
            with contextlib.suppress(OSError, ValueError):  # gone, or not yet what it will be
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                roles[words[words.index(b"--role") + 1].decode()] = int(pid)
        return roles

    def request(self, method, path, body=None, headers=None):
        parts = urlsplit(self.url)
        wire = HTTPConnection(parts.hostname, parts.port, timeout=30)
        try:
            with contextlib.suppress(BrokenPipeError):  # answered before all of it was sent
                wire.request(method, path, body=body, headers=headers or {})
            answer = wire.getresponse()
            return answer.status, answer.read()
        finally:
            wire.close()

    def get(self, path):
        return self.request("GET", path)

    def post(self, body, path="/mparticle", **headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, answer = self.request("POST", path, body, {"Authorization": TOKEN, **headers})
        return status, json.loads(answer)

    def facts(self):
        """Facts by (connection, word), from the metrics."""
        counted = {}
        for line in self.get("/metrics")[1].decode().splitlines():
            if found := re.match(r"gateway_facts(?:_received|_in_flight)?(?:_total)?\{(.*)\} (\S+)", line):
                labels = dict(re.findall(r'(\w+)="([^"]*)"', found[1]))
                word = labels.get("word") or ("received" if "received" in line else "in_flight")
                key = (labels["connection"], word)
                counted[key] = counted.get(key, 0) + int(float(found[2]))
        return counted

    def drained(self, connection="loyalty"):
        counts = self.facts()
        return counts.get((connection, "received"), 0) > 0 and counts.get((connection, "in_flight")) == 0

    def explain(self, id):
        done = subprocess.run(
            [sys.executable, "-m", "gateway", "explain", id, "-c", str(self.config), "--json"],
            capture_output=True,
            text=True,
            check=False,
        )
        return [json.loads(line) for line in done.stdout.splitlines()]

    def kill_all(self):
        for pid in (self.process.pid, *self.children().values()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(10)


class Loyalty(FakeSessionM):
    """A fake SessionM that is asked for what it saw."""

    url = ""

    def events(self):
        """Requests that sent an event and were taken."""
        return [one for one in self.journal if one["path"].endswith("/events") and one["status"] == 200]


@pytest.fixture
def vendor():
    """A fake SessionM that knows the events used here; ``vendor.url`` is where it listens."""
    fake = Loyalty(events=["Signup", "Level", "Home"], undefined_attribute="accept")
    with running(fake) as url:
        fake.url = url
        yield fake


class Email(FakeSailthru):
    """A fake Sailthru; ``connection`` is what makes a gateway deliver to it."""

    connection = ""


@pytest.fixture
def email():
    """A fake Sailthru: give a gateway ``more=email.connection``."""
    fake = Email()
    with running(fake) as url:
        fake.connection = EMAIL.format(url=url)
        yield fake


@pytest.fixture
def journal(engine, request, tmp_path):
    """What a configuration says of a new journal."""
    if engine == "sqlite":
        return f'url = "sqlite:///{tmp_path}/gateway.db"'
    server = request.getfixturevalue("server")
    return f'url = "{server.url(server.new_database())}"\nlease_s = 2'


@pytest.fixture
def stored(engine, request, gateway):
    """Everything that a stopped gateway's journal holds, as bytes: ``stored()``."""
    if engine == "sqlite":
        return lambda: b"".join(path.read_bytes() for path in gateway.directory.glob("gateway.db*"))
    server = request.getfixturevalue("server")
    database = f"test{server.databases}"
    bodies = "SELECT string_agg(convert_from(body, 'UTF8'), ' ') FROM batches"
    return lambda: (server.sql(bodies, database) + server.dump(database)).encode()


@pytest.fixture
def node(tmp_path, vendor, journal):
    """Makes gateways with one connection to the fake SessionM and one journal among them: ``node("a")``."""
    made = []

    def another(name=""):
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        made.append(Gateway(directory, vendor.url, journal=journal))
        return made[-1]

    yield another
    for one in made:
        if one.process is not None and one.process.poll() is None:
            one.kill_all()


@pytest.fixture
def gateway(node):
    """A gateway with one connection to the fake SessionM; start it yourself."""
    return node()


@pytest.fixture
def message():
    """A Firehose message about a user: ``message(n, events=...)`` has ids made of n."""

    def make(number=1, *, user=42, events=1, **fields):
        return {
            "type": "event_processing_request",
            "id": f"00000000-0000-4000-8000-{number:012d}",
            "timestamp_ms": 1_714_565_696_789,
            "firehose_version": "3.2.0",
            "account": {"account_id": 7, "account_settings": {"apiKey": "hush-hush"}},
            "mpid": str(user),
            "user_attributes": {"Colour": "red"},
            "events": [
                {
                    "type": "custom_event",
                    "id": f"e-{number}-{event}",
                    "timestamp_ms": 1_714_565_696_789 + event,
                    "name": "Signup",
                    "attributes": {"n": str(number)},
                }
                for event in range(events)
            ],
            **fields,
        }

    return make
