"""Changes: names and values as one destination wants them, made of what the filter has let through."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

from msgspec.structs import replace

from gateway.facts import Fact
from gateway.govern.governed import GovernedBatch, WithheldFact
from gateway.govern.kinds import change_attributes, find_kind, list_attributes
from gateway.govern.names import MAX_NAMES
from gateway.journal.types import KeptBack
from gateway.sdk import (
    AttributeChange,
    Attribution,
    AudienceAttribute,
    Batch,
    CustomEvent,
    Event,
    Membership,
    ScreenView,
)
from gateway.settings.filtering import Change

KINDS = {
    "event_attributes": ("events", "event_types"),
    "screen_attributes": ("screens",),
    "commerce_attributes": ("commerce",),
}
Told = TypeVar("Told", AttributeChange, AudienceAttribute)
Values = Mapping[str, Any]


class Changes:
    """All changes of a connection, each applied to what the one before made."""

    def __init__(self, changes: Sequence[Change], key: str) -> None:
        self._steps = [ChangeStep(change, f"{key}.changes.{number}") for number, change in enumerate(changes)]

    def apply(self, governed: GovernedBatch) -> GovernedBatch:
        """What may be sent, changed; with what was dropped on the way, and by which change."""
        if not self._steps or governed.batch.erasure is not None:
            return governed
        lost: dict[str, list[KeptBack]] = {}
        batch = self._batch(governed.batch, lost)
        withheld = list(governed.withheld)
        facts, events = [], {id(event): event for event in batch.events}
        for fact in governed.facts:
            changed, cause = self._fact(fact, batch, lost)
            said = fact.arguments.get("event") or fact.arguments.get("session")
            if cause:
                withheld.append(WithheldFact(fact=fact.id, reason="dropped", cause=cause))
                events.pop(id(said), None)
                continue
            facts.append(changed)
            if said is not None:
                events[id(said)] = next(iter(changed.arguments.values()))
        kept_back = {id: (*governed.kept_back.get(id, ()), *more) for id, more in lost.items()}
        return GovernedBatch(
            batch=replace(batch, events=tuple(events.values())),
            facts=tuple(facts),
            withheld=tuple(withheld),
            kept_back={**governed.kept_back, **kept_back},
        )

    def _batch(self, batch: Batch, lost: dict[str, list[KeptBack]]) -> Batch:
        for step in self._steps:
            if step.of == "user_attributes":
                _note(lost, "attributes", step, batch.user.attributes)
                batch = step.batch(batch)
        return batch

    def _fact(self, fact: Fact, batch: Batch, lost: dict[str, list[KeptBack]]) -> tuple[Fact, str]:
        """A fact, changed, and the change by which it is dropped, if one drops it."""
        if fact.hook == "on_attributes":
            told = batch.user.attributes or batch.user.removed_attributes or batch.attribute_changes
            cause = "" if told else next(step.cause for step in self._steps if step.of == "user_attributes")
            return dataclasses.replace(fact, arguments={"changes": batch.attribute_changes}), cause
        name, said = next(iter(fact.arguments.items()))
        for step in self._steps:
            if isinstance(said, Membership) and step.of == "user_attributes":
                _note(lost, fact.id, step, {attribute.name: attribute.value for attribute in said.attributes})
                said = step.membership(said)
            elif isinstance(said, Event):
                if step.is_about(said):
                    _note(lost, fact.id, step, dict(list_attributes(said)))
                changed = step.event(said)
                if changed is None:
                    return fact, step.cause
                said = changed
        return dataclasses.replace(fact, arguments={name: said}), ""


def _note(lost: dict[str, list[KeptBack]], fact: str, step: ChangeStep, values: Values) -> None:
    names = step.lost(values)
    if names:
        off = KeptBack(cause=step.cause, names=names[:MAX_NAMES], more=max(0, len(names) - MAX_NAMES))
        lost.setdefault(fact, []).append(off)


class ChangeStep:
    """One change of the configuration, made ready. ``cause`` is the setting that it stands in."""

    def __init__(self, change: Change, cause: str) -> None:
        self.of, self.cause = change.of, f"{cause}.{change.verb}"
        self._only = frozenset(change.only)
        self._rename = _renaming(change)
        self._set = change.set
        self._split = change.split

    def batch(self, batch: Batch) -> Batch:
        """The batch with the attributes of its user changed."""
        user = batch.user
        sources = self._sources(user.attributes)
        names = ((old, new) for old in user.removed_attributes for new in self._names(old))
        removed = dict.fromkeys(new for old, new in names if sources.get(new, old) == old)
        changed = self.values(user.attributes) if user.attributes else {}
        return replace(
            batch,
            user=replace(user, attributes=changed, removed_attributes=tuple(removed)),
            attribute_changes=tuple(self._each(batch.attribute_changes, sources)),
        )

    def membership(self, membership: Membership) -> Membership:
        """The membership with its attributes changed."""
        return replace(membership, attributes=tuple(self._each(membership.attributes)))

    def is_about(self, event: Event) -> bool:
        """Whether the change is one of the event's attributes."""
        kind, name = find_kind(event)
        return kind in KINDS.get(self.of, ()) and (not self._only or name in self._only)

    def event(self, event: Event) -> Event | None:
        """The event with its name or its attributes changed; None where it is dropped."""
        if self.is_about(event):
            return change_attributes(event, self.values)
        kind, name = find_kind(event)
        renamed = self._rename(name) if kind == self.of else name
        if renamed is None or renamed == name:
            return None if renamed is None else event
        assert isinstance(event, (CustomEvent, Attribution, ScreenView))  # noqa: S101  # what has such names
        return replace(event, name=renamed)

    def values(self, values: Values) -> dict[str, Any]:
        """Switches and values changed. Of several that get the same name, the one that had it wins, else the last."""
        if self._set:
            return {**values, **self._set}
        if self._split:
            parts = self._apart(values)
            return {new: part for old, new, part in parts if self._may_take(new, old, values)}
        return {new: values[name] for new, name in self._sources(values).items()}

    def lost(self, values: Values) -> tuple[str, ...]:
        """The names of values that are dropped, or of which a new name is another one's."""
        if self._set:
            return ()
        if self._split:
            parts = [(old, new) for old, new, _ in self._apart(values)]
            owners = {new: old for old, new in parts if self._may_take(new, old, values)}
            return tuple(dict.fromkeys(old for old, new in parts if owners.get(new) != old))
        kept = set(self._sources(values).values())
        return tuple(name for name in values if name not in kept)

    def _sources(self, values: Values) -> dict[str, str]:
        """New names, and the old ones that they come from."""
        sources = {}
        for name in values:
            new = self._rename(name)
            if new is not None and (new == name or new not in values or self._rename(new) != new):
                sources[new] = name
        return sources

    def _names(self, name: str) -> tuple[str, ...]:
        """What a name becomes where it stands without a value."""
        split = self._split.get(name)
        if split is not None:
            return split.into or (name,)
        new = self._rename(name)
        return () if new is None else (new,)

    def _each(self, told: Iterable[Told], sources: Mapping[str, str] = MappingProxyType({})) -> Iterator[Told]:
        """Attributes that are told one by one, changed; not where the new name is another's in the profile."""
        for one in told:
            if one.removed or self._set:
                told_anew = {name: self._set.get(name, one.value) for name in self._names(one.name)}
            else:
                told_anew = self.values({one.name: one.value})
            own = ((name, value) for name, value in told_anew.items() if sources.get(name, one.name) == one.name)
            yield from (replace(one, name=name, value=value) for name, value in own)

    def _apart(self, values: Values) -> Iterator[tuple[str, str, Any]]:
        """What each value becomes: the name that it had, a new one, and what stands there."""
        return ((old, *part) for old, value in values.items() for part in self._parts(old, value))

    def _may_take(self, new: str, old: str, values: Values) -> bool:
        """Whether what a value becomes may have a name; not that of one which keeps it."""
        return new == old or new not in values or new in self._split

    def _parts(self, name: str, value: Any) -> Iterator[tuple[str, Any]]:
        split = self._split.get(name)
        if split is None or not isinstance(value, str):
            yield name, value
            return
        parts = value.split(split.by, len(split.into) - 1 if split.into else -1)
        told = [part for part in map(str.strip, parts) if part]
        if split.into and told:
            yield from zip(split.into, told, strict=False)
        else:
            yield name, value if split.into else told


def _renaming(change: Change) -> Callable[[str], str | None]:
    """What a change makes of a name; None where it takes it away."""
    if change.rename:
        return lambda name: change.rename.get(name, name)
    if change.spell:
        spelt = {name.casefold(): name for name in change.spell}
        return lambda name: spelt.get(name.casefold(), name)
    if change.case is not None:
        return str.lower if change.case == "lower" else str.upper
    dropped = frozenset(change.drop)
    return lambda name: None if name in dropped else name
