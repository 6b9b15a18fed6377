"""Processes of the demo: both fake partners and ``gateway serve``, on free ports of loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

AUTHORIZATION = "Token demo-token"
PARTNERS = {"loyalty": "gateway_sessionm.fake", "email": "gateway_sailthru.fake"}
SESSIONM = {"events": ["reward_claimed", "stamp", "Rewards"], "undefined_attribute": "accept"}
CONFIGURATION = """\
[ingress]
bind = "127.0.0.1:0"
authorization = ["{authorization}"]

[journal]
url = "sqlite:///{directory}/gateway.db"

[delivery]
retry_first_s = 0.2

[connections.loyalty]
plugin = "sessionm"
[connections.loyalty.settings]
host = "{loyalty}"
api_key = "test-key"
api_secret = "test-secret"
event_mappings = {{ "Reward Claimed" = "reward_claimed", "Stamp Collected" = "stamp" }}
requests_per_second = 0
[connections.loyalty.filter]
events = {{ "Reward Claimed" = true, "Stamp Collected" = true }}
event_attributes = {{ "Reward Claimed" = {{ "*" = true }}, "Stamp Collected" = {{ n = true }} }}
screens = {{ Rewards = true }}
user_attributes = {{ "$FirstName" = true, favourite_drink = true, stores = true }}
user_identities = {{ email = true }}

[connections.email]
plugin = "sailthru"
max_age_hours = 0
[connections.email.settings]
base_url = "{email}"
api_key = "test-key"
api_secret = "test-secret"
look_again_s = 0.2
"""


class StageFailure(Exception):
    """A process of the demo did not start, or stopped by itself; the message has its name and output."""


def request(url: str, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
    """Send one request to a process of the demo; return the status, and the body, decoded if it is JSON."""
    parts = urlsplit(url)
    wire = HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        wire.request(method, path, body=body, headers=headers)
        answer = wire.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text.startswith((b"{", b"[")) else text.decode()
    finally:
        wire.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A running demo: the gateway's URL, the partners' URLs by connection, and the configuration file."""

    gateway: str
    partners: Mapping[str, str]
    configuration: Path

    def post(self, body: bytes, *, is_authorized: bool) -> tuple[int, Any, float]:
        """Post a body as mParticle does; return the status, the answer and the seconds it took."""
        started = time.perf_counter()
        headers = {"Authorization": AUTHORIZATION} if is_authorized else {}
        status, answer = request(self.gateway, "POST", "/mparticle", body, **headers)
        return status, answer, time.perf_counter() - started

    def add_fault(self, partner: str, fault: Mapping[str, Any]) -> None:
        """Queue a fault at a partner."""
        request(self.partners[partner], "POST", "/__fake__/faults", json.dumps(fault).encode())

    def seen(self, partner: str) -> list[dict[str, Any]]:
        """Return the requests that a partner took, in order."""
        _, journal = request(self.partners[partner], "GET", "/__fake__/journal")
        return [entry for entry in journal if entry["status"] is not None and 200 <= entry["status"] < 300]

    def facts(self) -> dict[str, dict[str, int]]:
        """Return the counts of facts by connection and state, from the gateway's metrics."""
        counted: dict[str, dict[str, int]] = {}
        _, text = request(self.gateway, "GET", "/metrics")
        for line in text.splitlines():
            name, _, rest = line.partition("{")
            labels, _, value = rest.partition("} ")
            if name not in ("gateway_facts_total", "gateway_facts_received_total", "gateway_facts_in_flight"):
                continue
            found = dict(pair.split("=", 1) for pair in labels.replace('"', "").split(","))
            state = found.get("word") or name.removeprefix("gateway_facts_").removesuffix("_total")
            states = counted.setdefault(found["connection"], {})
            states[state] = states.get(state, 0) + int(float(value))
        return counted


@contextmanager
def stage(directory: Path) -> Iterator[Stage]:
    """Start every process, and stop them at the end. Raises StageFailure."""
    with ExitStack() as running:
        options = {"loyalty": {"FAKE_SESSIONM": json.dumps(SESSIONM)}}
        partners = {}
        for name, module in PARTNERS.items():
            command = ["-m", module, "--port", "0", "--api-key", "test-key", "--api-secret", "test-secret"]
            log = running.enter_context(_process(name, command, directory, options.get(name, {})))
            partners[name] = _wait_for_output(
                log, name, lambda text: text.partition("listening on ")[2].partition("\n")[0]
            )
        configuration = directory / "gateway.toml"
        filled = CONFIGURATION.format(authorization=AUTHORIZATION, directory=directory, **partners)
        configuration.write_text(filled)
        log = running.enter_context(
            _process("gateway", ["-m", "gateway", "serve", "-c", str(configuration)], directory, {})
        )
        url = _wait_for_output(log, "gateway", _url)
        request(url, "GET", "/readyz")  # answered only after the ingest process has started
        yield Stage(gateway=url, partners=partners, configuration=configuration)


@dataclass(frozen=True, slots=True)
class _Running:
    """A running process and the file that it prints to."""

    file: Path
    process: subprocess.Popen[bytes]


@contextmanager
def _process(name: str, arguments: list[str], directory: Path, environ: Mapping[str, str]) -> Iterator[_Running]:
    file = directory / f"{name}.log"
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("GATEWAY_")}
    with file.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603  # our own modules, with this interpreter
            [sys.executable, *arguments], stdout=output, stderr=output, cwd=directory, env={**inherited, **environ}
        )
    try:
        yield _Running(file, process)
    finally:
        process.terminate()
        process.wait(30)


def _wait_for_output(log: _Running, name: str, found: Callable[[str], str], seconds: float = 30.0) -> str:
    """Wait for what ``found`` finds in the output of a process. Raises StageFailure if it is not printed in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and log.process.poll() is None:
        if what := found(log.file.read_text()):
            return what
        time.sleep(0.02)
    raise StageFailure(f"{name} did not start: {log.file.read_text().strip()[-2000:]}")


def _url(said: str) -> str:
    for line in said.splitlines():
        if '"url"' in line:
            url: str = json.loads(line)["url"]
            return url
    return ""
