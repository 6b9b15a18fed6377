"""The governor: decides which facts of a batch a connection may be sent, with the reason and setting if not."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from msgspec.structs import replace

from gateway.facts import Fact
from gateway.govern.changes import Changes
from gateway.govern.decisions import GovernedBatch, KeptBackNames, WithheldFact
from gateway.govern.filter import DataFilter
from gateway.govern.forwarding import EventRule, Rule, SkipReason, make_event_rules, make_input_rules, make_user_rules
from gateway.plugins.connections import Connection
from gateway.sdk import Audience, Batch, Event, Membership

HOUR_MS = 3_600_000
ALWAYS = frozenset({"on_erasure", "on_audience", "on_alias"})
AgoMs = Callable[[int], int]


class Governor:
    """The rules, filter and changes of one connection. Its configuration precedes its plugin's defaults."""

    def __init__(self, connection: Connection) -> None:
        key = connection.key
        defaults, configured = connection.plugin.destination.defaults, connection.configured
        self.filter = DataFilter(configured.filter, new_data_points=defaults.new_data_points, key=f"{key}.filter")
        self._user_rules: tuple[Rule, ...] = tuple(make_user_rules(connection, key))
        self._batch_rules: tuple[Rule, ...] = (*self._user_rules, *make_input_rules(connection, key))
        self._event_rules: tuple[EventRule, ...] = tuple(make_event_rules(connection, key))
        self._changes = Changes(configured.changes, key)
        age = configured.max_age_hours if configured.max_age_hours is not None else defaults.max_age_hours
        self._max_age_ms = int(age * HOUR_MS) if age else None
        self._too_old = SkipReason("too_old", f"{key}.max_age_hours")
        self._passes_all = self.filter.passes_all and not self._event_rules and self._max_age_ms is None

    def govern(self, batch: Batch, facts: Iterable[Fact], ago_ms: AgoMs) -> GovernedBatch:
        """Return the facts that may be sent, filtered and changed, and those that may not.

        ``ago_ms`` returns the time so many milliseconds ago.
        """
        return self._changes.apply(self._apply_rules(batch, facts, ago_ms))

    def _apply_rules(self, batch: Batch, facts: Iterable[Fact], ago_ms: AgoMs) -> GovernedBatch:
        skip = self._find_skip(batch)
        if skip is None and self._passes_all:
            return GovernedBatch(batch=batch, facts=tuple(facts))
        seen = batch if self.filter.passes_all else self.filter.filter_user(batch)
        allowed: list[Fact] = []
        withheld: list[WithheldFact] = []
        kept_back: dict[str, KeptBackNames] = {}
        for fact in facts:
            fact_skip = self._find_fact_skip(fact, batch, skip, ago_ms)
            passed = fact if fact_skip or self.filter.passes_all else self._filter_fact(fact, batch, seen, kept_back)
            if isinstance(passed, Fact) and not fact_skip:
                allowed.append(passed)
            else:
                reason, cause = fact_skip or SkipReason("filtered", str(passed))
                withheld.append(WithheldFact(fact=fact.id, reason=reason, cause=cause))
        visible = batch if self.filter.passes_all and not withheld else self._make_visible(batch, seen, allowed)
        return GovernedBatch(batch=visible, facts=tuple(allowed), withheld=tuple(withheld), kept_back=kept_back)

    def _make_visible(self, batch: Batch, seen: Batch, allowed: Iterable[Fact]) -> Batch:
        """Return the batch as the plugin may see it: without what is withheld. An erasure shows every identity."""
        if batch.erasure is not None:
            return batch
        arguments = [fact.arguments for fact in allowed]
        events = (one.get("event") or one.get("session") for one in arguments)
        return replace(
            seen,
            events=tuple(event for event in events if event is not None),
            memberships=tuple(one["membership"] for one in arguments if "membership" in one),
        )

    def _find_skip(self, batch: Batch) -> SkipReason | None:
        """Return why nothing about this user may be sent, or None."""
        rules = self._user_rules if batch.memberships else self._batch_rules
        return next((skip for rule in rules if (skip := rule(batch)) is not None), None)

    def _find_fact_skip(self, fact: Fact, batch: Batch, skip: SkipReason | None, ago_ms: AgoMs) -> SkipReason | None:
        """Return the rule's reason why a fact is not sent, or None. Erasures, audiences and aliases are always sent."""
        if fact.hook in ALWAYS:
            return None
        event: Event | None = fact.arguments.get("event") or fact.arguments.get("session")
        if skip is None and event is not None and self._event_rules:
            skip = next((found for rule in self._event_rules if (found := rule(event)) is not None), None)
        return skip or (self._too_old if self._is_too_old(event, batch, ago_ms) else None)

    def _filter_fact(self, fact: Fact, batch: Batch, seen: Batch, kept_back: dict[str, KeptBackNames]) -> Fact | str:
        """Return the filtered fact, or the setting that switches it off; note in ``kept_back`` what is removed."""
        off: KeptBackNames = ()
        kept: Any = None
        name, stated = next(iter(fact.arguments.items()))
        cause = ""
        if fact.hook == "on_identity":
            off, kept = self.filter.list_identities_off(batch), seen.identity_changes
            cause = "" if seen.user.identities or kept or not off else off[0].cause
        elif fact.hook == "on_attributes":
            off, kept = self.filter.list_attributes_off(batch), seen.attribute_changes
            cause = "" if seen.user.attributes or seen.user.removed_attributes or kept else off[0].cause
        elif isinstance(stated, Event):
            cause = self.filter.find_off_setting(stated)
            kept, off = (stated, ()) if cause else self.filter.filter_event(stated)
        elif isinstance(stated, (Membership, Audience)):
            cause = self.filter.find_audience_off_setting(stated)
            kept, off = (
                self.filter.filter_membership(stated) if isinstance(stated, Membership) and not cause else (stated, ())
            )
        else:
            return fact
        if off:
            kept_back[fact.id] = off
        return cause or (fact if kept is stated else replace(fact, arguments={name: kept}))

    def _is_too_old(self, event: Event | None, batch: Batch, ago_ms: AgoMs) -> bool:
        if self._max_age_ms is None:
            return False
        time_ms = event.time_ms if event is not None and event.time_ms is not None else batch.received_ms
        return time_ms is not None and time_ms < ago_ms(self._max_age_ms)
