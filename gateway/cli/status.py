"""``gateway status``: what waits on each connection, for what, since when, and when it will be caught up."""

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

from gateway.cli import configured
from gateway.cli.explain import waits_for
from gateway.cli.tables import table
from gateway.journal.backlog import Backlog, Gate, Waiting
from gateway.journal.engines import inspect, open_journal
from gateway.journal.shared_limits import governing
from gateway.journal.types import Count, JournalUnavailable, JournalUnusable
from gateway.plugins.connections import connect_all
from gateway.settings import Journal as JournalSettings
from gateway.settings import Settings

Row = dict[str, Any]
UNKNOWN = "\N{EN DASH}"


@click.command("status")
@configured.option
@click.option(
    "--over", "over_s", type=click.FloatRange(0), default=3.0, help="Seconds over which the rate is measured."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: a connection.")
def command(file: Path | None, over_s: float, *, as_json: bool) -> None:
    """Say what waits on each connection, for what, since when, and when it will be caught up."""
    settings = configured.settings(file)
    try:
        seen = asyncio.run(_look(settings.journal, over_s))
    except (JournalUnavailable, JournalUnusable) as error:
        configured.fail(str(error))
    rows = [_status(seen, name, settings) for name in seen.names(settings.connections)]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
    else:
        _show(rows, is_measured=over_s > 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Facts that had come to a word before, and those received and done ``over_s`` later, with what waits then."""

    before: Counter[str]
    done: Counter[str]
    received: Counter[str]
    over_s: float
    backlog: dict[str, Backlog]
    now_ms: int

    def names(self, configured: Iterable[str]) -> list[str]:
        """The connections that are configured, or have work."""
        return sorted({*configured, *self.backlog})

    def per_second(self, name: str) -> float:
        """Return the number of a connection's facts with this word."""
        return (self.done[name] - self.before[name]) / self.over_s if self.over_s else 0.0


async def _look(of: JournalSettings, over_s: float) -> Seen:
    if not await inspect(of):
        raise JournalUnusable("there is no journal yet")
    journal = await open_journal(of)
    try:
        before = await journal.counts()
        await asyncio.sleep(over_s)
        after = await journal.counts()
        return Seen(
            before=_done(before),
            done=_done(after),
            received=Counter({count.connection: count.facts for count in after if count.state == "received"}),
            over_s=over_s,
            backlog={one.connection: one for one in await journal.backlog()},
            now_ms=time.time_ns() // 1_000_000,
        )
    finally:
        await journal.close()


def _status(seen: Seen, name: str, settings: Settings) -> Row:
    backlog = seen.backlog.get(name)
    waiting = backlog.waiting if backlog is not None else ()
    facts, per_second = seen.received[name] - seen.done[name], seen.per_second(name)
    left_ms = int(1000 * facts / per_second) if facts and per_second > 0 else None
    return {
        "connection": name,
        "configured": configured.has(settings, name),
        "facts_waiting": facts,
        "batches_waiting": backlog.batches if backlog is not None else 0,
        "lanes_waiting": sum(one.lanes for one in waiting),
        "oldest": _time(backlog.oldest_ms) if backlog is not None else None,
        "facts_per_second": round(per_second, 1),
        "caught_up": None if left_ms is None else _time(seen.now_ms + left_ms),
        "waiting": [_wait(one, seen.now_ms) for one in waiting],
        "closed": [_gate(one) for one in backlog.gates] if backlog is not None else [],
        "trouble": _unusable(name, settings) or (backlog.trouble if backlog is not None else ""),
    }


def _unusable(name: str, settings: Settings) -> str:
    """Return what keeps a configured connection from being worked on at all."""
    if name not in settings.connections:
        return ""
    return "; ".join(connect_all({name: settings.connections[name]})[1])


def _gate(one: Gate) -> Row:
    return {"scope": one.scope, "reason": one.reason, "until": _time(one.until_ms)}


def _wait(one: Waiting, now_ms: int) -> Row:
    is_put_off = not one.claimed and one.due_ms > now_ms
    return {
        "state": "in_hand" if one.claimed else "waiting",
        "reason": one.reason,
        "lanes": one.lanes,
        "until": _time(one.due_ms) if is_put_off else None,
        "attempts": one.attempts,
        "failing_since": _time(one.failing_since_ms),
    }


def _done(counts: Iterable[Count]) -> Counter[str]:
    done: Counter[str] = Counter()
    for count in counts:
        if count.state != "received":
            done[count.connection] += count.facts
    return done


def _time(ms: int) -> str | None:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds") if ms else None


def _show(rows: Sequence[Row], *, is_measured: bool) -> None:
    whole = [(row["connection"], gate) for row in rows for gate in row["closed"] if gate["scope"] is None]
    resting = {name: waits_for(gate["reason"]) for name, gate in whole}
    table(
        ("connection", "facts waiting", "users", "oldest", "facts a second", "caught up"),
        [
            (
                row["connection"],
                row["facts_waiting"],
                row["lanes_waiting"],
                row["oldest"],
                row["facts_per_second"],
                _caught_up(row, resting, is_measured=is_measured),
            )
            for row in rows
        ],
    )
    waits = [(row["connection"], *_said(one, row, resting)) for row in rows for one in row["waiting"]]
    if waits:
        table(("connection", "users", "why", "until", "tried", "failing since"), waits)
    closed = [(row["connection"], *_shut(one)) for row in rows for one in row["closed"]]
    if closed:
        table(("connection", "closed", "why", "until"), closed)
    for row in rows:
        if not row["configured"]:
            click.echo(f"{row['connection']} is {configured.REMOVED}")


def _caught_up(row: Row, resting: Mapping[str, str], *, is_measured: bool) -> str:
    """When all is done at this rate: never, where none is though nothing is in the way; unknown where something is."""
    if row["caught_up"] or not row["facts_waiting"]:
        return row["caught_up"] or ""
    is_held = not row["configured"] or row["trouble"] or row["closed"] or _resting(row, resting)
    is_free = any(not (one["reason"] or one["attempts"] or one["until"]) for one in row["waiting"])
    return "never" if is_measured and is_free and not is_held else UNKNOWN


def _said(one: Row, row: Row, resting: Mapping[str, str]) -> tuple[Any, ...]:
    why = "being worked on" if one["state"] == "in_hand" else waits_for(one["reason"]) or _turn(row, resting)
    return one["lanes"], why, one["until"], one["attempts"] or None, one["failing_since"]


def _turn(row: Row, resting: Mapping[str, str]) -> str:
    """Return why lanes wait that nobody has begun to work on: what keeps all of them, or their turn."""
    return row["trouble"] or _resting(row, resting) or "their turn"


def _resting(row: Row, resting: Mapping[str, str]) -> str:
    """Why the whole of a connection rests, or of the one that an account belongs to; empty where it does not."""
    return next((resting[name] for name in governing(row["connection"]) if name in resting), "")


def _shut(one: Row) -> tuple[Any, ...]:
    what = "all of it" if one["scope"] is None else f"the calls of {one['scope']!r}" if one["scope"] else "its calls"
    return what, waits_for(one["reason"]), one["until"] or "resumed"
