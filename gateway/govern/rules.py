"""The rules: which facts of a batch a connection may be sent, each refusal with its reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import msgspec

from gateway.destinations import Connection
from gateway.facts import Fact
from gateway.govern.filter import DataFilter
from gateway.mparticle import names
from gateway.sdk import Batch, Event

HOUR_MS = 3_600_000
ALWAYS = frozenset({"on_erasure", "on_audience"})  # a duty, and what has no user


@dataclass(frozen=True, slots=True, kw_only=True)
class Governed:
    """What may be sent: the batch as the plugin sees it, its facts, and those withheld with their reasons."""

    batch: Batch
    facts: tuple[Fact, ...]
    withheld: tuple[tuple[str, str], ...] = ()


class Governor:
    """One connection's rules and filter, its configuration taking precedence over its plugin's defaults."""

    def __init__(self, connection: Connection) -> None:
        destination, configured = connection.plugin.destination, connection.configured
        defaults = destination.defaults
        self._filter = DataFilter(configured.filter, new_data_points=defaults.new_data_points)
        login = configured.login_identities
        self._login = frozenset(map(names.identity, defaults.login_identities if login is None else login))
        age = configured.max_age_hours if configured.max_age_hours is not None else defaults.max_age_hours
        self._max_age_ms = int(age * HOUR_MS) if age else None
        self._platforms = destination.platforms

    def govern(self, batch: Batch, facts: Iterable[Fact], now_ms: int) -> Governed:
        """Sort a batch's facts into those that may be sent, filtered, and those that may not."""
        refusal = self._refusal(batch)
        seen = batch if self._filter.passes_all else self._filter.user(batch)
        allowed: list[Fact] = []
        withheld: list[tuple[str, str]] = []
        for fact in facts:
            if fact.hook in ALWAYS:
                allowed.append(fact)
                continue
            kept = None if refusal else self._kept(fact, seen)
            reason = refusal or ("filtered" if kept is None else self._too_old(fact, batch, now_ms))
            if kept is None or reason:
                withheld.append((fact.id, reason))
            else:
                allowed.append(kept)
        return Governed(batch=self._visible(batch, seen, allowed), facts=tuple(allowed), withheld=tuple(withheld))

    def _visible(self, batch: Batch, seen: Batch, allowed: Iterable[Fact]) -> Batch:
        """The batch as the plugin may see it: nothing withheld, but every identity where one is to be forgotten."""
        if batch.erasure is not None or self._filter.passes_all:
            return batch
        events = (fact.arguments.get("event") or fact.arguments.get("session") for fact in allowed)
        return msgspec.structs.replace(seen, events=tuple(event for event in events if event is not None))

    def _refusal(self, batch: Batch) -> str:
        """Why nothing about this user may be sent, or an empty string."""
        known = (identity.type for identity in batch.user.identities if identity.value.strip())
        if self._login and self._login.isdisjoint(known):
            return "not_logged_in"
        platform = batch.device.platform
        if self._platforms is not None and platform is not None and platform not in self._platforms:
            return "unsupported_platform"
        return ""

    def _kept(self, fact: Fact, seen: Batch) -> Fact | None:
        """The fact as far as the filter lets it through, or None."""
        if self._filter.passes_all:
            return fact
        if fact.hook == "on_identity":
            told = bool(seen.user.identities or seen.identity_changes)
            return replace(fact, arguments={"changes": seen.identity_changes}) if told else None
        if fact.hook == "on_attributes":
            told = bool(seen.user.attributes or seen.attribute_changes or seen.user.removed_attributes)
            return replace(fact, arguments={"changes": seen.attribute_changes}) if told else None
        for name in ("event", "session"):
            if name in fact.arguments:
                event = self._filter.event(fact.arguments[name])
                return replace(fact, arguments={name: event}) if event is not None else None
        return fact

    def _too_old(self, fact: Fact, batch: Batch, now_ms: int) -> str:
        event: Event | None = fact.arguments.get("event") or fact.arguments.get("session")
        time_ms = event.time_ms if event is not None and event.time_ms is not None else batch.received_ms
        if self._max_age_ms is None or time_ms is None or now_ms - time_ms <= self._max_age_ms:
            return ""
        return "too_old"
