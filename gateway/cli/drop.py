"""``gateway drop``: give up what waits for a connection that is no longer configured."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path

import click

from gateway.cli import configured
from gateway.cli.tables import counted
from gateway.facts import iter_facts
from gateway.journal.engines import inspect, open_journal
from gateway.journal.types import Count, Finished, Item, JournalUnavailable, JournalUnusable, Lane, Outcome, Settlement
from gateway.mparticle.decoding import decode
from gateway.plan import make_call_id
from gateway.sdk import Batch
from gateway.settings import Settings

AT_ONCE = 100
MAX_CALLS = 32
LATEST_MS = 2 * 3600 * 1000  # nothing waits for longer at a time, and no lease of a living process ends so early


@click.command("drop")
@click.argument("connection")
@configured.option
@click.option("--yes", is_flag=True, help="Do it; without this it is only said what would be dropped.")
def command(connection: str, file: Path | None, *, yes: bool) -> None:
    """Give up what waits for CONNECTION, which must not be configured any more.

    Each of its facts gets the word skipped in the ledger, with the reason connection_removed. Wishes to be forgotten
    are dropped too: the connection's partner is told nothing any more.
    """
    settings = configured.settings(file)
    if configured.has(settings, connection):
        configured.fail(f"{connection!r} is configured, so its work is not dropped; remove it from the configuration")
    try:
        dropped = asyncio.run(_drop(settings, connection, does=yes))
    except (JournalUnavailable, JournalUnusable) as error:
        configured.fail(str(error))
    hint = "; do it with --yes" if dropped and not yes else ""
    click.echo(f"{counted(dropped, 'fact')} {'dropped' if yes else 'would be dropped'}{hint}")


async def _drop(settings: Settings, connection: str, *, does: bool) -> int:
    if not await inspect(settings.journal):
        raise JournalUnusable("there is no journal yet")
    journal = await open_journal(settings.journal)
    try:
        counts = await journal.counts()
        configured.require(connection, settings, {count.connection for count in counts})
        if not does:
            return _waiting(counts, connection)
        await journal.take_over()  # where no gateway runs, what a dead one held is free again
        dropped = 0
        while lanes := await journal.claim(connection, now_ms=_latest_ms(), lanes=AT_ONCE, items=AT_ONCE):
            for lane in lanes:
                settlement = given_up(lane)
                if await journal.settle(settlement):
                    dropped += sum(len(finished.outcomes) for finished in settlement.finished)
        return dropped
    finally:
        await journal.close()


def _waiting(counts: Iterable[Count], connection: str) -> int:
    own = [count for count in counts if count.connection == connection]
    return sum(count.facts if count.state == "received" else -count.facts for count in own)


def given_up(lane: Lane) -> Settlement:
    """Return the settlement of a lane of a removed connection."""
    return Settlement(
        connection=lane.connection,
        user=lane.user,
        fence=lane.fence,
        finished=tuple(_given_up(item, lane.connection) for item in lane.items),
        release=True,
    )


def _given_up(item: Item, connection: str) -> Finished:
    batch = decode(item.dialect, item.body, message=item.message, part=item.part)
    words = [_word(fact.id, batch, item, connection) for fact in iter_facts(batch)]
    unread = [Outcome(fact=q.id, state="dead", reason="malformed", detail=q.problem) for q in batch.quarantined]
    told = [*unread, *words]
    if item.again is not None:
        known = {word.fact: word for word in told}
        told = [known.get(fact) or _removed(fact) for fact in item.again.facts]
    return Finished(seq=item.seq, facts=item.facts, outcomes=tuple(told))


def _word(fact: str, batch: Batch, item: Item, connection: str) -> Outcome:
    """Return the outcome of a fact's calls if any has ended, else that it is given up."""
    replay = "" if item.again is None else item.again.replay
    ids = (make_call_id(batch, connection, fact, position, replay) for position in range(MAX_CALLS))
    ends = [item.progress[id] for id in ids if "word" in item.progress.get(id, ())]
    for end in sorted(ends, key=lambda end: ("dead", "delivered", "skipped").index(end["word"])):
        return Outcome(fact=fact, state=end["word"], reason=end.get("reason", ""), detail=end.get("detail", ""))
    return _removed(fact)


def _removed(fact: str) -> Outcome:
    return Outcome(fact=fact, state="skipped", reason="connection_removed")


def _latest_ms() -> int:
    return time.time_ns() // 1_000_000 + LATEST_MS
