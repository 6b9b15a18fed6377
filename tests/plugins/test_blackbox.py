"""The black box: what a process did when it died, and what each connection's plugin has cost the others."""

import os
import subprocess
import sys

import pytest

from gateway.plugins.blackbox import AT_ONCE_S, MAX_REST_S, MAX_RIDERS, SHARE, Blackbox, Running, memory


@pytest.fixture
def clock():
    class Clock:
        now = 1_000.0

        def __call__(self):
            return self.now

    return Clock()


@pytest.fixture
def box(clock):
    return Blackbox(memory(), clock)


def test_it_tells_of_the_hook_that_runs_and_of_none_once_that_has_ended(box):
    assert box.running() is None
    box.about(b"loyalty", b"on_reply", -7, 2**60)
    assert box.running() is None
    box.begins(12.5)
    said = Running(pid=os.getpid(), since=12.5, doing="on_reply", connection="loyalty", user=-7, seq=2**60)
    assert box.running() == said
    box.ended()
    assert box.running() is None


def test_it_tells_of_all_whose_call_it_is(box):
    box.about(b"loyalty", b"sign", 7, 2, (7, -8, 2**62))
    box.begins(1.0)
    assert box.running().riders == (7, -8, 2**62)
    box.about(b"loyalty", b"sign", 7, 2)
    assert box.running().riders == ()
    everybody = tuple(range(MAX_RIDERS))
    box.about(b"loyalty", b"sign", 0, 2, everybody)
    assert box.running().riders == everybody


def test_it_knows_the_suspects_of_each_connection(box):
    assert box.suspects("loyalty") == frozenset()
    many = range(-MAX_RIDERS // 2, MAX_RIDERS // 2)
    box.suspect("loyalty", [2**60 + one for one in many])
    box.suspect("email", (7, 8))
    assert (len(box.suspects("loyalty")), box.suspects("email")) == (MAX_RIDERS, {7, 8})
    box.about(b"email", b"sign", 1, 2, tuple(many))
    box.charge("email", 30.0)
    box.suspect("loyalty", ())
    assert (box.suspects("loyalty"), box.suspects("email")) == (frozenset(), {7, 8})


@pytest.mark.process
def test_it_outlives_the_process_that_wrote_it():
    descriptor = memory()
    program = f"""
import os
from gateway.plugins.blackbox import Blackbox
box = Blackbox({descriptor})
box.about(b"{"c" * 40}", b"coalesce", 1, 2)
box.begins(3.0)
box.charge("email", 30.0)
os._exit(1)
"""
    died = subprocess.Popen([sys.executable, "-c", program], pass_fds=(descriptor,))
    died.wait(30)
    box = Blackbox(descriptor)
    said = Running(pid=died.pid, since=3.0, doing="coalesce", connection="c" * 40, user=1, seq=2)
    assert (box.running(), box.rest_s("email") > 0) == (said, True)


def test_a_connection_rests_until_what_it_cost_is_the_share_that_it_may_cost(box, clock):
    box.charge("email", AT_ONCE_S)
    assert box.rest_s("email") == 0
    box.charge("email", 2.0)
    assert (box.rest_s("email"), box.rest_s("loyalty")) == (pytest.approx(2 / SHARE), 0)
    clock.now += 1 / SHARE
    assert box.rest_s("email") == pytest.approx(1 / SHARE)
    clock.now += 1_000_000
    assert box.rest_s("email") == 0


def test_no_rest_is_endless(box):
    box.charge("email", 1e9)
    assert box.rest_s("email") == MAX_REST_S


@pytest.mark.process
def test_a_reader_never_sees_a_hook_half_written():
    descriptor = memory()
    program = f"""
from gateway.plugins.blackbox import Blackbox
box, number = Blackbox({descriptor}), 0
while True:
    number += 1
    box.about(b"loyalty", b"sign", number, -number, (number,) * 8)
    box.begins(float(number))
    box.ended()
"""
    writer = subprocess.Popen([sys.executable, "-c", program], pass_fds=(descriptor,))
    box = Blackbox(descriptor)
    try:
        seen = looked(box, 5_000)
    finally:
        writer.kill()
        writer.wait(30)
    torn = [one for one in seen if (one.user, one.seq, *one.riders) != (one.since, -one.since, *[one.since] * 8)]
    assert torn == []


def looked(box, looks):
    """Return the hooks seen in so many looks that saw one."""
    seen = []
    while len(seen) < looks:
        running = box.running()
        if running is not None:
            seen.append(running)
    return seen


@pytest.mark.process
@pytest.mark.process
def test_what_a_plugin_has_cost_is_read_whole_while_it_is_written():
    descriptor = memory()
    program = f"""
from gateway.plugins.blackbox import Blackbox
box, number = Blackbox({descriptor}), 0
while True:
    number += 1
    box.charge("loyalty", 1.0)
    box.suspect("loyalty", range(1 + number % 2 * 1000))
"""
    writer = subprocess.Popen([sys.executable, "-c", program], pass_fds=(descriptor,))
    box = Blackbox(descriptor)
    try:
        while not (box.suspects("loyalty") and box.rest_s("loyalty")):
            pass
        seen = {(len(box.suspects("loyalty")), box.rest_s("loyalty") > 0) for _ in range(2_000)}
    finally:
        writer.kill()
        writer.wait(30)
    assert seen == {(1, True), (1001, True)}
