"""The proof that nothing is lost, run as a command: ``nox -s crash -- --seed 6 --schedules 1000``.

A schedule is an experiment of a second or so: a gateway with a backlog in its journal, posts from mParticle, two
vendors that misbehave, and processes killed with SIGKILL at chosen moments, one to four times. Afterwards everything
that the gateway promises is checked. What there is:

=============  ==========================================================================
failpoints     the moments, and how a process comes to die there
schedules      what is drawn from a seed: posts, misbehaviours, crashes
poison         posts that cannot be stored, beside the others
vendors        the plugins' fakes, misbehaving, with a list of what reached them
engines        journals in SQLite and PostgreSQL, asked from the outside
nursery        forks the gateway's processes, so that a start takes milliseconds
gateways       one gateway: started, struck, tended, stopped
running        one schedule from beginning to end
checks         the promises
=============  ==========================================================================

A schedule that fails is told with what was broken and how to repeat it, and its directory is kept: the log of all
processes, the journal, and in ``crashes`` who died where. The status is then 1.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from crash.engines import Postgres, Sqlite, engines
from crash.failpoints import BOTH, POINTS
from crash.gateways import Nursery
from crash.running import Result, run
from crash.schedules import Schedule, draw

SLICE = 30  # each point begins one of them


def results(name: str, seed: int, numbers: Iterable[int], workers: int, until: float) -> Iterator[Result]:
    """Run these schedules, a few at a time, and yield what comes of them; none is begun when it is late."""
    waiting: SimpleQueue[int] = SimpleQueue()
    done: SimpleQueue[Result | Exception | None] = SimpleQueue()
    for number in numbers:
        waiting.put(number)
    with engines(name) as make:
        threads = [Thread(target=work, args=(make, seed, waiting, done, until), daemon=True) for _ in range(workers)]
        for thread in threads:
            thread.start()
        while threads:
            result = done.get()
            if isinstance(result, Exception):
                raise result
            if result is None:
                threads.pop()  # whichever it was
            else:
                yield result


def work(
    make: Callable[[], Sqlite | Postgres], seed: int, waiting: SimpleQueue, done: SimpleQueue, until: float
) -> None:
    """Run schedules one after another, until there are no more, or until it is late."""
    try:
        with closing(make()) as engine, closing(Nursery()) as nursery:
            while time.monotonic() < until:
                done.put(one(draw(engine.name, seed, waiting.get_nowait()), engine, nursery))
    except Empty:
        pass
    except Exception as error:  # noqa: BLE001  # a fault of the harness ends the run
        done.put(error)
    done.put(None)


def one(schedule: Schedule, engine: Sqlite | Postgres, nursery: Nursery) -> Result:
    """Run a schedule; its directory is kept where a promise was broken."""
    directory = Path(tempfile.mkdtemp(prefix=f"crash-{schedule.seed}-{schedule.number}-")).resolve()
    result = run(schedule, engine, nursery, directory)
    if result.problems:
        print(f"\n{schedule.name}: {schedule.told()}", *result.problems, f"kept: {directory}", sep="\n  ", flush=True)
    else:
        shutil.rmtree(directory)
    return result


def report(name: str, seed: int, done: list[Result], seconds: float) -> str:
    """The figures of a run, as a table."""
    crashed = Counter(point for result in done for point in result.crashed)
    planned = Counter(point for result in done for point, _ in result.schedule.crashes)
    broken = [result for result in done if result.problems]
    missed = never_passed(done)
    lines = [
        f"{name}, seed {seed}: {len(done)} schedules, {sum(crashed.values())} crashes, "
        f"{sum(result.facts for result in done)} facts, {sum(result.repeats for result in done)} calls made once more, "
        f"{sum(result.looks for result in done)} looks at the balance, {seconds:.0f} s",
        "",
        "| failpoint | crashes | planned | |",
        "| --- | ---: | ---: | --- |",
        *(
            f"| `{point}` | {crashed[point]} | {planned[point]} | {POINTS[point].what} |"
            for point in POINTS
            if name in POINTS[point].engines
        ),
        "",
        f"{len(broken)} schedules broke a promise.",
        *(f"{point} was planned {planned[point]} times, and never passed" for point in missed),
        *(f"again: nox -s crash -- --engine {name} --seed {seed} --only {one.schedule.number}" for one in broken),
    ]
    return "\n".join(lines)


def never_passed(done: list[Result]) -> list[str]:
    """Failpoints that were planned more than once and never passed: they may not be where they should be any more."""
    crashed = Counter(point for result in done for point in result.crashed)
    planned = Counter(point for result in done for point, _ in result.schedule.crashes)
    return [point for point, times in planned.items() if times > 1 and not crashed[point]]


def main() -> int:
    """Run what was asked for; the status is 1 where a promise was broken, or a failpoint was never passed."""
    parser = argparse.ArgumentParser(prog="nox -s crash --", description="Crash the gateway, again and again.")
    parser.add_argument("--engine", choices=[*BOTH, "both"], default="both", help="what keeps the journal")
    parser.add_argument("--seed", type=int, default=1, help="what schedules are drawn from")
    parser.add_argument("--schedules", type=int, default=SLICE, help="how many on each engine")
    parser.add_argument("--only", type=int, help="just this one")
    parser.add_argument("--minutes", type=float, default=60, help="when to begin no more, on each engine")
    parser.add_argument("--workers", type=int, default=2, help="how many at a time")
    asked = parser.parse_args()
    numbers = range(asked.schedules) if asked.only is None else range(asked.only, asked.only + 1)
    status = 0
    for name in BOTH if asked.engine == "both" else (asked.engine,):
        began = time.monotonic()
        until = began + 60 * asked.minutes
        done = list(results(name, asked.seed, numbers, min(asked.workers, len(numbers)), until))
        print(report(name, asked.seed, done, time.monotonic() - began), flush=True)
        status |= any(result.problems for result in done) or bool(never_passed(done))
    return status


if __name__ == "__main__":
    sys.exit(main())
