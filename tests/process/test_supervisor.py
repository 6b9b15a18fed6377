"""The supervisor: addresses that are taken, and roles that cannot be started."""

import asyncio
import os
import socket
import sys
import threading

import pytest

from gateway.plugins.blackbox import RunningHook, allocate_memory
from gateway.process.heartbeat import SIZE_BYTES, Heartbeat
from gateway.process.supervisor import Child, address, bind_all, end_hung_hooks, end_stopped_process
from gateway.settings import ConfigurationError

pytestmark = pytest.mark.anyio


def test_an_address_that_another_listens_on_is_refused():
    first = bind_all("127.0.0.1:0", 2)
    taken = "{}:{}".format(*first[0].getsockname())
    with pytest.raises(ConfigurationError, match=f"ingress.bind: {taken}: Address already in use"):
        bind_all(taken, 1, patience_s=0)
    for listener in first:
        listener.close()


def test_an_address_that_is_about_to_be_free_is_waited_for():
    (before,) = bind_all("127.0.0.1:0", 1)
    leaving = threading.Timer(0.2, before.close)
    leaving.start()
    (after,) = bind_all("{}:{}".format(*before.getsockname()), 1)
    after.close()
    leaving.join()


@pytest.mark.parametrize(("bind", "family"), [("127.0.0.1:0", socket.AF_INET), ("[::1]:0", socket.AF_INET6)])
def test_several_processes_share_one_address(bind, family):
    listeners = bind_all(bind, 3)
    assert len({address(listener) for listener in listeners}) == 1
    assert {listener.family for listener in listeners} == {family}
    for listener in listeners:
        listener.close()


@pytest.mark.process
async def test_a_role_that_cannot_be_started_is_tried_again(tmp_path):
    program = tmp_path / "role"
    child = Child("ingest", [str(program)])
    keeping = asyncio.create_task(child.keep())
    await asyncio.sleep(0.05)
    assert (keeping.done(), child.process) == (False, None)
    program.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(60)\n")
    program.chmod(0o755)
    while child.process is None:
        await asyncio.sleep(0.01)
    child.stop()
    await asyncio.wait_for(keeping, 10)


class Looks:
    """A black box that returns these starts of a hook one after the other, and then the last one again."""

    def __init__(self, pid, *starts):
        self.pid, self.starts = pid, list(starts)

    def read_running_hook(self):
        since = self.starts.pop(0) if len(self.starts) > 1 else self.starts[0]
        told = {"doing": "plan", "connection": "loyalty", "user": 1, "seq": 2}
        return None if since is None else RunningHook(pid=self.pid, since=since, **told)


@pytest.mark.process
@pytest.mark.parametrize(
    ("starts", "is_ended"),
    [
        ((0.0, None), False),
        ((0.0, None, 0.0, None), False),
        ((0.0, 0.5, None), False),
        ((float("inf"), float("inf")), False),
        ((0.0, 0.0), True),
    ],
    ids=["one bad read", "two apart", "another hook", "has just begun", "hangs"],
)
async def test_a_dispatcher_is_ended_only_where_two_looks_in_a_row_see_one_hook_hang(starts, is_ended):
    child = Child("dispatch", [sys.executable, "-c", "import time; time.sleep(60)"])
    child.process = await asyncio.create_subprocess_exec(*child.command)
    box = Looks(child.process.pid, *starts)
    watching = asyncio.create_task(end_hung_hooks(child, box, 1.0, look_s=0.01))
    done, _ = await asyncio.wait([asyncio.create_task(child.process.wait())], timeout=10 if is_ended else 0.5)
    watching.cancel()
    child.kill()
    await child.process.wait()
    assert bool(done) is is_ended


async def has_ended(child, beats, *, seconds):
    """Whether the supervisor ends a process within some seconds, for being silent for longer than half a second."""
    bounds = {"max_silent_s": 0.5, "max_start_s": 1.5, "look_s": 0.05}
    watching = asyncio.create_task(end_stopped_process(child, beats, **bounds))
    done, _ = await asyncio.wait([asyncio.create_task(child.process.wait())], timeout=seconds)
    watching.cancel()
    return bool(done)


@pytest.fixture
async def child():
    made = Child("ingest", [sys.executable, "-c", "import time; time.sleep(60)"])
    made.process = await asyncio.create_subprocess_exec(*made.command)
    yield made
    made.kill()
    await made.process.wait()


@pytest.mark.process
async def test_a_process_that_stops_after_its_first_beat_is_ended_soon(child, monkeypatch):
    beats = Heartbeat(allocate_memory(SIZE_BYTES))
    monkeypatch.setattr(os, "getpid", lambda: child.process.pid)
    beats.beat()  # before the supervisor looks
    assert await has_ended(child, beats, seconds=1.2)


@pytest.mark.process
async def test_the_beats_of_a_predecessor_do_not_count(child):
    beats = Heartbeat(allocate_memory(SIZE_BYTES))
    beats.beat()
    assert not await has_ended(child, beats, seconds=1.2)


@pytest.mark.process
@pytest.mark.parametrize(
    ("beats_for_s", "seconds", "is_ended"),
    [(60, 2.5, False), (0.2, 5, True), (0, 5, True), (0, 1, False)],
    ids=["goes on", "stops", "never begins", "is about to begin"],
)
async def test_a_process_is_ended_only_if_its_heartbeat_stops(child, beats_for_s, seconds, is_ended, monkeypatch):
    beats = Heartbeat(allocate_memory(SIZE_BYTES))
    monkeypatch.setattr(os, "getpid", lambda: child.process.pid)

    async def beat():
        end = asyncio.get_running_loop().time() + beats_for_s
        while asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.1)
            beats.beat()

    beating = asyncio.create_task(beat())
    assert await has_ended(child, beats, seconds=seconds) is is_ended
    beating.cancel()
