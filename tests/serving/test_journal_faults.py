"""The journal under stress: no room, a disk that is full, a file that is taken away. Nothing acknowledged is lost."""

import fcntl
import json
import os
import resource
import shutil
import signal
import subprocess
import time
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.failing_disk import FailingDisk

from gateway.testing.vendor import Action, Fault

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
KIB = 1024


def sent(vendor):
    return {entry["body"]["events"]["Signup"]["transaction_id"] for entry in vendor.events()}


def answer(gateway, message):
    """The status and the ``Retry-After`` of a post."""
    wire = HTTPConnection(urlsplit(gateway.url).netloc, timeout=30)
    try:
        wire.request("POST", "/mparticle", json.dumps(message), {"Authorization": "Token test"})
        said = wire.getresponse()
        said.read()
        return said.status, said.headers["retry-after"]
    finally:
        wire.close()


def test_too_many_waiting_facts_are_answered_503_until_some_are_delivered(gateway, vendor, message, monkeypatch):
    monkeypatch.setenv("GATEWAY_JOURNAL__MAX_WAITING_FACTS", "4")
    vendor.faults.append(Fault(action=Action(status=503), times=10**6))
    gateway.start()
    for number in range(3):
        assert gateway.post(message(number, user=number + 1))[0] == 200
    gateway.wait(lambda: answer(gateway, message(9)) == (503, "30"))
    assert json.loads(gateway.get("/readyz")[1])["problems"] == ["too many facts wait to be delivered"]
    vendor.faults.clear()
    gateway.wait(lambda: answer(gateway, message(9)) == (200, None))
    gateway.wait(gateway.drained)
    assert sent(vendor) == {"e-0-0", "e-1-0", "e-2-0", "e-9-0"}


def test_a_disk_that_is_almost_full_is_left_as_it_is(gateway, message, monkeypatch):
    monkeypatch.setenv("GATEWAY_JOURNAL__MIN_FREE_BYTES", str(1 << 60))
    gateway.start()
    gateway.wait(lambda: answer(gateway, message(1)) == (503, "30"))
    assert "the journal's disk is almost full" in gateway.log


class SmallDisk:
    """Where the journal is kept: a small file system where one may be mounted, else files that may not grow."""

    def __init__(self, directory, gateway):
        self.directory, self.gateway = directory, gateway
        directory.mkdir()
        mounting = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(directory)], capture_output=True, check=False
        )
        self.is_mounted = mounting.returncode == 0

    def fill(self):
        if self.is_mounted:
            with (self.directory / "filler").open("wb", buffering=0) as filler:
                try:
                    while True:
                        filler.write(bytes(4 * KIB))
                except OSError:
                    return
        self._bound(max(path.stat().st_size for path in self.directory.iterdir()))

    def free(self):
        if self.is_mounted:
            (self.directory / "filler").unlink()
        else:
            self._bound(resource.RLIM_INFINITY)

    def _bound(self, most_bytes):
        for pid in self.gateway.children().values():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (most_bytes, resource.RLIM_INFINITY))

    def close(self):
        if self.is_mounted:
            subprocess.run(["umount", "-l", str(self.directory)], check=True)


@pytest.fixture
def disk(gateway, tmp_path, monkeypatch):
    monkeypatch.setenv("GATEWAY_JOURNAL__MIN_FREE_BYTES", "0")
    made = SmallDisk(tmp_path / "disk", gateway)
    monkeypatch.setenv("GATEWAY_JOURNAL__URL", f"sqlite:///{made.directory}/gateway.db")
    yield made
    if gateway.process is not None and gateway.process.poll() is None:
        gateway.stop()
    made.close()


def large(message, number):
    """A message that does not fit into what little is left."""
    return message(number, user=number + 1, user_attributes={"Colour": "red" * 10 * KIB})


def test_a_full_disk_is_answered_503_and_what_was_acknowledged_arrives(gateway, vendor, message, disk):
    gateway.start()
    assert gateway.post(message(1000))[0] == 200
    gateway.wait(gateway.drained)
    disk.fill()
    taken = []
    for number in range(40):
        status, _ = answer(gateway, large(message, number))
        if status == 200:
            taken.append(number)
    assert answer(gateway, large(message, 99))[0] == 503
    assert "disk" in gateway.log
    assert gateway.get("/readyz")[0] in (200, 503)
    disk.free()
    gateway.wait(lambda: answer(gateway, large(message, 99))[0] == 200)
    gateway.wait(gateway.drained, seconds=60)
    assert {"e-1000-0", "e-99-0", *(f"e-{number}-0" for number in taken)} <= sent(vendor)


@pytest.mark.skipif(shutil.which("cc") is None, reason="making a disk fail under open files needs a C compiler")
def test_a_disk_that_turns_read_only_is_answered_503_and_what_was_acknowledged_arrives(
    gateway, vendor, message, tmp_path, monkeypatch
):
    disk = FailingDisk(tmp_path / "disk", monkeypatch)
    monkeypatch.setenv("GATEWAY_JOURNAL__URL", f"sqlite:///{disk.directory}/gateway.db")
    vendor.faults.append(Fault(action=Action(status=500), times=10**6))
    gateway.start()
    for number in range(1, 4):
        assert answer(gateway, message(number, user=number))[0] == 200
    children = gateway.children()
    disk.turn_read_only()
    vendor.faults.clear()
    for number in range(4, 7):
        assert answer(gateway, message(number, user=number)) == (503, "5")
    assert gateway.get("/healthz")[0] == 200
    status, said = gateway.get("/readyz")
    assert (status, json.loads(said)["problems"]) == (503, ["the journal cannot be written"])
    assert "journal unavailable" in gateway.log
    time.sleep(1)
    assert gateway.children() == children
    os.kill(children["dispatch"], signal.SIGKILL)  # nor does whoever starts meanwhile give up
    gateway.wait(lambda: gateway.log.count("journal unavailable") > 6)
    disk.turn_writable()
    gateway.wait(lambda: answer(gateway, message(4, user=4))[0] == 200)
    gateway.wait(gateway.drained)
    assert sent(vendor) == {f"e-{number}-0" for number in range(1, 5)}
    assert gateway.get("/readyz")[0] == 200
    assert gateway.children()["ingest"] == children["ingest"]


def test_a_file_that_is_taken_away_is_missed_and_found_again(gateway, vendor, message):
    vendor.faults.append(Fault(action=Action(status=503), times=10**6))
    gateway.start()
    assert gateway.post(message(1))[0] == 200
    file = gateway.directory / "gateway.db"
    Path(file).rename(f"{file}.away")
    assert answer(gateway, message(2)) == (503, "5")
    vendor.faults.clear()
    Path(f"{file}.away").rename(file)
    gateway.wait(lambda: answer(gateway, message(2))[0] == 200)
    gateway.wait(gateway.drained)
    assert sent(vendor) == {"e-1-0", "e-2-0"}


def test_a_file_put_in_the_journals_place_is_not_taken_for_it(gateway, message):
    gateway.start()
    file = gateway.directory / "gateway.db"
    file.rename(f"{file}.away")
    file.write_bytes(b"")
    assert answer(gateway, message(1)) == (503, "5")
    assert "another file is in its place; restart the gateway" in gateway.log
    Path(f"{file}.away").rename(file)
    gateway.wait(lambda: answer(gateway, message(1))[0] == 200)


def test_posts_are_answered_503_while_another_process_holds_the_lock_of_the_writers(gateway, vendor, message):
    gateway.start()
    assert gateway.post(message(1))[0] == 200
    gateway.wait(gateway.drained)
    lock = os.open(next(gateway.directory.glob("*-writer.lock")), os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert answer(gateway, message(2)) == (503, "5")
    os.close(lock)
    gateway.wait(lambda: answer(gateway, message(2)) == (200, None))
    gateway.wait(gateway.drained)
    assert sent(vendor) == {"e-1-0", "e-2-0"}


def test_an_ingest_that_is_stopped_is_replaced(gateway, vendor, message):
    gateway.start()
    stopped = gateway.children()["ingest"]
    os.kill(stopped, signal.SIGSTOP)
    gateway.wait(lambda: gateway.children().get("ingest", stopped) != stopped, seconds=30)
    gateway.wait(lambda: answer(gateway, message(1)) == (200, None))
    gateway.wait(gateway.drained)
    assert (sent(vendor), "a process does not go on" in gateway.log) == ({"e-1-0"}, True)
