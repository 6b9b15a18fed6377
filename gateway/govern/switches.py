"""Switches: the tables of the data filter, in which names are on or off."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TypeVar

from gateway.journal.types import KeptBack

EVERY = "*"
MAX_NAMES = 10
V = TypeVar("V")


def make_setting_key(table: str, name: str) -> str:
    """Return the key of an entry as the configuration file may have it: ``filter.events."Purchase"``."""
    return f"{table}.{json.dumps(name, ensure_ascii=False)}"


class Switches:
    """One table of switches. A name's own entry decides, else the entry ``"*"``, else ``rest``.

    ``rest`` comes with the setting that decides it.
    """

    def __init__(self, table: str, switches: Mapping[str, bool], rest: tuple[bool, str]) -> None:
        self._table = table
        self._switches = switches
        self._causes = {name: make_setting_key(table, name) for name in switches}
        self.decides_all = EVERY in switches
        self.rest = (switches[EVERY], self._causes[EVERY]) if self.decides_all else rest
        self._rest_table = table if self.decides_all else rest[1]
        self._is_uniform = not switches.keys() - {EVERY}

    def is_on(self, name: str) -> bool:
        """Return whether the name is sent."""
        return self._switches.get(name, self.rest[0])

    def is_decided(self, name: str) -> bool:
        """Return whether an entry of the table decides on the name, or on all names."""
        return self.decides_all or name in self._switches

    def find_setting(self, name: str) -> str:
        """Return the setting that decides on the name."""
        return self._causes.get(name, self.rest[1])

    def keep(self, values: Mapping[str, V]) -> dict[str, V]:
        """Return the values whose names are on."""
        switches, rest = self._switches, self.rest[0]
        return {name: value for name, value in values.items() if switches.get(name, rest)}

    def list_off(self, found: Iterable[str]) -> tuple[KeptBack, ...]:
        """Return the first few of the names that are off, by what decides: the table, or the default."""
        if self._is_uniform:
            off = () if self.rest[0] else tuple(dict.fromkeys(found))
            return (_make_kept_back(self._rest_table, off),) if off else ()
        by_cause: dict[str, list[str]] = {}
        for name in dict.fromkeys(found):
            if not self.is_on(name):
                by_cause.setdefault(self._table if name in self._switches else self._rest_table, []).append(name)
        return tuple(_make_kept_back(cause, tuple(off)) for cause, off in by_cause.items())


def _make_kept_back(cause: str, names: tuple[str, ...]) -> KeptBack:
    return KeptBack(cause=cause, names=names[:MAX_NAMES], more=max(0, len(names) - MAX_NAMES))


class KindSwitches:
    """The switches of a kind of event: those of its names, and those of each name's attributes."""

    def __init__(
        self, names: Switches, table: str, attributes: Mapping[str, Mapping[str, bool]], rest: tuple[bool, str]
    ) -> None:
        self.names = names
        self._attributes = {
            name: Switches(make_setting_key(table, name), each, rest) for name, each in attributes.items()
        }
        self._default = self._attributes.get(EVERY, Switches(table, {}, rest))

    def find_attributes(self, name: str) -> Switches:
        """Return the switches of one name's attributes."""
        return self._attributes.get(name, self._default)
