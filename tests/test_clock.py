"""The wall clock is set while the gateway runs."""

import pytest

from gateway.clock import Clock

HOUR = 3_600_000
BEGIN = 1_000 * HOUR


class World:
    """The time that really passes, and the error of the wall clock."""

    def __init__(self):
        self.passed_ms = self.wrong_ms = 0
        self.clock = Clock(lambda: BEGIN + self.passed_ms + self.wrong_ms, lambda: self.passed_ms / 1000)

    def go(self, *steps):
        """Let hours pass, (+2,), or set the clock by hours, ("+2",)."""
        for step in steps:
            if isinstance(step, str):
                self.wrong_ms += int(float(step) * HOUR)
                self.clock.detect_jump()
            else:
                self.passed_ms += int(step * HOUR)

    def ago(self, hours):
        """Return the clock's time so many hours ago, in hours since the beginning."""
        return (self.clock.ago_ms(int(hours * HOUR)) - BEGIN) / HOUR


TOLD = {
    "left alone": ([5], 2, 3),
    "from before the beginning": ([1], 3, -2),
    "set forward": ([5, "+100"], 2, 3),
    "forward, and it was longer ago": ([5, "+100", 3], 2, 106),
    "forward, and more has passed than the jump": ([5, "+1", 1], 2, 4),
    "set back": ([5, "-3"], 2, 0),
    "set back, and some time later": ([5, "-3", 1], 2, 1),
    "forward and back": ([5, "+100", 1, "-100"], 3, 3),
    "back and forward": ([5, "-3", 1, "+3"], 2, 1),
    "forward twice": ([5, "+100", 1, "+10"], 3, 3),
    "forward twice, once long ago": ([5, "+100", 4, "+10"], 3, 106),
}


@pytest.mark.parametrize(("steps", "hours", "said"), TOLD.values(), ids=TOLD)
def test_a_jump_makes_nothing_older(steps, hours, said):
    world = World()
    world.go(*steps)
    assert world.ago(hours) == pytest.approx(said)


def test_a_jump_is_seen_by_whichever_method_is_called_first():
    world = World()
    world.wrong_ms = 100 * HOUR
    assert world.ago(2) == -2
    world.wrong_ms = 0
    world.ago(2)
    assert world.clock.backward_jumps == 1


def test_a_clock_that_is_corrected_in_small_steps_has_no_jump():
    world = World()
    for _ in range(3600):
        world.passed_ms += 1_000
        world.wrong_ms -= 9_000
        world.clock.detect_jump()
    assert world.clock.backward_jumps == 0
    assert world.ago(0) == -8
