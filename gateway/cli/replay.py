"""``gateway replay``: redeliver finished facts. It surveys first, and redelivers only with ``--yes``."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from gateway.cli import configuration
from gateway.cli.preview import describe_row
from gateway.cli.replay_survey import Survey, print_survey
from gateway.cli.tables import count_text, print_table
from gateway.clock import now_ms
from gateway.dispatch.replay import Pace, ReplayRunner, ReplayTargets
from gateway.govern.rewrite import load_rewriter
from gateway.ingest.backpressure import Backpressure
from gateway.journal import engines
from gateway.journal.port import Journal
from gateway.journal.replays import Replay, Selection
from gateway.journal.types import JournalUnavailable, JournalUnusable
from gateway.settings import Configuration, ConfigurationError

STATES = ("dead", "skipped", "delivered")
AGE = re.compile(r"(\d+)(m|h|d)")
UNITS_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}
DEFAULT_RATE = 100.0
MAX_SEQ = (1 << 63) - 1
REPORT_INTERVAL_S = 1.0


def _parse_time(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    """Return a time in milliseconds since 1970, given as an age (2h) or in ISO 8601, by default in UTC.

    Raises BadParameter.
    """
    if value is None:
        return None
    ago = AGE.fullmatch(value)
    if ago is not None:
        return now_ms() - int(ago[1]) * UNITS_MS[ago[2]]
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a time; give one like 2h, 3d or 2026-01-31T08:00:00Z") from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)


@click.command("replay")
@configuration.config_option
@click.option("--connection", help="Only facts of this connection; NAME/ACCOUNT for the connection of one account.")
@click.option(
    "--since",
    "since_ms",
    callback=_parse_time,
    help="Only facts accepted since then: an age such as 2h or 3d, or an ISO time.",
)
@click.option("--until", "until_ms", callback=_parse_time, help="Only facts accepted before then.")
@click.option(
    "--state",
    "--word",
    "states",
    multiple=True,
    type=click.Choice(STATES),
    help="Only facts that ended in this state; may be repeated. Default: dead.",
)
@click.option("--reason", help="Only facts that ended for this reason.")
@click.option("--message", help="Only facts of this message.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help=f"Facts a second. Default: {DEFAULT_RATE:g}.")
@click.option("--yes", is_flag=True, help="Redeliver. Without this option the command only shows what it would do.")
@click.option("--resume", metavar="ID", help="Continue a replay that was interrupted.")
@click.option("--abort", metavar="ID", help="Abort a replay: send no more of its facts.")
@click.option("--list", "lists", is_flag=True, help="List the replays in the journal.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def command(file: Path | None, *, as_json: bool, yes: bool, rate: float | None, **given: Any) -> None:
    """Redeliver finished facts: dead letters, or those in the states that --state names.

    Without --yes the command shows the selected facts, those that cannot be redelivered, and the calls that would be
    made now. Redelivered facts queue behind all that waits, in their original order, at --rate. An interrupted replay
    is paused; --resume continues it.
    """
    settings = configuration.load_settings(file)
    resume, abort, lists = (given.pop(name) for name in ("resume", "abort", "lists"))
    states = given.pop("states")
    selects = any(value is not None for value in given.values())
    if sum(map(bool, (selects, resume, abort, lists))) != 1 or (states and not selects):
        raise click.UsageError(
            "select facts by --connection, --since, --until, --reason or --message; "
            "or use --resume, --abort or --list by itself"
        )
    selection = Selection(words=tuple(dict.fromkeys(states)) or ("dead",), **given)
    try:
        if selection.connection is not None:
            _require(settings, selection.connection)
        if lists:
            _list(asyncio.run(_replays(settings)), as_json=as_json)
        elif abort:
            _abort(settings, abort)
        elif resume:
            _run_replay(settings, _find_replay(settings, resume), rate=rate, as_json=as_json)
        elif yes:
            _begin(settings, selection, rate=rate or DEFAULT_RATE, as_json=as_json)
        else:
            _survey(settings, selection, as_json=as_json)
    except (JournalUnavailable, JournalUnusable) as error:
        configuration.fail(str(error))


@asynccontextmanager
async def _open_journal(settings: Configuration) -> AsyncIterator[Journal]:
    if not await engines.inspect(settings.journal):
        raise JournalUnusable(f"journal.url: {engines.shown(settings.journal)} does not exist yet")
    journal = await engines.open_journal(settings.journal)
    try:
        yield journal
    finally:
        await journal.close()


def _require(settings: Configuration, connection: str) -> None:
    """End the command if a connection is neither configured nor known to the journal."""
    if connection in settings.connections:
        return

    async def find_known() -> set[str]:
        async with _open_journal(settings) as journal:
            names = {count.connection for count in await journal.counts()}
            return {connection} if connection in names else {name.partition("/")[0] for name in names}

    configuration.require_known(connection, settings, asyncio.run(find_known()))


async def _replays(settings: Configuration) -> list[Replay]:
    async with _open_journal(settings) as journal:
        return await journal.replays()


def _find_replay(settings: Configuration, id: str) -> Replay:
    """Return the open replay of this id; end the command if there is none."""
    found = next((one for one in asyncio.run(_replays(settings)) if one.id == id), None)
    if found is None:
        configuration.fail(f"there is no replay {id!r}; gateway replay --list lists them")
    if found.state != "open":
        configuration.fail(f"replay {id} is {found.state}")
    return found


def _list(replays: list[Replay], *, as_json: bool) -> None:
    rows = [{**msgspec.to_builtins(one), "created": _time(one.created_ms)} for one in replays]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
        return
    columns = ("id", "created", "state", "facts", "waiting")
    shown = [(*(row[name] for name in columns), json.dumps(row["selection"])) for row in rows]
    print_table(("replay", "started", "state", "facts redelivered", "batches waiting", "selection"), shown)


def _abort(settings: Configuration, id: str) -> None:
    async def abort() -> bool:
        async with _open_journal(settings) as journal:
            return await journal.abort_replay(id)

    if not asyncio.run(abort()):
        configuration.fail(f"there is no replay {id!r}; gateway replay --list lists them")
    click.echo(f"replay {id} is aborted; its facts that are not in flight are skipped, reason replay_aborted")


def _survey(settings: Configuration, selection: Selection, *, as_json: bool) -> None:
    connections = configuration.load_connections(settings)
    try:
        rules = load_rewriter(settings.rules)
    except ConfigurationError as error:
        configuration.fail(error.problems)

    async def run() -> Survey:
        async with _open_journal(settings) as journal:
            survey = Survey(journal=journal, settings=settings, connections=connections, rules=rules)
            await survey.run(selection, MAX_SEQ)
            return survey

    report = asyncio.run(run()).report()
    if as_json:
        click.echo(json.dumps(report, ensure_ascii=False))
        return
    print_survey(report)
    for call in report["first_calls"]:
        click.echo(f"{call['connection']}: {describe_row({**call, 'kind': 'call'})}")
    for row in report["after_newer"]:
        facts, name = count_text(row["facts"], "fact"), row["connection"]
        click.echo(f"gateway: {name}: {facts} would be sent after newer ones of the same users", err=True)
    able = sum(row["facts"] for row in report["selected"]) - sum(row["facts"] for row in report["cannot"])
    click.echo(
        f"{count_text(able, 'fact')} would be redelivered" + ("; run it again with --yes to redeliver" if able else "")
    )


def _begin(settings: Configuration, selection: Selection, *, rate: float, as_json: bool) -> None:
    replay = Replay(id=secrets.token_hex(4), created_ms=now_ms(), selection=selection, rate=rate)

    async def begin() -> None:
        async with _open_journal(settings) as journal:
            await journal.begin_replay(replay)

    asyncio.run(begin())
    _run_replay(settings, _find_replay(settings, replay.id), rate=None, as_json=as_json)


def _run_replay(settings: Configuration, replay: Replay, *, rate: float | None, as_json: bool) -> None:
    """Store the facts of a replay again until all are stored; say how to continue if that is interrupted."""
    replay = msgspec.structs.replace(replay, rate=rate or replay.rate)
    progress = ProgressPrinter(replay, as_json=as_json)
    try:
        finished = asyncio.run(_run(settings, replay, progress))
    except (KeyboardInterrupt, JournalUnavailable) as error:
        progress.end("paused")
        hint = f"replay {replay.id} is paused; continue it with gateway replay --resume {replay.id}"
        configuration.fail([*filter(None, [str(error)]), hint])
    progress.end("done" if finished else "aborted")


async def _run(settings: Configuration, replay: Replay, progress: ProgressPrinter) -> bool:
    async with _open_journal(settings) as journal:
        configured_, hosted = frozenset(settings.connections), settings.hosted
        runner = ReplayRunner(
            journal=journal,
            replay=replay,
            targets=ReplayTargets(journal=journal, configured=configured_, hosted=hosted),
            pace=Pace(rate=replay.rate, clock=time.monotonic, sleep=asyncio.sleep),
            now_ms=now_ms,
            find_pressure=Backpressure(settings.journal, journal).look,
            report=progress.report,
        )
        return await runner.run()


class ProgressPrinter:
    """A printer of a replay's progress, at most once a second."""

    def __init__(self, replay: Replay, *, as_json: bool) -> None:
        self._replay, self._as_json = replay, as_json
        self._printed_at = time.monotonic()
        self._stored = self._unable = 0
        if not as_json:
            click.echo(f"replay {replay.id}: at most {replay.rate:g} facts a second")

    def report(self, stored: int, unable: int, pressed: str) -> None:
        """Take the counts of facts so far, and print them if the last line is old enough."""
        self._stored, self._unable = stored, unable
        if time.monotonic() - self._printed_at >= REPORT_INTERVAL_S:
            self._printed_at = time.monotonic()
            self._print("open", pressed)

    def end(self, state: str) -> None:
        """Print the final counts and the state."""
        self._print(state, "")

    def _print(self, state: str, pressed: str) -> None:
        if self._as_json:
            row = {"replay": self._replay.id, "state": state, "facts": self._stored, "cannot": self._unable}
            click.echo(json.dumps({**row, "waits_for": pressed}))
            return
        waits = f"; waiting: {pressed}" if pressed else ""
        facts = f"{count_text(self._stored, 'fact')} redelivered, {self._unable} cannot be"
        click.echo(f"replay {self._replay.id}: {facts}{waits}" + ("" if state == "open" else f"; {state}"))


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
