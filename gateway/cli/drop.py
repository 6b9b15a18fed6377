"""``gateway drop``: drop the backlog of a connection that is no longer configured."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path

import click

from gateway.cli import configuration
from gateway.cli.tables import count_text
from gateway.dispatch.planner import list_malformed
from gateway.facts import iter_facts
from gateway.journal.engines import inspect, open_journal
from gateway.journal.types import Count, Finished, Item, JournalUnavailable, JournalUnusable, Lane, Outcome, Settlement
from gateway.mparticle.decoding import decode
from gateway.plan import make_call_id
from gateway.sdk import Batch
from gateway.settings import Configuration

AT_ONCE = 100
MAX_CALLS = 32
LATEST_MS = 2 * 3600 * 1000  # longer than any wait, and than the lease of a living process


@click.command("drop")
@click.argument("connection")
@configuration.config_option
@click.option("--yes", is_flag=True, help="Drop it. Without this option the command only says what it would drop.")
def command(connection: str, file: Path | None, *, yes: bool) -> None:
    """Drop the backlog of CONNECTION, which must no longer be configured.

    The ledger shows each of its facts as skipped, with the reason connection_removed. Erasures are dropped too: the
    partner of this connection never receives them.
    """
    settings = configuration.load_settings(file)
    if configuration.is_configured(settings, connection):
        configuration.fail(
            f"{connection!r} is configured, so its work is not dropped; remove it from the configuration"
        )
    try:
        dropped = asyncio.run(_drop(settings, connection, confirmed=yes))
    except (JournalUnavailable, JournalUnusable) as error:
        configuration.fail(str(error))
    hint = "; run it again with --yes to drop them" if dropped and not yes else ""
    click.echo(f"{count_text(dropped, 'fact')} {'dropped' if yes else 'would be dropped'}{hint}")


async def _drop(settings: Configuration, connection: str, *, confirmed: bool) -> int:
    if not await inspect(settings.journal):
        raise JournalUnusable("there is no journal yet")
    journal = await open_journal(settings.journal)
    try:
        counts = await journal.counts()
        configuration.require_known(connection, settings, {count.connection for count in counts})
        if not confirmed:
            return _waiting(counts, connection)
        await journal.take_over()  # if no gateway runs, the claims of a dead one end
        dropped = 0
        while lanes := await journal.claim(connection, now_ms=_latest_ms(), lanes=AT_ONCE, items=AT_ONCE):
            for lane in lanes:
                settlement = drop_lane(lane)
                if await journal.settle(settlement):
                    dropped += sum(one.facts for finished in settlement.finished for one in finished.outcomes)
        return dropped
    finally:
        await journal.close()


def _waiting(counts: Iterable[Count], connection: str) -> int:
    own = [count for count in counts if count.connection == connection]
    return sum(count.facts if count.state == "received" else -count.facts for count in own)


def drop_lane(lane: Lane) -> Settlement:
    """Return the settlement that drops a lane of a removed connection."""
    return Settlement(
        connection=lane.connection,
        user=lane.user,
        fence=lane.fence,
        finished=tuple(_drop_item(item, lane.connection) for item in lane.items),
        release=True,
    )


def _drop_item(item: Item, connection: str) -> Finished:
    batch = decode(item.dialect, item.body, message=item.message, part=item.part)
    outcomes = [_outcome(fact.id, batch, item, connection) for fact in iter_facts(batch)]
    outcomes = [*list_malformed(batch), *outcomes]
    if item.again is not None:
        known = {outcome.fact: outcome for outcome in outcomes}
        outcomes = [known.get(fact) or _removed(fact) for fact in item.again.facts]
    return Finished(seq=item.seq, facts=item.facts, outcomes=tuple(outcomes))


def _outcome(fact: str, batch: Batch, item: Item, connection: str) -> Outcome:
    """Return the outcome of a fact's calls if one has ended, else that the connection was removed."""
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
