"""``gateway explain``: the outcomes of a message, an event or a user, from the ledger."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from gateway.cli import configuration
from gateway.cli.tables import describe_skip, print_table
from gateway.facts import describe_fact, iter_facts
from gateway.journal import engines
from gateway.journal.backlog import Gate
from gateway.journal.replays import Replayed
from gateway.journal.types import (
    DeliveryStatus,
    FoundBatch,
    JournalUnavailable,
    JournalUnusable,
    Outcome,
    Receipt,
    hash_ref,
)
from gateway.journal.wait_reasons import REFUSED, WaitReason
from gateway.mparticle.decoding import decode
from gateway.mparticle.identities import identity_key, make_identity
from gateway.settings import Configuration, JournalSettings

Row = dict[str, Any]

MOST = 100
USERS = ("mpid", "customer_id", "email")
NEGATIVE = re.compile(r"-\d+", re.ASCII)
HASHED = re.compile(r"(\w+)#([0-9a-f]{16})")
WAITS = {
    "shared": "it was sent in one call with others, and the destination is still at it",
    "under_way": "the destination is still at it",
    "pool_full": "more than can be made at once has gathered",
    "other_lanes": "an erasure or older work of this user or of the audience comes first",
    "limit_reached": "the rate limit is used up",
    "unreachable": "the destination cannot be reached",
    "no_descriptors": "the gateway has no file descriptor left for a call; raise the limit of open files",
    "plugin_slow": "its plugin has taken too much time from the other connections, and rests",
    "paused": "an operator has paused the connection",
    "failed": "the gateway itself failed; see its log",
}


def _id(_: click.Context, __: click.Parameter, given: str) -> str:
    """Return the ID. Raises NoSuchOption if a dash begins it and it is no negative MPID."""
    if given.startswith("-") and not NEGATIVE.fullmatch(given):
        raise click.NoSuchOption(given)
    return given


@click.command("explain", context_settings={"ignore_unknown_options": True})  # an MPID may be negative
@click.argument("id", callback=_id)
@configuration.config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: a batch on a connection.")
def command(id: str, file: Path | None, *, as_json: bool) -> None:
    """Say what became of ID.

    ID is that of a message or an event, or the source_id of either, or a user's MPID, customer_id or e-mail address, in
    any spelling. An address is hashed before it is looked for; its hash, as it is shown, finds the same.
    """
    settings = configuration.load_settings(file)
    try:
        names, found = asyncio.run(_find(settings.journal, id))
    except (JournalUnavailable, JournalUnusable) as error:
        configuration.fail(str(error))
    if not found:
        known_as = f" ({names['email']})" if "@" in id and "email" in names else ""
        configuration.fail(f"nothing is known of {id!r}{known_as}, or it is older than journal.retention_hours")
    rows = [_row(batch, sighting, by, settings) for batch, by in found for sighting in batch.sightings]
    for row in rows:
        if as_json:
            click.echo(json.dumps(row, default=str))
        else:
            _show(row)
    if len(found) >= MOST:
        click.echo(f"gateway: there is more; these are the newest {MOST}", err=True)


async def _find(of: JournalSettings, id: str) -> tuple[dict[str, str], list[tuple[FoundBatch, str]]]:
    """Return the hashed forms of the id, by kind, and what was found, each with the form that found it."""
    if not await engines.inspect(of):
        raise JournalUnusable(f"journal.url: {engines.shown(of)} does not exist yet")
    journal = await engines.open_journal(of)
    try:
        refs = _refs(id, journal.salt)
        names = {kind: f"{kind}#{ref.hex()}" for kind, ref in refs.items()}
        found: dict[int, tuple[FoundBatch, str]] = {}
        for kind, ref in refs.items():
            for batch in await journal.find([ref], limit=MOST):
                found.setdefault(batch.seq, (batch, names[kind] if kind in USERS else kind))
        return names, [found[seq] for seq in sorted(found)[-MOST:]]
    finally:
        await journal.close()


def _refs(id: str, salt: bytes) -> dict[str, bytes]:
    """Return the hashes of everything that an id may be, by kind. Users are known by the normal form of theirs."""
    hashed = HASHED.fullmatch(id.strip())
    if hashed is not None:
        return {hashed[1]: bytes.fromhex(hashed[2])}
    users = {kind: identity_key(one) for kind in USERS if (one := make_identity(kind, id)) is not None}
    return {kind: hash_ref(name, salt) for kind, name in {"id": id, **users}.items()}


def _row(batch: FoundBatch, sighting: DeliveryStatus, found_by: str, settings: Configuration) -> Row:
    state = "finished" if sighting.at_ms is not None else "in_hand" if sighting.claimed else "waiting"
    titles, is_configured = _titles(batch), configuration.is_configured(settings, sighting.connection)
    return {
        "message": batch.message,
        "part": batch.part,
        "found_by": found_by,
        "received": _time(batch.received_ms),
        "connection": sighting.connection,
        "configured": is_configured,
        "state": state,
        "at": _time(sighting.at_ms),
        "facts": [
            {
                "fact": outcome.fact,
                "title": titles.get(outcome.fact, ""),
                "word": outcome.state,
                "reason": outcome.reason,
                "cause": outcome.cause,
                "left_out": [{"what": what, "reason": reason} for what, reason in outcome.left_out],
                "kept_back": [
                    {"names": list(off.names), "more": off.more, "cause": off.cause} for off in outcome.kept_back
                ],
                "detail": outcome.detail,
            }
            for outcome in sighting.outcomes
        ],
        "due": _time(sighting.due_ms) if state == "waiting" and is_configured else None,
        "attempts": sighting.attempts,
        "reason": sighting.reason,
        "rests": None if sighting.rest is None else _rests(sighting.rest),
        "trouble": sighting.trouble,
        "document": "kept" if batch.body else "removed",
        "replay": None if batch.replayed is None else _replayed(batch.replayed),
        "receipt": None if sighting.receipt is None else _receipt(sighting.receipt, sighting.outcomes),
    }


def _rests(rest: Gate) -> Row:
    """Why nothing of the connection is sent, and until when (None: until an operator says so)."""
    return {"reason": rest.reason, "until": _time(rest.until_ms or None)}


def _replayed(replayed: Replayed) -> Row:
    """By which replay a batch is sent again, and when that began."""
    return {"id": replayed.replay, "at": _time(replayed.at_ms)}


def _receipt(receipt: Receipt, outcomes: Sequence[Outcome]) -> Row:
    """Return what an erasure did on a connection: at the partner, and here."""
    return {
        "answers": [answer for outcome in outcomes for answer in outcome.list_answers()],
        "documents_removed": receipt.documents,
        "memories_forgotten": receipt.memories,
        "touched": [
            {
                "message": touched.message,
                "part": touched.part,
                "withheld": touched.withheld,
                "document": "removed" if touched.removed else "kept",
            }
            for touched in receipt.touched
        ],
    }


def _titles(batch: FoundBatch) -> dict[str, str]:
    """Return the names of the facts of a stored batch, by id; none without a document that can be read."""
    if not batch.body:
        return {}
    try:
        decoded = decode(batch.dialect, batch.body, message=batch.message, part=batch.part)
        return {fact.id: describe_fact(fact) for fact in iter_facts(decoded)}
    except Exception:  # noqa: BLE001  # the ledger can be shown without titles, whatever the error
        return {}


def _fact(said: Row) -> str:
    return f"{said['fact']}\n{said['title']}" if said["title"] else str(said["fact"])


def _time(ms: int | None) -> str | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")


def _show(row: Row) -> None:
    """One batch on one connection, as a table."""
    title = f"{row['connection']}: message {row['message']} part {row['part']}, received {row['received']}"
    if row["replay"]:
        title += f", sent again by replay {row['replay']['id']} of {row['replay']['at']}"
    if "#" in row["found_by"]:
        title += f", found by {row['found_by']}"
    shown = [(_fact(fact), fact["word"], fact["reason"], _detail(fact)) for fact in row["facts"]]
    print_table(
        ("fact", "word", "reason", "detail"),
        shown or [("all", row["state"].replace("_", " "), row["reason"], waiting(row))],
        title=title,
    )
    if row["receipt"] is not None:
        _show_receipt(row["connection"], row["receipt"])


def _show_receipt(connection: str, receipt: Row) -> None:
    """Print the receipt of an erasure as a table of the batches that it concerned."""
    title = (
        f"{connection}: receipt of the erasure, documents removed: {receipt['documents_removed']}, "
        f"remembered values forgotten: {receipt['memories_forgotten']}"
    )
    rows = [
        (one["message"], one["part"], "withheld" if one["withheld"] else "already finished", one["document"])
        for one in receipt["touched"]
    ]
    print_table(("message", "part", "had been", "document"), rows, title=title)


def _detail(fact: Row) -> str:
    left_out = [f"{one['what']}: {one['reason']}" for one in fact["left_out"]]
    kept_back = [describe_skip({"what": "filtered", "reason": "not sent", **off}) for off in fact["kept_back"]]
    cause = [f"by {fact['cause']}"] if fact["cause"] else []
    return "\n".join([*([fact["detail"]] if fact["detail"] else []), *cause, *left_out, *kept_back])


def waits_for(reason: WaitReason) -> str:
    """Return what a reason to wait means; the reason itself, if it is a plugin's."""
    if reason.code == REFUSED:
        return f"its calls are refused ({reason.detail}): check the credentials and the address"
    return WAITS.get(reason.code, str(reason))


def waiting(row: Row) -> str:
    """Return a sentence that says why a batch waits, and until when."""
    if row["state"] != "waiting":
        return "being worked on now"
    if not row["configured"]:
        return f"{row['connection']} is {configuration.REMOVED}"
    if row["trouble"] and not row["trouble"].startswith("refused"):
        return f"{row['trouble']}; goes on once a message brings other settings"
    if row["rests"]:
        until = f" until {row['rests']['until']}" if row["rests"]["until"] else ""
        return f"nothing of the connection is sent{until}: {waits_for(row['rests']['reason'])}"
    tried = f"tried {row['attempts']} time{'s' if row['attempts'] > 1 else ''}" if row["attempts"] else ""
    why = waits_for(row["reason"])
    known = why if why != str(row["reason"]) else ""  # it stands beside it anyway
    return "; ".join(filter(None, (known, tried, f"goes on from {row['due']}")))
