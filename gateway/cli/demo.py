"""``gateway demo``: run the gateway against fake partners on this machine, and check what arrives."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from gateway.cli import configuration
from gateway.cli.tables import print_table
from gateway.demo.stage import PARTNERS, Stage, StageFailure, stage
from gateway.demo.story import SIGN_UP, STORY, Arrival, Step

MAX_WAIT_S = 30.0
POLL_INTERVAL_S = 0.05


@dataclass(slots=True)
class StepResult:
    """The result of one step: the answer, its duration, the calls that arrived, are missing, or were not expected."""

    step: Step
    status: int
    seconds: float
    arrived: list[Arrival] = field(default_factory=list)
    missing: list[Arrival] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """True if the answer and the calls were those expected."""
        return self.status == self.step.status and not self.missing and not self.surprises


@click.command("demo")
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the configuration, journal and logs in this directory.",
)
def command(keep: Path | None) -> None:
    """Run fake SessionM, fake Sailthru and the gateway, post realistic messages, and check the calls that arrive."""
    missing = [module.partition(".")[0] for module in PARTNERS.values() if find_spec(module.partition(".")[0]) is None]
    if missing:
        configuration.fail(f"the demo needs the shipped plugins; not installed: {', '.join(missing)}")
    try:
        with _directory(keep) as directory, stage(directory) as on_stage:
            click.echo(
                f"fake SessionM at {on_stage.partners['loyalty']}, fake Sailthru at {on_stage.partners['email']}"
            )
            click.echo(f"the gateway at {on_stage.gateway}/mparticle, its journal in SQLite\n")
            results = _perform(on_stage)
            totals = on_stage.facts()
    except (StageFailure, OSError) as error:
        configuration.fail(str(error))
    _report(results, totals)
    if keep:
        click.echo(f"kept in {keep}: try  gateway explain -c {keep / 'gateway.toml'} {SIGN_UP}")
    raise SystemExit(0 if all(one.is_good for one in results) and _adds_up(totals) else 1)


@contextmanager
def _directory(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        if (keep / "gateway.db").exists():
            configuration.fail(f"--keep: {keep} holds the journal of an earlier run; give another directory")
        yield keep.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="gateway-demo-") as directory:
        yield Path(directory)


def _perform(on_stage: Stage) -> list[StepResult]:
    """Perform the steps in order, each when nothing of the one before is in flight any more."""
    results = []
    before = dict.fromkeys(PARTNERS, 0)
    for step in STORY:
        click.echo(f"mParticle: {step.title} ... ", nl=False)
        for partner, faults in step.troubles.items():
            for fault in faults:
                on_stage.add_fault(partner, fault)
        status, _, seconds = on_stage.post(step.body, is_authorized=step.is_authorized)
        click.echo(f"answered {status} in {seconds * 1000:.0f} ms", nl=False)
        _wait_until_settled(on_stage)
        one = StepResult(step, status, seconds)
        for partner in PARTNERS:
            journal = on_stage.seen(partner)
            _compare(one, partner, journal[before[partner] :])
            before[partner] = len(journal)
        click.echo(f", {len(one.arrived)} of {len(step.arrivals)} calls arrived" if step.arrivals else "")
        results.append(one)
    return results


def _wait_until_settled(on_stage: Stage) -> None:
    """Wait until nothing is in flight, at most MAX_WAIT_S."""
    end = time.monotonic() + MAX_WAIT_S
    while any(words.get("in_flight") for words in on_stage.facts().values()) and time.monotonic() < end:
        time.sleep(POLL_INTERVAL_S)


def _compare(result: StepResult, partner: str, journal: Sequence[dict[str, Any]]) -> None:
    """Compare the calls that a partner took with those expected; reading calls (GET) are not compared."""
    entries = [entry for entry in journal if entry["method"] != "GET"]
    for arrival in result.step.arrivals:
        if arrival.partner == partner:
            found = next((entry for entry in entries if arrival.is_seen_in(entry)), None)
            (result.missing if found is None else result.arrived).append(arrival)
            if found is not None:
                entries.remove(found)
    result.surprises += [f"{entry['method']} {entry['path']}" for entry in entries]


def _adds_up(totals: dict[str, dict[str, int]]) -> bool:
    """Return whether every fact received has an outcome, on both connections."""
    ended = [sum(words.get(word, 0) for word in ("delivered", "skipped", "dead")) for words in totals.values()]
    return len(totals) == len(PARTNERS) and ended == [words["received"] for words in totals.values()]


def _report(results: Sequence[StepResult], totals: dict[str, dict[str, int]]) -> None:
    click.echo()
    print_table(
        ("mParticle", "answer", "ms", "arrived at SessionM", "arrived at Sailthru"),
        [
            (one.step.title, one.status, f"{one.seconds * 1000:.0f}", _cell(one, "loyalty"), _cell(one, "email"))
            for one in results
        ],
    )
    print_table(
        ("connection", "facts received", "delivered", "skipped", "dead", "in flight"),
        [
            (name, *(words.get(word, 0) for word in ("received", "delivered", "skipped", "dead", "in_flight")))
            for name, words in totals.items()
        ],
    )
    expected = sum(len(one.step.arrivals) for one in results)
    click.echo(f"{sum(len(one.arrived) for one in results)} of {expected} expected calls arrived.")
    for one in results:
        if one.status != one.step.status:
            click.echo(f"{one.step.title}: answered {one.status} instead of {one.step.status}")
        for arrival in one.missing:
            click.echo(f"{one.step.title}: missing {arrival.method} {arrival.path} ({arrival.means})")
        for surprise in one.surprises:
            click.echo(f"{one.step.title}: unexpected {surprise}")


def _cell(result: StepResult, partner: str) -> str:
    arrived = [arrival.means for arrival in result.arrived if arrival.partner == partner]
    return "\n".join(arrived) or "-"
