"""A target of fuzzing: tries one input after another, and finds what breaks a promise."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import FrameType
from typing import Protocol

HANG_S = 20.0
"""An input that takes so much processor time hangs."""


class Finding(Exception):
    """An input that broke a promise. The message says which."""


class Hang(BaseException):
    """An input took too long. It is no Exception, so that no ``except Exception`` in the gateway hides it."""


class Target(Protocol):
    """Part of the gateway that takes inputs from strangers. Make one with an empty directory of its own."""

    name: str
    weight: int
    """Its inputs among a thousand."""

    def __init__(self, directory: Path) -> None: ...

    def try_input(self, random: Random) -> str:
        """Try an input made of these random numbers. Return its outcome in a word. Raises Finding."""

    def close(self) -> None:
        """Release what the target holds."""


def random_of(seed: int, target: str, number: int) -> Random:
    """Return the random numbers of one input."""
    return Random(f"{seed}/{target}/{number}")


@contextmanager
def watching() -> Iterator[None]:
    """Raise Hang inside if that takes more than HANG_S of processor time."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGPROF, interrupt)
    signal.setitimer(signal.ITIMER_PROF, HANG_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def try_one(target: Target, seed: int, number: int) -> tuple[str, str]:
    """Try one input of a target. Return its outcome, and the problem ("" if there is none)."""
    try:
        with watching():
            return target.try_input(random_of(seed, target.name, number)), ""
    except Hang:
        return "hang", f"it took more than {HANG_S} seconds of processor time"
    except Finding as found:
        return "finding", str(found)
    except Exception as error:  # noqa: BLE001  # nothing may be raised, whatever the input
        return "crash", describe(error)


def describe(error: BaseException) -> str:
    """Return an error with the place that raised it."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        place, trace = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}", trace.tb_next
    return f"{type(error).__name__} at {place}: {error}"[:500]
