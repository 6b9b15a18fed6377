"""The rules: which facts of a batch a connection may be sent, each refusal with its reason and its setting."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import msgspec

from gateway.facts import Fact
from gateway.govern.changes import Changes
from gateway.govern.filter import DataFilter
from gateway.govern.forwarding import EventRule, Rule, SkipReason, make_event_rules, make_input_rules, make_user_rules
from gateway.govern.governed import GovernedBatch, KeptBackNames, WithheldFact
from gateway.plugins.connections import Connection
from gateway.sdk import Audience, Batch, Event, Membership

HOUR_MS = 3_600_000
ALWAYS = frozenset({"on_erasure", "on_audience"})
AgoMs = Callable[[int], int]


class Governor:
    """One connection's rules and filter, its configuration taking precedence over its plugin's defaults."""

    def __init__(self, connection: Connection) -> None:
        key = connection.key
        defaults, configured = connection.plugin.destination.defaults, connection.configured
        self.filter = DataFilter(configured.filter, new_data_points=defaults.new_data_points, key=f"{key}.filter")
        self._about_users: tuple[Rule, ...] = tuple(make_user_rules(connection, key))
        self._about_all: tuple[Rule, ...] = (*self._about_users, *make_input_rules(connection, key))
        self._about_events: tuple[EventRule, ...] = tuple(make_event_rules(connection, key))
        self._changes = Changes(configured.changes, key)
        age = configured.max_age_hours if configured.max_age_hours is not None else defaults.max_age_hours
        self._max_age_ms = int(age * HOUR_MS) if age else None
        self._too_old = SkipReason("too_old", f"{key}.max_age_hours")
        self._passes_all = self.filter.passes_all and not self._about_events and self._max_age_ms is None

    def govern(self, batch: Batch, facts: Iterable[Fact], ago_ms: AgoMs) -> GovernedBatch:
        """Sort a batch's facts into those that may be sent, filtered and changed, and those that may not.

        ``ago_ms`` tells what time it was so many milliseconds ago.
        """
        return self._changes.apply(self._governed(batch, facts, ago_ms))

    def _governed(self, batch: Batch, facts: Iterable[Fact], ago_ms: AgoMs) -> GovernedBatch:
        refusal = self._refusal(batch)
        if refusal is None and self._passes_all:
            return GovernedBatch(batch=batch, facts=tuple(facts))
        seen = batch if self.filter.passes_all else self.filter.user(batch)
        allowed: list[Fact] = []
        withheld: list[WithheldFact] = []
        kept_back: dict[str, KeptBackNames] = {}
        for fact in facts:
            refused = self._refused(fact, batch, refusal, ago_ms)
            sifted = fact if refused or self.filter.passes_all else self._sifted(fact, batch, seen, kept_back)
            if isinstance(sifted, Fact) and not refused:
                allowed.append(sifted)
            else:
                reason, cause = refused or SkipReason("filtered", str(sifted))
                withheld.append(WithheldFact(fact=fact.id, reason=reason, cause=cause))
        visible = batch if self.filter.passes_all and not withheld else self._visible(batch, seen, allowed)
        return GovernedBatch(batch=visible, facts=tuple(allowed), withheld=tuple(withheld), kept_back=kept_back)

    def _visible(self, batch: Batch, seen: Batch, allowed: Iterable[Fact]) -> Batch:
        """The batch as the plugin may see it: nothing withheld, but every identity where one is to be forgotten."""
        if batch.erasure is not None:
            return batch
        told = [fact.arguments for fact in allowed]
        events = (said.get("event") or said.get("session") for said in told)
        return msgspec.structs.replace(
            seen,
            events=tuple(event for event in events if event is not None),
            memberships=tuple(said["membership"] for said in told if "membership" in said),
        )

    def _refusal(self, batch: Batch) -> SkipReason | None:
        """Why nothing about this user may be sent."""
        rules = self._about_users if batch.memberships else self._about_all
        return next((refusal for rule in rules if (refusal := rule(batch)) is not None), None)

    def _refused(self, fact: Fact, batch: Batch, refusal: SkipReason | None, ago_ms: AgoMs) -> SkipReason | None:
        """Why a rule keeps a fact from being sent. An erasure is a duty, and an audience is nobody's."""
        if fact.hook in ALWAYS:
            return None
        event: Event | None = fact.arguments.get("event") or fact.arguments.get("session")
        if refusal is None and event is not None and self._about_events:
            refusal = next((refused for rule in self._about_events if (refused := rule(event)) is not None), None)
        return refusal or (self._too_old if self._is_too_old(event, batch, ago_ms) else None)

    def _sifted(self, fact: Fact, batch: Batch, seen: Batch, kept_back: dict[str, KeptBackNames]) -> Fact | str:
        """The fact as the filter lets it through, or the setting by which it does not; notes what is taken out."""
        off: KeptBackNames = ()
        kept: Any = None
        name, said = next(iter(fact.arguments.items()))
        cause = ""
        if fact.hook == "on_identity":
            off, kept = self.filter.identities_off(batch), seen.identity_changes
            cause = "" if seen.user.identities or kept else off[0].cause
        elif fact.hook == "on_attributes":
            off, kept = self.filter.attributes_off(batch), seen.attribute_changes
            cause = "" if seen.user.attributes or seen.user.removed_attributes or kept else off[0].cause
        elif isinstance(said, Event):
            cause = self.filter.off(said)
            kept, off = (said, ()) if cause else self.filter.event(said)
        elif isinstance(said, (Membership, Audience)):
            cause = self.filter.audience_off(said)
            kept, off = self.filter.membership(said) if isinstance(said, Membership) and not cause else (said, ())
        else:
            return fact
        if off:
            kept_back[fact.id] = off
        return cause or (fact if kept is said else replace(fact, arguments={name: kept}))

    def _is_too_old(self, event: Event | None, batch: Batch, ago_ms: AgoMs) -> bool:
        if self._max_age_ms is None:
            return False
        time_ms = event.time_ms if event is not None and event.time_ms is not None else batch.received_ms
        return time_ms is not None and time_ms < ago_ms(self._max_age_ms)
