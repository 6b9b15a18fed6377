"""The watchdog: no hook holds the dispatcher for longer than it may."""

import contextlib
import time

import pytest

from gateway.watchdog import TooLong, Watchdog


def loops():
    while True:
        pass


def swallows():
    while True:
        with contextlib.suppress(Exception):
            loops()


@pytest.mark.parametrize("hook", [loops, swallows, lambda: time.sleep(60)], ids=["loops", "swallows", "sleeps"])
def test_what_does_not_end_is_interrupted(hook):
    with pytest.raises(TooLong), Watchdog(0.05):
        hook()


def test_what_ends_in_time_is_left_alone_and_so_is_what_follows():
    with Watchdog(0.05):
        pass
    time.sleep(0.1)


def test_an_error_of_the_hooks_own_comes_through():
    with pytest.raises(KeyError), Watchdog(5):
        raise KeyError
