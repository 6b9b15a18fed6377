"""Fuzzing, run as a command: ``nox -s fuzz -- --seed 7 --inputs 1000000``.

Strangers send the gateway bodies, heads and answers, and disks damage its journal. Each input is made from a seed, and
must end in an answer or a clear refusal: no crash, no hang, no error of the gateway's own, no fact that is not planned.

=============  ==========================================================================
targets        what a target is, and how one input is tried
mutations      documents and bytes, damaged
gateways       the gateway's parts, put together in this process
bodies         posts: read, stored, answered, planned by both plugins
heads          requests on sockets: heads, framing, pipelines
replies        partners' replies: judged by both plugins
wires          partners' answers on sockets: bytes that are hardly HTTP
journals       journals: strange values, damaged files
=============  ==========================================================================

A problem is printed with the command that repeats its input. The status is then 1.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from fuzz.bodies import Bodies
from fuzz.heads import Heads
from fuzz.journals import Journals
from fuzz.replies import Replies
from fuzz.targets import Target, try_one
from fuzz.wires import Wires

from gateway import log

TARGETS: dict[str, type[Target]] = {target.name: target for target in (Bodies, Replies, Heads, Wires, Journals)}
SLICE = 20_000
CHUNK = 250
MAX_SHOWN = 5
"""The most problems of a target that are printed."""


@dataclass(slots=True)
class Tally:
    """The outcomes of a target's inputs, and the problem of each input that had one."""

    outcomes: Counter[str] = field(default_factory=Counter)
    problems: dict[int, str] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        """Add the outcomes of other inputs."""
        self.outcomes += other.outcomes
        self.problems |= other.problems

    def describe(self) -> str:
        """Return the most frequent outcomes, each with its number."""
        return ", ".join(f"{outcome or 'closed'} {times:,}" for outcome, times in self.outcomes.most_common(6))


class Worker:
    """The targets of one process, made when they are first needed."""

    _targets: dict[str, Target]
    _directory: Path

    @classmethod
    def begin(cls, directory: str) -> None:
        """Begin a process: nothing is logged, and each has a directory of its own."""
        log.configure("json", "error", to=Path(os.devnull).open("w"))  # noqa: SIM115  # as long as the process lives
        cls._targets, cls._directory = {}, Path(directory) / str(os.getpid())

    @classmethod
    def try_inputs(cls, name: str, seed: int, numbers: range, until: float) -> Tally:
        """Try these inputs of a target, as long as it is not late."""
        if name not in cls._targets:
            cls._targets[name] = TARGETS[name](cls._directory / name)
        tally = Tally()
        for number in numbers:
            if time.monotonic() > until:
                break
            outcome, problem = try_one(cls._targets[name], seed, number)
            tally.outcomes[outcome] += 1
            if problem:
                tally.problems[number] = problem
        return tally


def chunks(inputs: int, names: list[str]) -> Iterator[tuple[str, range]]:
    """Yield the inputs of each target by its weight, a few at a time, the targets in turn."""
    whole = sum(TARGETS[name].weight for name in names)
    left = {name: range(inputs * TARGETS[name].weight // whole) for name in names}
    for _ in count():
        left = {name: numbers for name, numbers in left.items() if numbers}
        if not left:
            return
        for name, numbers in left.items():
            yield name, numbers[:CHUNK]
            left[name] = numbers[CHUNK:]


def report(tallies: dict[str, Tally], seed: int, seconds: float) -> str:
    """Return the figures of a run as a table, and its problems."""
    inputs = sum(tally.outcomes.total() for tally in tallies.values())
    problems = [(name, *problem) for name, tally in tallies.items() for problem in sorted(tally.problems.items())]
    rows = [
        f"| {name} | {tally.outcomes.total():,} | {len(tally.problems)} | {tally.describe()} |"
        for name, tally in tallies.items()
    ]
    lines = [
        f"seed {seed}: {inputs:,} inputs, {len(problems)} problems, {seconds:.0f} s",
        "",
        "| target | inputs | problems | most frequent outcomes |",
        "| --- | ---: | ---: | --- |",
        *rows,
        "",
    ]
    shown = [one for name in tallies for one in [one for one in problems if one[0] == name][:MAX_SHOWN]]
    for name, number, problem in shown:
        lines += [
            f"{name} {number}: {problem}",
            f"  again: nox -s fuzz -- --seed {seed} --target {name} --only {number}",
        ]
    return "\n".join(lines)


def main() -> int:
    """Run what was asked for; the status is 1 if an input had a problem."""
    parser = argparse.ArgumentParser(prog="nox -s fuzz --", description="Give the gateway what nobody should send.")
    parser.add_argument("--seed", type=int, default=1, help="the seed that inputs are made from")
    parser.add_argument("--inputs", type=int, default=SLICE, help="number of inputs in all")
    parser.add_argument("--target", choices=TARGETS, action="append", help="only this target; may be repeated")
    parser.add_argument("--only", type=int, help="only the input of this number")
    parser.add_argument("--seconds", type=float, default=3_600.0, help="time after which no input is begun")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="number of processes")
    asked = parser.parse_args()
    names = asked.target or list(TARGETS)
    planned = list(chunks(asked.inputs, names))
    if asked.only is not None:
        planned = [(name, range(asked.only, asked.only + 1)) for name in names]
    tallies = {name: Tally() for name in names}
    began = time.monotonic()
    until = began + asked.seconds
    with (
        tempfile.TemporaryDirectory(prefix="fuzz-", ignore_cleanup_errors=True) as directory,
        ProcessPoolExecutor(asked.workers, initializer=Worker.begin, initargs=(directory,)) as pool,
    ):
        running: dict[Future[Tally], str] = {
            pool.submit(Worker.try_inputs, name, asked.seed, numbers, until): name for name, numbers in planned
        }
        for done in as_completed(running):
            tallies[running[done]].add(done.result())
    print(report(tallies, asked.seed, time.monotonic() - began), flush=True)
    return 1 if any(tally.problems for tally in tallies.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
