"""``gateway replay``: send again what has had its word, told first and done with ``--yes``."""

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

from gateway.cli import configured
from gateway.cli.preview import sentence
from gateway.cli.replay_survey import Survey, show
from gateway.cli.tables import counted, table
from gateway.clock import now_ms
from gateway.dispatch.replay import Pace, ReplayRunner, Targets
from gateway.govern.rewrite import load_rewriter
from gateway.ingest.backpressure import Backpressure
from gateway.journal import engines
from gateway.journal.port import Journal
from gateway.journal.replays import Replay, Selection
from gateway.journal.types import JournalUnavailable, JournalUnusable
from gateway.settings import ConfigurationError, Settings

WORDS = ("dead", "skipped", "delivered")
AGO = re.compile(r"(\d+)(m|h|d)")
UNITS_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}
RATE = 100.0
EVERYTHING = (1 << 63) - 1
TELL_EVERY_S = 1.0


def _moment(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    """A time in milliseconds since 1970: so long ago, or as ISO 8601 says, in UTC unless that says otherwise."""
    if value is None:
        return None
    ago = AGO.fullmatch(value)
    if ago is not None:
        return now_ms() - int(ago[1]) * UNITS_MS[ago[2]]
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no time; give one like 2h, 3d or 2026-01-31T08:00:00Z") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


@click.command("replay")
@configured.option
@click.option("--connection", help="Only what was for this connection; for an account's, NAME/ACCOUNT.")
@click.option(
    "--since", "since_ms", callback=_moment, help="Only what was accepted from then on: 2h, 3d (ago), or an ISO time."
)
@click.option("--until", "until_ms", callback=_moment, help="Only what was accepted before then.")
@click.option("--word", "words", multiple=True, type=click.Choice(WORDS), help="What it came to; dead if not given.")
@click.option("--reason", help="Only what came to it for this reason.")
@click.option("--message", help="Only what this message holds.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help=f"Facts a second; {RATE:g} if not given.")
@click.option("--yes", is_flag=True, help="Do it; without this it is only said what would be done.")
@click.option("--resume", metavar="ID", help="Go on with a replay that was interrupted.")
@click.option("--abort", metavar="ID", help="Send nothing more of a replay.")
@click.option("--list", "lists", is_flag=True, help="List the replays that are known.")
@click.option("--json", "as_json", is_flag=True, help="JSON objects, one a line.")
def command(file: Path | None, *, as_json: bool, yes: bool, rate: float | None, **given: Any) -> None:
    """Send again facts that have had their word: dead letters, unless --word says otherwise.

    Without --yes it says which facts, what cannot be sent again, and which calls would be made now. They go behind
    whatever waits, in the order in which they came, at --rate. Interrupted, a replay is paused: --resume goes on.
    """
    settings = configured.settings(file)
    resume, abort, lists = (given.pop(name) for name in ("resume", "abort", "lists"))
    words = given.pop("words")
    selects = any(value is not None for value in given.values())
    if sum(map(bool, (selects, resume, abort, lists))) != 1 or (words and not selects):
        raise click.UsageError(
            "say what to replay, by --connection, --since, --until, --reason or --message; "
            "or give one of --resume, --abort and --list alone"
        )
    selection = Selection(words=tuple(dict.fromkeys(words)) or ("dead",), **given)
    try:
        if selection.connection is not None:
            _require(settings, selection.connection)
        if lists:
            _list(asyncio.run(_replays(settings)), as_json=as_json)
        elif abort:
            _abort(settings, abort)
        elif resume:
            _pump(settings, _known(settings, resume), rate=rate, as_json=as_json)
        elif yes:
            _begin(settings, selection, rate=rate or RATE, as_json=as_json)
        else:
            _survey(settings, selection, as_json=as_json)
    except (JournalUnavailable, JournalUnusable) as error:
        configured.fail(str(error))


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Journal]:
    if not await engines.inspect(settings.journal):
        raise JournalUnusable(f"journal.url: {engines.shown(settings.journal)} does not exist yet")
    journal = await engines.open_journal(settings.journal)
    try:
        yield journal
    finally:
        await journal.close()


def _require(settings: Settings, connection: str) -> None:
    """End the command where a connection is neither configured, nor the journal has had anything for it."""
    if connection in settings.connections:
        return

    async def known() -> set[str]:
        async with _opened(settings) as journal:
            names = {count.connection for count in await journal.counts()}
            return {connection} if connection in names else {name.partition("/")[0] for name in names}

    configured.require(connection, settings, asyncio.run(known()))


async def _replays(settings: Settings) -> list[Replay]:
    async with _opened(settings) as journal:
        return await journal.replays()


def _known(settings: Settings, id: str) -> Replay:
    """The replay of this id, to go on with; the command ends where there is none."""
    found = next((one for one in asyncio.run(_replays(settings)) if one.id == id), None)
    if found is None:
        configured.fail(f"there is no replay {id!r}; gateway replay --list lists them")
    if found.state != "open":
        configured.fail(f"replay {id} is {found.state}")
    return found


def _list(replays: list[Replay], *, as_json: bool) -> None:
    rows = [{**msgspec.to_builtins(one), "created": _time(one.created_ms)} for one in replays]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
        return
    columns = ("id", "created", "state", "facts", "waiting")
    shown = [(*(row[name] for name in columns), json.dumps(row["selection"])) for row in rows]
    table(("replay", "began", "state", "facts stored again", "batches waiting", "selection"), shown)


def _abort(settings: Settings, id: str) -> None:
    async def abort() -> bool:
        async with _opened(settings) as journal:
            return await journal.abort_replay(id)

    if not asyncio.run(abort()):
        configured.fail(f"there is no replay {id!r}; gateway replay --list lists them")
    click.echo(f"replay {id} is aborted; what is not under way is skipped, reason replay_aborted")


def _survey(settings: Settings, selection: Selection, *, as_json: bool) -> None:
    connections = configured.connections(settings)
    try:
        rules = load_rewriter(settings.rules)
    except ConfigurationError as error:
        configured.fail(error.problems)

    async def run() -> Survey:
        async with _opened(settings) as journal:
            survey = Survey(journal=journal, settings=settings, connections=connections, rules=rules)
            await survey.run(selection, EVERYTHING)
            return survey

    told = asyncio.run(run()).told()
    if as_json:
        click.echo(json.dumps(told, ensure_ascii=False))
        return
    show(told)
    for call in told["first_calls"]:
        click.echo(f"{call['connection']}: {sentence({**call, 'kind': 'call'})}")
    for row in told["after_newer"]:
        facts, name = counted(row["facts"], "fact"), row["connection"]
        click.echo(f"gateway: {name}: {facts} would be sent after newer ones of the same users", err=True)
    able = sum(row["facts"] for row in told["selected"]) - sum(row["facts"] for row in told["cannot"])
    click.echo(f"{counted(able, 'fact')} would be sent again" + ("; do it with --yes" if able else ""))


def _begin(settings: Settings, selection: Selection, *, rate: float, as_json: bool) -> None:
    replay = Replay(id=secrets.token_hex(4), created_ms=now_ms(), selection=selection, rate=rate)

    async def begin() -> None:
        async with _opened(settings) as journal:
            await journal.begin_replay(replay)

    asyncio.run(begin())
    _pump(settings, _known(settings, replay.id), rate=None, as_json=as_json)


def _pump(settings: Settings, replay: Replay, *, rate: float | None, as_json: bool) -> None:
    """Store what a replay selects until all is stored; interrupted, it says how to go on."""
    replay = msgspec.structs.replace(replay, rate=rate or replay.rate)
    progress = Progress(replay, as_json=as_json)
    try:
        finished = asyncio.run(_run(settings, replay, progress))
    except (KeyboardInterrupt, JournalUnavailable) as error:
        progress.end("paused")
        hint = f"replay {replay.id} is paused; go on with gateway replay --resume {replay.id}"
        configured.fail([*filter(None, [str(error)]), hint])
    progress.end("done" if finished else "aborted")


async def _run(settings: Settings, replay: Replay, progress: Progress) -> bool:
    async with _opened(settings) as journal:
        configured_, hosted = frozenset(settings.connections), settings.hosted
        pump = ReplayRunner(
            journal=journal,
            replay=replay,
            targets=Targets(journal=journal, configured=configured_, hosted=hosted),
            pace=Pace(rate=replay.rate, clock=time.monotonic, sleep=asyncio.sleep),
            now_ms=now_ms,
            find_pressure=Backpressure(settings.journal, journal).look,
            report=progress.tell,
        )
        return await pump.run()


class Progress:
    """The progress of a replay, printed now and then."""

    def __init__(self, replay: Replay, *, as_json: bool) -> None:
        self._replay, self._as_json = replay, as_json
        self._said = time.monotonic()
        self._stored = self._unable = 0
        if not as_json:
            click.echo(f"replay {replay.id}: at most {replay.rate:g} facts a second")

    def tell(self, stored: int, unable: int, pressed: str) -> None:
        """Hear how far it has come."""
        self._stored, self._unable = stored, unable
        if time.monotonic() - self._said >= TELL_EVERY_S:
            self._said = time.monotonic()
            self._say("open", pressed)

    def end(self, state: str) -> None:
        """Say what it came to."""
        self._say(state, "")

    def _say(self, state: str, pressed: str) -> None:
        if self._as_json:
            row = {"replay": self._replay.id, "state": state, "facts": self._stored, "cannot": self._unable}
            click.echo(json.dumps({**row, "waits_for": pressed}))
            return
        waits = f"; it waits: {pressed}" if pressed else ""
        facts = f"{counted(self._stored, 'fact')} stored again, {self._unable} cannot be"
        click.echo(f"replay {self._replay.id}: {facts}{waits}" + ("" if state == "open" else f"; {state}"))


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
