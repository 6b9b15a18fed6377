"""Switches that are on or off: one table of the data filter, and what it says when it is asked why."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TypeVar

from gateway.journal.types import KeptBack

EVERY = "*"
MAX_NAMES = 10
V = TypeVar("V")


def make_setting_key(table: str, name: str) -> str:
    """The key of an entry as it may stand in the configuration file: ``filter.events."Purchase"``."""
    return f"{table}.{json.dumps(name, ensure_ascii=False)}"


class Switches:
    """One table of switches: a name is on or off as its own entry says, else as ``"*"`` does, else as ``rest`` does.

    ``rest`` comes with the setting that decides it.
    """

    def __init__(self, table: str, switches: Mapping[str, bool], rest: tuple[bool, str]) -> None:
        self._table = table
        self._switches = switches
        self._causes = {name: make_setting_key(table, name) for name in switches}
        self.decides_all = EVERY in switches
        self.rest = (switches[EVERY], self._causes[EVERY]) if self.decides_all else rest
        self._rest_table = table if self.decides_all else rest[1]
        self._is_one = not switches.keys() - {EVERY}  # the same for all names

    def is_on(self, name: str) -> bool:
        """Whether the name is sent."""
        return self._switches.get(name, self.rest[0])

    def is_decided(self, name: str) -> bool:
        """Whether an entry of the table speaks of the name, or of all names."""
        return self.decides_all or name in self._switches

    def cause(self, name: str) -> str:
        """The setting by which the name is on or off."""
        return self._causes.get(name, self.rest[1])

    def kept(self, values: Mapping[str, V]) -> dict[str, V]:
        """What of these values has a name that is on."""
        switches, rest = self._switches, self.rest[0]
        return {name: value for name, value in values.items() if switches.get(name, rest)}

    def kept_back(self, told: Iterable[str]) -> tuple[KeptBack, ...]:
        """Those of the names that are off, the first few, by what says so: the table, or the default."""
        if self._is_one:
            off = () if self.rest[0] else tuple(dict.fromkeys(told))
            return (_off(self._rest_table, off),) if off else ()
        by_cause: dict[str, list[str]] = {}
        for name in dict.fromkeys(told):
            if not self.is_on(name):
                by_cause.setdefault(self._table if name in self._switches else self._rest_table, []).append(name)
        return tuple(_off(cause, tuple(off)) for cause, off in by_cause.items())


def _off(cause: str, names: tuple[str, ...]) -> KeptBack:
    return KeptBack(cause=cause, names=names[:MAX_NAMES], more=max(0, len(names) - MAX_NAMES))


class KindSwitches:
    """A kind of event: the switches of its names, and those of each name's attributes."""

    def __init__(
        self, names: Switches, table: str, attributes: Mapping[str, Mapping[str, bool]], rest: tuple[bool, str]
    ) -> None:
        self.names = names
        self._attributes = {
            name: Switches(make_setting_key(table, name), each, rest) for name, each in attributes.items()
        }
        self._others = self._attributes.get(EVERY, Switches(table, {}, rest))

    def attributes(self, name: str) -> Switches:
        """The switches of one name's attributes."""
        return self._attributes.get(name, self._others)
