"""``gateway status``: show the backlog of each connection, its age and reason, and when it will be empty."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from gateway.cli import configuration
from gateway.cli.explain import waits_for
from gateway.cli.tables import print_table
from gateway.journal.backlog import Backlog, Gate, Waiting
from gateway.journal.engines import inspect, open_journal
from gateway.journal.shared_limits import governing
from gateway.journal.types import Count, JournalUnavailable, JournalUnusable
from gateway.plugins.connections import connect_all
from gateway.settings import Configuration, JournalSettings

Row = dict[str, Any]
UNKNOWN = "\N{EN DASH}"


@click.command("status")
@configuration.config_option
@click.option("--over", "over_s", type=click.FloatRange(0), default=3.0, help="Seconds over which to measure the rate.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for each connection.")
def command(file: Path | None, over_s: float, *, as_json: bool) -> None:
    """Show the backlog of each connection, its age and reason, and when it will be empty."""
    settings = configuration.load_settings(file)
    try:
        measured = asyncio.run(_measure(settings.journal, over_s))
    except (JournalUnavailable, JournalUnusable) as error:
        configuration.fail(str(error))
    rows = [_status(measured, name, settings) for name in measured.names(settings.connections)]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row, default=str))
    else:
        _show(rows, is_measured=over_s > 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Facts by connection: finished ``before``, finished and received ``over_s`` later, and the backlog then."""

    before: Counter[str]
    done: Counter[str]
    received: Counter[str]
    over_s: float
    backlog: dict[str, Backlog]
    now_ms: int

    def names(self, configured: Iterable[str]) -> list[str]:
        """Return the connections that are configured or have a backlog, sorted."""
        return sorted({*configured, *self.backlog})

    def per_second(self, name: str) -> float:
        """Return how many facts of a connection are finished a second."""
        return (self.done[name] - self.before[name]) / self.over_s if self.over_s else 0.0


async def _measure(of: JournalSettings, over_s: float) -> Measurement:
    if not await inspect(of):
        raise JournalUnusable("there is no journal yet")
    journal = await open_journal(of)
    try:
        before = await journal.counts()
        await asyncio.sleep(over_s)
        after = await journal.counts()
        return Measurement(
            before=_count_finished(before),
            done=_count_finished(after),
            received=Counter({count.connection: count.facts for count in after if count.state == "received"}),
            over_s=over_s,
            backlog={one.connection: one for one in await journal.backlog()},
            now_ms=time.time_ns() // 1_000_000,
        )
    finally:
        await journal.close()


def _status(measured: Measurement, name: str, settings: Configuration) -> Row:
    backlog = measured.backlog.get(name)
    waiting = backlog.waiting if backlog is not None else ()
    facts, per_second = measured.received[name] - measured.done[name], measured.per_second(name)
    left_ms = int(1000 * facts / per_second) if facts and per_second > 0 else None
    return {
        "connection": name,
        "configured": configuration.is_configured(settings, name),
        "facts_waiting": facts,
        "batches_waiting": backlog.batches if backlog is not None else 0,
        "lanes_waiting": sum(one.lanes for one in waiting),
        "oldest": _time(backlog.oldest_ms) if backlog is not None else None,
        "facts_per_second": round(per_second, 1),
        "caught_up": None if left_ms is None else _time(measured.now_ms + left_ms),
        "waiting": [_wait(one, measured.now_ms) for one in waiting],
        "closed": [_gate(one) for one in backlog.gates] if backlog is not None else [],
        "trouble": _find_problems(name, settings) or (backlog.trouble if backlog is not None else ""),
    }


def _find_problems(name: str, settings: Configuration) -> str:
    """Return the problems that keep a configured connection from working, as one text."""
    if name not in settings.connections:
        return ""
    return "; ".join(connect_all({name: settings.connections[name]})[1])


def _gate(one: Gate) -> Row:
    return {"scope": one.scope, "reason": one.reason, "until": _time(one.until_ms)}


def _wait(one: Waiting, now_ms: int) -> Row:
    is_delayed = not one.claimed and one.due_ms > now_ms
    return {
        "state": "in_hand" if one.claimed else "waiting",
        "reason": one.reason,
        "lanes": one.lanes,
        "until": _time(one.due_ms) if is_delayed else None,
        "attempts": one.attempts,
        "failing_since": _time(one.failing_since_ms),
    }


def _count_finished(counts: Iterable[Count]) -> Counter[str]:
    done: Counter[str] = Counter()
    for count in counts:
        if count.state != "received":
            done[count.connection] += count.facts
    return done


def _time(ms: int) -> str | None:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds") if ms else None


def _show(rows: Sequence[Row], *, is_measured: bool) -> None:
    whole = [(row["connection"], gate) for row in rows for gate in row["closed"] if gate["scope"] is None]
    closed_for = {name: waits_for(gate["reason"]) for name, gate in whole}
    print_table(
        ("connection", "facts waiting", "users", "oldest", "facts a second", "caught up"),
        [
            (
                row["connection"],
                row["facts_waiting"],
                row["lanes_waiting"],
                row["oldest"],
                row["facts_per_second"],
                _caught_up(row, closed_for, is_measured=is_measured),
            )
            for row in rows
        ],
    )
    waits = [(row["connection"], *_waiting_row(one, row, closed_for)) for row in rows for one in row["waiting"]]
    if waits:
        print_table(("connection", "users", "why", "until", "tried", "failing since"), waits)
    closed = [(row["connection"], *_closed_row(one)) for row in rows for one in row["closed"]]
    if closed:
        print_table(("connection", "closed", "why", "until"), closed)
    for row in rows:
        if not row["configured"]:
            click.echo(f"{row['connection']} is {configuration.REMOVED}")


def _caught_up(row: Row, closed_for: Mapping[str, str], *, is_measured: bool) -> str:
    """Return when the backlog will be empty: "never" if nothing moves without a reason, a dash if that is unknown."""
    if row["caught_up"] or not row["facts_waiting"]:
        return row["caught_up"] or ""
    is_held = not row["configured"] or row["trouble"] or row["closed"] or _closed_reason(row, closed_for)
    is_free = any(not (one["reason"] or one["attempts"] or one["until"]) for one in row["waiting"])
    return "never" if is_measured and is_free and not is_held else UNKNOWN


def _waiting_row(one: Row, row: Row, closed_for: Mapping[str, str]) -> tuple[Any, ...]:
    why = "in progress" if one["state"] == "in_hand" else waits_for(one["reason"]) or _why_unstarted(row, closed_for)
    return one["lanes"], why, one["until"], one["attempts"] or None, one["failing_since"]


def _why_unstarted(row: Row, closed_for: Mapping[str, str]) -> str:
    """Return why unclaimed lanes wait: the problem of the whole connection, or their turn."""
    return row["trouble"] or _closed_reason(row, closed_for) or "their turn"


def _closed_reason(row: Row, closed_for: Mapping[str, str]) -> str:
    """Return why a whole connection waits, or the one that its account belongs to; empty if it does not."""
    return next((closed_for[name] for name in governing(row["connection"]) if name in closed_for), "")


def _closed_row(one: Row) -> tuple[Any, ...]:
    what = {None: "all calls", "": "calls without a scope"}.get(one["scope"], f"calls of scope {one['scope']!r}")
    return what, waits_for(one["reason"]), one["until"] or "resumed"
