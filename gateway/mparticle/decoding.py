"""Decoding: one user's part of a post, in whichever dialect, into its batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import inf
from operator import itemgetter
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec.structs import replace

from gateway.facts import is_bare, iter_facts, number_fact_id
from gateway.mparticle import aliases, erasures
from gateway.mparticle.event_common import EventFact, EventFacts
from gateway.mparticle.events_batch import events as events_batch_events
from gateway.mparticle.events_batch import message as events_batch
from gateway.mparticle.fields import Unreadable, drop_list_nulls
from gateway.mparticle.firehose import events as firehose_events
from gateway.mparticle.firehose import message as firehose
from gateway.mparticle.json import members
from gateway.mparticle.messages import Message
from gateway.sdk import AttributeChange, Batch, Event, IdentityChange, Quarantined

Change = TypeVar("Change", AttributeChange, IdentityChange)

SOURCE_FEED = "mParticle Source Feed"
"""The event attribute in which Firehose names the feed that the data came from."""


MAX_QUARANTINED = 100
"""The most events of a batch that are quarantined one by one."""


class EventHead(Protocol):
    """An event's head: its type and its ids, and nothing else of it."""

    @property
    def type(self) -> Any:
        """Its type, as posted."""

    @property
    def ids(self) -> tuple[Any, ...]:
        """The ids it goes by, its own first."""


class MessageReader(Protocol):
    """Reads what a message says besides its events. Raises Unreadable."""

    def __call__(self, members: dict[str, msgspec.Raw], *, id: str, part: int) -> Message:
        """Return the message's batch, and its events unread."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """A dialect's readers: of a message, of one of its events, and of an event's head."""

    message: MessageReader
    read_event: Callable[[msgspec.Raw, int, Batch], EventFacts]
    head: Callable[[msgspec.Raw], EventHead]


DIALECTS = {
    "firehose": Dialect(firehose.read_message, firehose_events.read_event, firehose_events.head),
    "events": Dialect(events_batch.read_message, events_batch_events.read_event, events_batch_events.head),
    "opendsr": Dialect(erasures.read_message, events_batch_events.read_event, events_batch_events.head),
    "alias": Dialect(aliases.read_message, events_batch_events.read_event, events_batch_events.head),
}


def decode(dialect: str, body: bytes, *, message: str, part: int) -> Batch:
    """Return the batch of a part that ``read`` accepted. ``dialect`` is the post's; ``message`` and ``part`` name it.

    Unreadable parts are quarantined in the batch: an event, a whole batch of an array, or a message with
    a member that the endpoint did not read.
    """
    if body.startswith(b"["):
        problems = msgspec.json.decode(body, type=tuple[list[str], msgspec.Raw])[0]
        odd = (Quarantined(id=f"{message}:{n}", problem=problem) for n, problem in enumerate(problems))
        return Batch(id=message, part=part, dialect=dialect, quarantined=tuple(odd))
    spoken, posted = DIALECTS[dialect], members(body)
    try:
        batch, events = spoken.message(posted, id=message, part=part)
        is_nameless = dialect == "events" and not any(events_batch.read_ids(posted))
    except Unreadable as wrong:
        return Batch(id=message, part=part, dialect=dialect, quarantined=(Quarantined(id=message, problem=str(wrong)),))
    batch = add_events(batch, events, spoken) if events else batch
    if b"null" in body:  # most messages hold none, and looking through all attributes would take long
        for attributes in (batch.user.attributes, *(event.attributes for event in _iter_all_events(batch))):
            drop_list_nulls(attributes)
    if batch.quarantined:
        batch = replace(batch, quarantined=_number_repeats(batch))
    if is_bare(batch):
        batch = replace(batch, is_bare=True)
    return _make_ids_lasting(batch, body) if is_nameless else batch


def _number_repeats(batch: Batch) -> tuple[Quarantined, ...]:
    """Return what is quarantined, with a number appended to each id that repeats, or is that of a fact."""
    seen = Counter(fact.id for fact in iter_facts(batch))
    numbered = []
    for one in batch.quarantined:
        seen[one.id] += 1
        numbered.append(replace(one, id=number_fact_id(one.id, seen[one.id])))
    return tuple(numbered)


def _make_ids_lasting(batch: Batch, body: bytes) -> Batch:
    """Return the batch of a message without an id. Its events get ids that are equal if it is posted again.

    This concerns events with a time. Others may have happened twice, though what was posted is equal.
    """
    known, made_up = blake2b(body, digest_size=16).hexdigest(), f"{batch.id}:"

    def rename(event: Event) -> Event:
        if event.time_ms is None or not event.id.startswith(made_up):
            return event
        return replace(event, id=f"{known}:{event.id.removeprefix(made_up)}")

    def rename_event(change: Change) -> Change:
        return change if change.event is None else replace(change, event=rename(change.event))

    return replace(
        batch,
        events=tuple(map(rename, batch.events)),
        identity_changes=tuple(map(rename_event, batch.identity_changes)),
        attribute_changes=tuple(map(rename_event, batch.attribute_changes)),
    )


def _iter_all_events(batch: Batch) -> Iterator[Event]:
    """Yield the events of a batch, those that state its changes included."""
    yield from batch.events
    stating = [one.event for one in batch.identity_changes] + [one.event for one in batch.attribute_changes]
    yield from (event for event in stating if event is not None)


def add_events(batch: Batch, events: Sequence[msgspec.Raw], dialect: Dialect) -> Batch:
    """Return the batch with its events, and the changes they state, in order of time."""
    found, quarantined = _read_in_order(batch, events, dialect)
    attribute_changes = tuple(one for one in found if isinstance(one, AttributeChange))
    happened = tuple(one for one in found if isinstance(one, Event))
    return replace(
        batch,
        input_name=batch.input_name or _find_source_feed(happened),
        user=replace(batch.user, removed_attributes=_list_removed(batch, attribute_changes)),
        identity_changes=tuple(one for one in found if isinstance(one, IdentityChange)),
        attribute_changes=attribute_changes,
        events=happened,
        quarantined=(*batch.quarantined, *quarantined),
    )


def _read_in_order(
    batch: Batch, events: Sequence[msgspec.Raw], dialect: Dialect
) -> tuple[list[EventFact], list[Quarantined]]:
    """Return the events and changes, sorted by time; one without a time stays behind the one it followed."""
    timed: list[tuple[float, EventFacts]] = []
    quarantined = []
    latest = -inf
    for index, raw in enumerate(events):
        try:
            found = dialect.read_event(raw, index, batch)
        except Unreadable as wrong:
            quarantined.append(_quarantine(raw, index, batch, dialect, wrong))
            continue
        if found and found[0].time_ms is not None:
            latest = found[0].time_ms
        timed.append((latest, found))
    timed.sort(key=itemgetter(0))
    return [one for _, found in timed for one in found], _bound_quarantined(batch, quarantined)


def _bound_quarantined(batch: Batch, quarantined: list[Quarantined]) -> list[Quarantined]:
    """Return the first MAX_QUARANTINED of the events that cannot be read, and one entry that counts the rest."""
    more = len(quarantined) - MAX_QUARANTINED
    if more <= 0:
        return quarantined
    rest = Quarantined(id=f"{batch.id}:more", problem=f"events: {more} more that cannot be read", facts=more)
    return [*quarantined[:MAX_QUARANTINED], rest]


def _quarantine(raw: msgspec.Raw, index: int, batch: Batch, dialect: Dialect, wrong: Unreadable) -> Quarantined:
    try:
        head = dialect.head(raw)
        kind, ids = head.type, head.ids
    except msgspec.DecodeError:
        kind, ids = None, ()
    id = next((str(id) for id in ids[:1] if id and type(id) in (str, int)), f"{batch.id}:{index}")
    problem = str(wrong.inside("events", index))
    return Quarantined(id=id, type=kind if isinstance(kind, str) else None, problem=problem)


def _find_source_feed(events: tuple[Event, ...]) -> str | None:
    for event in events:
        name = event.attributes.get(SOURCE_FEED)
        if isinstance(name, str) and name:
            return name
    return None


def _list_removed(batch: Batch, changes: tuple[AttributeChange, ...]) -> tuple[str, ...]:
    """Return the names of all attributes that the batch deletes."""
    removed = dict.fromkeys(batch.user.removed_attributes)
    for change in changes:
        if change.removed:
            removed[change.name] = None
        else:
            removed.pop(change.name, None)
    return tuple(removed)
