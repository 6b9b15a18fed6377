"""The black box keeps what a process did when it died, and the time that each plugin has cost the others."""

import os
import subprocess
import sys

import pytest

from gateway.plugins.blackbox import MAX_DEBT_S, MAX_MEMBERS, MAX_REST_S, SHARE, Blackbox, RunningHook, allocate_memory


@pytest.fixture
def clock():
    class Clock:
        now = 1_000.0

        def __call__(self):
            return self.now

    return Clock()


@pytest.fixture
def box(clock):
    return Blackbox(allocate_memory(), clock)


def test_it_holds_the_running_hook_until_that_ends(box):
    assert box.read_running_hook() is None
    box.note_subject(b"loyalty", b"on_reply", -7, 2**60)
    assert box.read_running_hook() is None
    box.begin_hook(12.5)
    said = RunningHook(pid=os.getpid(), since=12.5, doing="on_reply", connection="loyalty", user=-7, seq=2**60)
    assert box.read_running_hook() == said
    box.end_hook()
    assert box.read_running_hook() is None


def test_it_names_every_lane_of_a_shared_call(box):
    box.note_subject(b"loyalty", b"sign", 7, 2, (7, -8, 2**62))
    box.begin_hook(1.0)
    assert box.read_running_hook().members == (7, -8, 2**62)
    box.note_subject(b"loyalty", b"sign", 7, 2)
    assert box.read_running_hook().members == ()
    everybody = tuple(range(MAX_MEMBERS))
    box.note_subject(b"loyalty", b"sign", 0, 2, everybody)
    assert box.read_running_hook().members == everybody


def test_it_knows_the_suspects_of_each_connection(box):
    assert box.read_suspects("loyalty") == frozenset()
    many = range(-MAX_MEMBERS // 2, MAX_MEMBERS // 2)
    box.set_suspects("loyalty", [2**60 + one for one in many])
    box.set_suspects("email", (7, 8))
    assert (len(box.read_suspects("loyalty")), box.read_suspects("email")) == (MAX_MEMBERS, {7, 8})
    box.note_subject(b"email", b"sign", 1, 2, tuple(many))
    box.charge("email", 30.0)
    box.set_suspects("loyalty", ())
    assert (box.read_suspects("loyalty"), box.read_suspects("email")) == (frozenset(), {7, 8})


@pytest.mark.process
def test_it_outlives_the_process_that_wrote_it():
    descriptor = allocate_memory()
    program = f"""
import os
from gateway.plugins.blackbox import Blackbox
box = Blackbox({descriptor})
box.note_subject(b"{"c" * 40}", b"coalesce", 1, 2)
box.begin_hook(3.0)
box.charge("email", 30.0)
os._exit(1)
"""
    died = subprocess.Popen([sys.executable, "-c", program], pass_fds=(descriptor,))
    died.wait(30)
    box = Blackbox(descriptor)
    said = RunningHook(pid=died.pid, since=3.0, doing="coalesce", connection="c" * 40, user=1, seq=2)
    assert (box.read_running_hook(), box.rest_s("email") > 0) == (said, True)


def test_a_connection_rests_until_it_has_paid_off_its_debt(box, clock):
    box.charge("email", MAX_DEBT_S)
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
    descriptor = allocate_memory()
    program = f"""
from gateway.plugins.blackbox import Blackbox
box, number = Blackbox({descriptor}), 0
while True:
    number += 1
    box.note_subject(b"loyalty", b"sign", number, -number, (number,) * 8)
    box.begin_hook(float(number))
    box.end_hook()
"""
    writer = subprocess.Popen([sys.executable, "-c", program], pass_fds=(descriptor,))
    box = Blackbox(descriptor)
    try:
        seen = looked(box, 5_000)
    finally:
        writer.kill()
        writer.wait(30)
    torn = [one for one in seen if (one.user, one.seq, *one.members) != (one.since, -one.since, *[one.since] * 8)]
    assert torn == []


def looked(box, looks):
    """Return the hooks seen in so many looks that saw one."""
    seen = []
    while len(seen) < looks:
        running = box.read_running_hook()
        if running is not None:
            seen.append(running)
    return seen


@pytest.mark.process
def test_charges_and_suspects_are_read_whole_while_they_are_written():
    descriptor = allocate_memory()
    program = f"""
from gateway.plugins.blackbox import Blackbox
box, number = Blackbox({descriptor}), 0
while True:
    number += 1
    box.charge("loyalty", 1.0)
    box.set_suspects("loyalty", range(1 + number % 2 * 1000))
"""
    writer = subprocess.Popen([sys.executable, "-c", program], pass_fds=(descriptor,))
    box = Blackbox(descriptor)
    try:
        while not (box.read_suspects("loyalty") and box.rest_s("loyalty")):
            pass
        seen, looks = set(), 0
        while looks < 2_000 or len(seen) < 2:  # a busy machine may not run the writer for a while
            seen.add((len(box.read_suspects("loyalty")), box.rest_s("loyalty") > 0))
            looks += 1
    finally:
        writer.kill()
        writer.wait(30)
    assert seen == {(1, True), (1001, True)}
