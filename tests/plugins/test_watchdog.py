"""The watchdog interrupts a hook that runs for too long or takes too much memory."""

import contextlib
import resource
import signal
import time

import pytest

from gateway.plugins.blackbox import MAX_DEBT_S, Blackbox, allocate_memory
from gateway.plugins.watchdog import SLOW_S, HookTimeout, Watchdog


def loops():
    while True:
        pass


def swallows():
    while True:
        with contextlib.suppress(Exception):
            loops()


@pytest.mark.parametrize("hook", [loops, swallows, lambda: time.sleep(60)], ids=["loops", "swallows", "sleeps"])
def test_what_does_not_end_is_interrupted(hook):
    with pytest.raises(HookTimeout), Watchdog(0.05):
        hook()


def test_what_ends_in_time_is_left_alone_and_so_is_what_follows():
    with Watchdog(0.05):
        pass
    time.sleep(0.1)


def test_an_error_of_the_hooks_own_comes_through():
    with pytest.raises(KeyError), Watchdog(5):
        raise KeyError


def takes_memory():
    taken = []
    while True:
        taken.append(bytearray(4 << 20))


def test_a_hook_that_takes_too_much_memory_fails_and_the_next_one_does_not():
    with pytest.raises(MemoryError), Watchdog(20, memory_bytes=32 << 20):
        takes_memory()
    assert len(bytearray(128 << 20)) == 128 << 20


def test_memory_is_bounded_where_no_file_can_be_opened_any_more():
    with Watchdog(5, memory_bytes=32 << 20):
        pass
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        with pytest.raises(MemoryError), Watchdog(20, memory_bytes=32 << 20):
            takes_memory()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_what_is_interrupted_is_named():
    with pytest.raises(HookTimeout, match=r"interrupted at test_watchdog.py:\d+ loops"), Watchdog(0.05):
        loops()


def test_a_slow_hook_is_charged_and_its_connection_rests():
    box, rests = Blackbox(allocate_memory()), []
    box.charge("email", MAX_DEBT_S)
    watchdog = Watchdog(5, box=box, connection="email", rest=rests.append)
    with watchdog:
        pass
    assert rests == []
    with watchdog:
        time.sleep(SLOW_S + 0.05)
    assert (len(rests), box.read_running_hook()) == (1, None)


def test_the_black_box_tells_what_runs():
    box = Blackbox(allocate_memory())
    watchdog = Watchdog(5, box=box, connection="email")
    watchdog.note_subject(b"plan", 3, 4)
    with watchdog:
        running = box.read_running_hook()
    assert (running.connection, running.doing, running.user, running.seq) == ("email", "plan", 3, 4)


def spin_until(end):
    """Loop in a frame of its own, as a hook does: Python 3.13 does not guard a jump back in the frame of the `with`."""
    while time.perf_counter() < end:
        pass


def test_an_alarm_that_comes_when_the_hook_has_just_ended_harms_nobody():
    watchdog, escaped = Watchdog(0.002), []
    for lead_us in range(-60, 60):
        try:
            with watchdog:
                spin_until(time.perf_counter() + 0.002 + lead_us / 1e6)
        except HookTimeout:
            pass
        except BaseException as error:  # noqa: BLE001  # that is what must not be
            escaped.append(error)
    assert escaped == []
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
