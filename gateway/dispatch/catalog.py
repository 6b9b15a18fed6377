"""The catalog of data points: counts names in memory, which the dispatch role writes to the journal regularly.

It keeps names and the types of values, and never a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from gateway.govern.kinds import find_kind, list_attributes
from gateway.journal.types import DataPoint
from gateway.sdk import Batch

MAX_GROUPS = 5_000
MAX_NAMES = 1_000
MAX_NAME_CHARS = 256
USERS = frozenset({"user_attributes", "user_identities", "audiences"})
NO_VALUE = object()
TYPES = {
    str: "string",
    bool: "boolean",
    int: "number",
    float: "number",
    list: "list",
    dict: "object",
    type(None): "tag",
    type(NO_VALUE): "",
}

Key: TypeAlias = tuple[str, str, str, str]
"""Connection, input, kind and event name; the name is empty for data points of users."""
Named: TypeAlias = tuple[str, str, Mapping[str, Any]]
"""A kind, an event's name, and the values by name that came with it."""


@dataclass(slots=True)
class NameCounts:
    """The names that came under one key since the last ``take``, with how often and of what type."""

    first_ms: int
    last_ms: int
    times: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)


class Catalog:
    """Counts the names that came to the connections of a process since the last ``take``.

    It is bounded: if there are too many names, it counts those that came first.
    """

    def __init__(self) -> None:
        self._groups: dict[Key, NameCounts] = {}

    def count(self, connection: str, batch: Batch, at_ms: int) -> None:
        """Count the names in a batch."""
        input = batch.input_name or batch.device.platform or batch.channel or "unknown"
        for kind, name, values in _list_named(batch):
            group = self._find_group((connection, input[:MAX_NAME_CHARS].replace("\0", ""), kind, name), at_ms)
            if group is not None:
                _count_names(group, values, at_ms)

    def take(self) -> list[DataPoint]:
        """Return all that was counted, and start again."""
        groups, self._groups = self._groups, {}
        return [point for key, group in groups.items() for point in _list_points(key, group)]

    def give_back(self, points: Iterable[DataPoint]) -> None:
        """Add counts that could not be written to the journal."""
        for point in points:
            of_users = not point.attribute and point.kind in USERS
            name, told = ("", point.name) if of_users else (point.name, point.attribute)
            group = self._find_group((point.connection, point.input, point.kind, name), point.first_ms)
            if group is None:
                continue
            group.first_ms, group.last_ms = min(group.first_ms, point.first_ms), max(group.last_ms, point.last_ms)
            if told:
                group.counts[told] = group.counts.get(told, 0) + point.times
                group.types.setdefault(told, point.type)
            else:
                group.times += point.times

    def _find_group(self, key: Key, at_ms: int) -> NameCounts | None:
        group = self._groups.get(key)
        if group is None and len(self._groups) < MAX_GROUPS and _is_name(key[3]):
            group = self._groups[key] = NameCounts(first_ms=at_ms, last_ms=at_ms)
        return group


def _list_named(batch: Batch) -> Iterator[Named]:
    user = batch.user
    if user.attributes or batch.attribute_changes or user.removed_attributes:
        changed = {change.name: change.value for change in batch.attribute_changes}
        yield "user_attributes", "", {**dict.fromkeys(user.removed_attributes, NO_VALUE), **changed, **user.attributes}
    if user.identities or batch.identity_changes:
        known = (identity.type for identity in (*user.identities, *user.partner_identities))
        changed_types = (change.type for change in batch.identity_changes)
        yield "user_identities", "", dict.fromkeys((*known, *changed_types), NO_VALUE)
    audiences = [membership.audience_name for membership in batch.memberships]
    if audiences or batch.audience is not None:
        own = [batch.audience.name] if batch.audience is not None else []
        yield "audiences", "", dict.fromkeys((*own, *audiences), NO_VALUE)
    for event in batch.events:
        kind, name = find_kind(event)
        yield kind, name, dict(list_attributes(event)) if kind == "commerce" else event.attributes


def _count_names(group: NameCounts, values: Mapping[str, Any], at_ms: int) -> None:
    group.times += 1
    group.last_ms = max(group.last_ms, at_ms)
    counts = group.counts
    for name in values:
        if name in counts:
            counts[name] += 1
        elif name and len(counts) < MAX_NAMES and _is_name(name):
            counts[name] = 1
            group.types[name] = TYPES.get(type(values[name]), "")


def _is_name(name: str) -> bool:
    return len(name) <= MAX_NAME_CHARS and "\0" not in name


def _list_points(key: Key, group: NameCounts) -> Iterator[DataPoint]:
    connection, input, kind, name = key
    seen = group.first_ms, group.last_ms
    if kind in USERS:
        for told, times in group.counts.items():
            yield DataPoint(connection, input, kind, told, "", group.types[told], *seen, times)
        return
    yield DataPoint(connection, input, kind, name, "", "", *seen, group.times)
    for attribute, times in group.counts.items():
        yield DataPoint(connection, input, kind, name, attribute, group.types[attribute], *seen, times)
