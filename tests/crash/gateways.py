"""A gateway under test: its directory, its processes, and the ways in which they are started, killed and stopped."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from crash.failpoints import POINTS, Fuse
from crash.schedules import Schedule
from crash.vendors import Credentials

from gateway.settings import JournalSettings

OUTSIDE = tuple(name for name, point in POINTS.items() if point.role == "outside")
HERE = Path(__file__).parent.parent
CONFIG = """
[ingress]
bind = "127.0.0.1:0"
authorization = ["{authorization}"]
shutdown_s = 5
[journal]
url = "{journal}"
{lease}
[delivery]
retry_first_s = 0.02
retry_most_s = 0.1
pause_s = 0.1
in_flight = 4
[connections.loyalty]
plugin = "sessionm"
login_identities = []
[connections.loyalty.settings]
host = "{loyalty}"
api_key = "{key}"
api_secret = "{secret}"
requests_per_second = 0
[connections.loyalty.filter]
new_data_points = true
events = {{ Private = false }}
[connections.email]
plugin = "sailthru"
max_age_hours = 0
[connections.email.settings]
base_url = "{email}"
api_key = "{key}"
api_secret = "{secret}"
rate_share = 1.0
"""


class Broken(Exception):
    """The gateway did something that ends the experiment; says what."""


class Nursery:
    """The process that forks gateways; see ``crash.nursery``. ``bug`` plants one, to see that it is found."""

    def __init__(self, bug: str | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "crash.nursery", *([bug] if bug else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])},
            text=True,
        )

    def order(self, **order: Any) -> int:
        """Have something done; see there."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=10)


class Gateway:
    """One gateway, started again by ``tend`` whenever its supervisor has died."""

    def __init__(
        self,
        nursery: Nursery,
        directory: Path,
        schedule: Schedule,
        journal: JournalSettings,
        vendors: dict[str, str],
        given: Credentials,
    ) -> None:
        self.given = given
        self.directory = directory
        self.fuse = Fuse(directory, list(schedule.crashes))
        self._nursery = nursery
        self._supervisor = 0
        self._watch = -1
        self._before = 0
        for name in ("serve.log", "processes"):
            (directory / name).touch()
        lease = "" if journal.url.startswith("sqlite") else f"lease_s = {journal.lease_s}"
        (directory / "gateway.toml").write_text(
            CONFIG.format(journal=journal.url, lease=lease, **asdict(given), **vendors)
        )

    @property
    def log(self) -> bytes:
        """Everything that its processes have written."""
        return (self.directory / "serve.log").read_bytes()

    @property
    def address(self) -> tuple[str, int] | None:
        """Where it was listening last, if it ever was."""
        found = re.findall(rb'"url":"(http://[^"]+)"', self.log)
        if not found:
            return None
        parts = urlsplit(found[-1].decode())
        return str(parts.hostname), int(parts.port or 0)

    def start(self) -> None:
        """Start its supervisor."""
        self._before = len(self._started())
        self._supervisor = self._nursery.order(directory=str(self.directory), crashes=self.fuse.crashes)
        self._watch = os.pidfd_open(self._supervisor)

    def tend(self, within_s: float) -> None:
        """Look after it for so long at the most: a supervisor that has died is started again. Raises Broken.

        It may die of a planned crash alone.
        """
        if self._ends(within_s):
            status = self._reap()
            if status != -signal.SIGKILL:
                raise Broken(f"the supervisor ended by itself with status {status}")
            self.start()

    def struck(self) -> None:
        """Kill from the outside, if that is what comes next. A vendor says that it has a call in hand."""
        for point in OUTSIDE:
            if self.fuse.burns(point):
                whom = point.partition(".")[2]
                pids = [pid for role, pid in self._running() if whom in (role, "everything")]
                self.fuse.write(point, whom, pids[-1] if pids else 0)
                end(pids)

    def stop(self) -> int:
        """Stop it in order; returns the status of its supervisor.

        One that has started nothing yet may not know of signals yet: it ends at once, as any process does.
        """
        until = time.monotonic() + 20
        while all(role == "supervisor" for role, _ in self._started()[self._before :]) and time.monotonic() < until:
            time.sleep(0.005)
        os.kill(self._supervisor, signal.SIGTERM)
        if not self._ends(20):
            raise Broken("it does not stop")
        return self._reap()

    def kill(self) -> None:
        """Leave nothing of it behind."""
        end([pid for _, pid in self._running()])
        if self._watch >= 0:
            self._ends(10)
            self._reap()

    def gone(self, within_s: float) -> bool:
        """Whether every process that was ever started has ended, or has within so long."""
        for _, pid in self._running():
            with suppress(ProcessLookupError):
                watch = os.pidfd_open(pid)
                ended = select.select([watch], [], [], within_s)[0]
                os.close(watch)
                if not ended:
                    return False
        return True

    def _started(self) -> list[tuple[str, int]]:
        """Role and id of each process, in the order in which they were started."""
        lines = (self.directory / "processes").read_text().splitlines()
        return [(one["role"], one["pid"]) for one in map(json.loads, lines)]

    def _running(self) -> list[tuple[str, int]]:
        """Those that still run."""
        return [(role, pid) for role, pid in self._started() if self._owns(pid)]

    def _owns(self, pid: int) -> bool:
        """Whether this is a process of ours still: ids are given again, and to anybody."""
        try:
            return Path(f"/proc/{pid}/cwd").readlink() == self.directory
        except OSError:
            return False

    def _ends(self, within_s: float) -> bool:
        return bool(select.select([self._watch], [], [], within_s)[0])

    def _reap(self) -> int:
        os.close(self._watch)
        self._watch = -1
        return self._nursery.order(ended=self._supervisor)


def end(pids: Sequence[int]) -> None:
    """Kill these processes, each if it has not ended yet."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
