"""Changes: give names and values the form that one connection wants, after its filter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

from msgspec.structs import replace

from gateway.facts import Fact
from gateway.govern.decisions import GovernedBatch, WithheldFact
from gateway.govern.kinds import change_attributes, find_kind, list_attributes
from gateway.govern.switches import MAX_NAMES
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
Attribute = TypeVar("Attribute", AttributeChange, AudienceAttribute)
Values = Mapping[str, Any]


class Changes:
    """All changes of a connection. Each is applied to the result of the one before."""

    def __init__(self, changes: Sequence[Change], key: str) -> None:
        self._steps = [ChangeStep(change, f"{key}.changes.{number}") for number, change in enumerate(changes)]

    def apply(self, governed: GovernedBatch) -> GovernedBatch:
        """Return the governed batch with its facts changed; facts that a change drops are withheld."""
        if not self._steps or governed.batch.erasure is not None:
            return governed
        lost: dict[str, list[KeptBack]] = {}
        batch = self._change_batch(governed.batch, lost)
        withheld = list(governed.withheld)
        facts, events = [], {id(event): event for event in batch.events}
        for fact in governed.facts:
            changed, cause = self._change_fact(fact, batch, lost)
            event = fact.arguments.get("event") or fact.arguments.get("session")
            if cause:
                withheld.append(WithheldFact(fact=fact.id, reason="dropped", cause=cause))
                events.pop(id(event), None)
                continue
            facts.append(changed)
            if event is not None:
                events[id(event)] = next(iter(changed.arguments.values()))
        kept_back = {id: (*governed.kept_back.get(id, ()), *more) for id, more in lost.items()}
        return GovernedBatch(
            batch=replace(batch, events=tuple(events.values())),
            facts=tuple(facts),
            withheld=tuple(withheld),
            kept_back={**governed.kept_back, **kept_back},
        )

    def _change_batch(self, batch: Batch, lost: dict[str, list[KeptBack]]) -> Batch:
        for step in self._steps:
            if step.of == "user_attributes":
                _note_lost(lost, "attributes", step, batch.user.attributes)
                batch = step.change_batch(batch)
        return batch

    def _change_fact(self, fact: Fact, batch: Batch, lost: dict[str, list[KeptBack]]) -> tuple[Fact, str]:
        """Return the changed fact, and the setting of the change that drops it, if one does."""
        if fact.hook == "on_attributes":
            is_left = batch.user.attributes or batch.user.removed_attributes or batch.attribute_changes
            cause = "" if is_left else next(step.cause for step in self._steps if step.of == "user_attributes")
            return replace(fact, arguments={"changes": batch.attribute_changes}), cause
        name, stated = next(iter(fact.arguments.items()))
        for step in self._steps:
            if isinstance(stated, Membership) and step.of == "user_attributes":
                _note_lost(lost, fact.id, step, {attribute.name: attribute.value for attribute in stated.attributes})
                stated = step.change_membership(stated)
            elif isinstance(stated, Event):
                if step.is_about(stated):
                    _note_lost(lost, fact.id, step, dict(list_attributes(stated)))
                changed = step.change_event(stated)
                if changed is None:
                    return fact, step.cause
                stated = changed
        return replace(fact, arguments={name: stated}), ""


def _note_lost(lost: dict[str, list[KeptBack]], fact: str, step: ChangeStep, values: Values) -> None:
    names = step.list_lost(values)
    if names:
        off = KeptBack(cause=step.cause, names=names[:MAX_NAMES], more=max(0, len(names) - MAX_NAMES))
        lost.setdefault(fact, []).append(off)


class ChangeStep:
    """One change of the configuration. ``cause`` is the setting that has it."""

    def __init__(self, change: Change, cause: str) -> None:
        self.of, self.cause = change.of, f"{cause}.{change.verb}"
        self._only = frozenset(change.only)
        self._rename = _make_rename(change)
        self._set = change.set
        self._split = change.split

    def change_batch(self, batch: Batch) -> Batch:
        """Return the batch with the attributes of its user changed."""
        user = batch.user
        sources = self._find_sources(user.attributes)
        names = ((old, new) for old in user.removed_attributes for new in self._rename_alone(old))
        removed = dict.fromkeys(new for old, new in names if sources.get(new, old) == old)
        changed = self.change_values(user.attributes) if user.attributes else {}
        return replace(
            batch,
            user=replace(user, attributes=changed, removed_attributes=tuple(removed)),
            attribute_changes=tuple(self._change_each(batch.attribute_changes, sources)),
        )

    def change_membership(self, membership: Membership) -> Membership:
        """Return the membership with its attributes changed."""
        return replace(membership, attributes=tuple(self._change_each(membership.attributes)))

    def is_about(self, event: Event) -> bool:
        """Return whether the change applies to the event's attributes."""
        kind, name = find_kind(event)
        return kind in KINDS.get(self.of, ()) and (not self._only or name in self._only)

    def change_event(self, event: Event) -> Event | None:
        """Return the event with its name or attributes changed, or None if it is dropped."""
        if self.is_about(event):
            return change_attributes(event, self.change_values)
        kind, name = find_kind(event)
        renamed = self._rename(name) if kind == self.of else name
        if renamed is None or renamed == name:
            return None if renamed is None else event
        assert isinstance(event, (CustomEvent, Attribution, ScreenView))  # noqa: S101  # only these have names that can change
        return replace(event, name=renamed)

    def change_values(self, values: Values) -> dict[str, Any]:
        """Return the values with names and values changed. If several get one name, its owner wins, else the last."""
        if self._set:
            return {**values, **self._set}
        if self._split:
            parts = self._split_all(values)
            return {new: part for old, new, part in parts if self._may_take(new, old, values)}
        return {new: values[name] for new, name in self._find_sources(values).items()}

    def list_lost(self, values: Values) -> tuple[str, ...]:
        """Return the names of values that are dropped, or that lose their new name to another value."""
        if self._set:
            return ()
        if self._split:
            parts = [(old, new) for old, new, _ in self._split_all(values)]
            owners = {new: old for old, new in parts if self._may_take(new, old, values)}
            return tuple(dict.fromkeys(old for old, new in parts if owners.get(new) != old))
        kept = set(self._find_sources(values).values())
        return tuple(name for name in values if name not in kept)

    def _find_sources(self, values: Values) -> dict[str, str]:
        """Return the old name of each new one."""
        sources = {}
        for name in values:
            new = self._rename(name)
            if new is not None and (new == name or new not in values or self._rename(new) != new):
                sources[new] = name
        return sources

    def _rename_alone(self, name: str) -> tuple[str, ...]:
        """Return the new names of a name that has no value."""
        split = self._split.get(name)
        if split is not None:
            return split.into or (name,)
        new = self._rename(name)
        return () if new is None else (new,)

    def _change_each(
        self, attributes: Iterable[Attribute], sources: Mapping[str, str] = MappingProxyType({})
    ) -> Iterator[Attribute]:
        """Yield the changed attributes, but none whose new name belongs to another attribute of the profile."""
        for one in attributes:
            if one.removed or self._set:
                changed = {name: self._set.get(name, one.value) for name in self._rename_alone(one.name)}
            else:
                changed = self.change_values({one.name: one.value})
            own = ((name, value) for name, value in changed.items() if sources.get(name, one.name) == one.name)
            yield from (replace(one, name=name, value=value) for name, value in own)

    def _split_all(self, values: Values) -> Iterator[tuple[str, str, Any]]:
        """Yield, for each part of each value, the old name, the new name and the part."""
        return ((old, *part) for old, value in values.items() for part in self._split_one(old, value))

    def _may_take(self, new: str, old: str, values: Values) -> bool:
        """Return whether a value may take a new name: not if another value keeps it."""
        return new == old or new not in values or new in self._split

    def _split_one(self, name: str, value: Any) -> Iterator[tuple[str, Any]]:
        split = self._split.get(name)
        if split is None or not isinstance(value, str):
            yield name, value
            return
        parts = value.split(split.by, len(split.into) - 1 if split.into else -1)
        found = [part for part in map(str.strip, parts) if part]
        if split.into and found:
            yield from zip(split.into, found, strict=False)
        else:
            yield name, value if split.into else found


def _make_rename(change: Change) -> Callable[[str], str | None]:
    """Return a function that renames; it returns None for a name that the change drops."""
    if change.rename:
        return lambda name: change.rename.get(name, name)
    if change.spell:
        spelt = {name.casefold(): name for name in change.spell}
        return lambda name: spelt.get(name.casefold(), name)
    if change.case is not None:
        return str.lower if change.case == "lower" else str.upper
    dropped = frozenset(change.drop)
    return lambda name: None if name in dropped else name
