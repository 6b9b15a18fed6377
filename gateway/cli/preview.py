"""``gateway preview``: show the calls that each connection would make for a message. It stores and sends nothing."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import click

from gateway.cli import configuration
from gateway.cli.tables import describe_skip, print_table
from gateway.clock import Clock, now_ms
from gateway.deliver.coalesce import fold
from gateway.deliver.executor import Wait
from gateway.dispatch.planner import ItemPlanner, NoAccountPlanner, make_planner
from gateway.dispatch.prepare import NoLookup, Prepared, prepare
from gateway.facts import describe_fact, iter_facts
from gateway.govern.rewrite import Rewriter, load_rewriter
from gateway.journal.types import Item, KeptBack
from gateway.mparticle.firehose.accounts import read_account
from gateway.mparticle.json import Malformed
from gateway.mparticle.parts import Part
from gateway.mparticle.posts import Post, read
from gateway.plugins.connections import Connection, HostedConnection, PluginError
from gateway.plugins.watchdog import Watchdog
from gateway.sdk import Call
from gateway.settings import ConfigurationError

Shown = dict[str, Any]


@click.command("preview")
@click.argument("message", type=click.File("rb"))
@configuration.config_option
@click.option("--connection", "only", help="Only this connection.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def command(message: Any, file: Path | None, only: str | None, *, as_json: bool) -> None:
    """Show the calls that each connection would make for MESSAGE (a file, or - for standard input). Send nothing."""
    settings = configuration.load_settings(file)
    connections = configuration.load_connections(settings)
    if only is not None and only not in connections:
        configuration.fail(f"no connection named {only!r} is configured")
    try:
        body = message.read()
        post = read(body)
        planned = {name: _connect(one, post) for name, one in connections.items() if only in (None, name)}
        rules = load_rewriter(settings.rules)
    except Malformed as error:
        configuration.fail(f"{message.name}: {error}")
    except ConfigurationError as error:
        configuration.fail(error.problems)
    _print(asyncio.run(_rows(post, planned.values(), rules)), as_json=as_json)


async def _rows(post: Post, planned: Collection[tuple[Connection, ItemPlanner | None]], rules: Rewriter) -> list[Shown]:
    """Return a row for each call and skip of each connection, in the order of the message's parts."""
    return [
        shown
        for part in post.parts
        for connection, planner in planned
        for shown in await preview_part(part, post.dialect, connection, rules, planner)
    ]


def _connect(one: Connection | HostedConnection, post: Post) -> tuple[Connection, ItemPlanner | None]:
    """Return a connection and the planner it needs, for the account that the message brings.

    Raises ConfigurationError.
    """
    if isinstance(one, Connection):
        return one, None
    of = read_account(post.account)
    if of.id is None and not of.settings:
        return one.without_account(), NoAccountPlanner(one)
    try:
        return one.connect_account(of.id or "~", of.settings), None
    except PluginError as error:
        raise ConfigurationError([str(error)]) from None


async def preview_part(
    part: Part, dialect: str, connection: Connection, rules: Rewriter, planner: ItemPlanner | None = None
) -> list[Shown]:
    """Return the calls and skips that the dispatcher would plan now for one user's part of a message, in order."""
    guard = Watchdog(2.0)
    planner = planner or make_planner(connection, rules, guard, Clock())
    item = Item(
        seq=0,
        message=part.message,
        part=part.number,
        dialect=dialect,
        received_ms=now_ms(),
        facts=part.facts,
        body=part.body,
    )
    prepared = await prepare(item, {}, planner, NoLookup())
    return [] if isinstance(prepared, Wait) else list(_iter_rows(prepared, part, connection, guard))


def _iter_rows(prepared: Prepared, part: Part, connection: Connection, guard: Watchdog) -> Iterator[Shown]:
    base = {"connection": connection.name, "plugin": connection.plugin.name}
    for call in fold(connection, list(prepared.progress.open_calls()), guard):
        yield {**base, **render_call(call, connection, lane=part.user_key)}
    titles = {fact.id: describe_fact(fact) for fact in iter_facts(prepared.batch)}
    for outcome in prepared.plan.settled:
        kind = {"skipped": "skip", "dead": "dead"}[outcome.state]
        said = {
            "what": outcome.fact,
            "title": titles.get(outcome.fact),
            "cause": outcome.cause,
            "detail": outcome.detail,
        }
        yield {**base, "kind": kind, "reason": outcome.reason, **_without_empty(said)}
        yield from ({**base, **shown} for shown in _kept_back(outcome.fact, outcome.kept_back))
    for fact in prepared.plan.planned:
        for skip in fact.skips:
            said = {"what": skip.what or fact.fact, "title": titles.get(fact.fact), "cause": fact.cause}
            yield {**base, "kind": "skip", "reason": skip.reason, **_without_empty(said)}
        yield from ({**base, **shown} for shown in _kept_back(fact.fact, fact.kept_back))


def _without_empty(said: Shown) -> Shown:
    """Return a row without its empty values."""
    return {name: value for name, value in said.items() if value}


def _kept_back(fact: str, kept_back: tuple[KeptBack, ...]) -> Iterator[Shown]:
    """Yield a row for each setting by which the filter removed something from a fact."""
    for off in kept_back:
        names = {"names": list(off.names), **({"more": off.more} if off.more else {})}
        yield {"kind": "skip", "reason": "filtered", "what": fact, "cause": off.cause, **names}


def render_call(call: Call, connection: Connection, *, lane: str) -> Shown:
    """Return a call as a row: unsigned, with the connection's secrets masked."""
    shown: Shown = {
        "kind": "call",
        "method": call.method,
        "url": f"{connection.base_url}/{call.path}",
        "headers": dict(call.headers),
        "params": dict(call.params),
    }
    if call.form is not None:
        shown["form"] = dict(call.form)
    else:
        shown["json"] = call.json
    if call.file is not None:
        shown["file"] = {"field": call.file.field, "name": call.file.name, "bytes": len(call.file.content)}
    masked: Shown = connection.mask_values({**shown, "scope": call.scope, "lane": lane})
    return {**masked, "kind": "call"}


def _print(rows: list[Shown], *, as_json: bool) -> None:
    if as_json:
        for row in rows:
            click.echo(json.dumps(row, ensure_ascii=False))
        return
    if not rows:
        click.echo("no calls: the message states no facts", file=sys.stderr)
    print_table(("connection", "", "what"), [(row["connection"], row["kind"], describe_row(row)) for row in rows])


def describe_row(row: Shown) -> str:
    """Return a call or a skip as text."""
    if row["kind"] != "call":
        return describe_skip(row)
    body = row.get("form", row.get("json"))
    return f"{row['method']} {row['url']}\n{json.dumps(body, indent=2, ensure_ascii=False)}"
