"""Filters rendered as TOML for the configuration file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from gateway.govern.filter import DataFilter
from gateway.govern.kinds import ATTRIBUTES
from gateway.journal.types import DataPoint
from gateway.mparticle import names
from gateway.settings.filtering import Filter

UNDECIDED = "  # not listed so far"
UNSEEN = "  # never seen"
CLOSED = {"event_types": names.EVENTS, "commerce": names.COMMERCE}
"""Tables that take only the names that the gateway knows."""


def toml_key(name: str) -> str:
    """Return a name as a TOML key, quoted if it needs quotes."""
    if re.fullmatch(r"[A-Za-z0-9_-]+", name):
        return name
    return json.dumps(name, ensure_ascii=False).replace("\x7f", "\\u007f")


def render_filter(connection: str, configured: Filter, points: Iterable[DataPoint], filter: DataFilter) -> str:
    """Return the whole filter of a connection: every data point seen with its decision, and every configured entry."""
    tables: dict[tuple[str, ...], dict[str, str]] = {}
    unknown: set[str] = set()
    for point in points:
        if point.name not in CLOSED.get(point.kind, (point.name,)):
            unknown.add(f"# {point.kind} has no entry for {toml_key(point.name)}, which the gateway does not know\n")
            continue
        table, name = _place(point)
        decision = filter.decide(point.kind, point.name, point.attribute)
        tables.setdefault(table, {})[name] = _value(decision.is_sent) + ("" if decision.is_decided else UNDECIDED)
    for table, entries in _entries(configured).items():
        known = tables.setdefault(table, {})
        for name, is_on in entries.items():
            is_seen = name in known or name == "*"
            known[name] = _value(is_on) + ("" if is_seen else UNSEEN)
    head = f"[connections.{toml_key(connection)}.filter]\nnew_data_points = {_value(filter.default)}\n"
    head += "".join(sorted(unknown))
    return head + "".join(_table(connection, table, entries) for table, entries in sorted(tables.items()))


def _place(point: DataPoint) -> tuple[tuple[str, ...], str]:
    """Return the table that switches a data point, and its key there."""
    if point.attribute:
        return (ATTRIBUTES[point.kind], point.name), point.attribute
    return (point.kind,), point.name


def _entries(configured: Filter) -> dict[tuple[str, ...], dict[str, bool]]:
    """Return the switches of a filter by table."""
    found: dict[tuple[str, ...], dict[str, bool]] = {}
    for table, entries in configured.model_dump(exclude={"new_data_points"}).items():
        for name, value in entries.items():
            if isinstance(value, dict):
                found[table, name] = value
            else:
                found.setdefault((table,), {})[name] = value
    return found


def _table(connection: str, table: tuple[str, ...], entries: dict[str, str]) -> str:
    path = ".".join(map(toml_key, ("connections", connection, "filter", *table)))
    lines = (f"{toml_key(name)} = {value}\n" for name, value in sorted(entries.items()))
    return f"\n[{path}]\n{''.join(lines)}"


def _value(is_on: bool) -> str:  # noqa: FBT001  # the value to write
    return "true" if is_on else "false"
