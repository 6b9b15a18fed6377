"""Tolerance: an unreadable part of a message is quarantined and the rest is read, unless the part names the user."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

import msgspec

from gateway.facts import iter_facts
from gateway.mparticle.fields import Fields, Path, Unreadable, show_path
from gateway.sdk import Batch, Quarantined

ADDRESSED = frozenset(
    {
        "action",
        "audience_id",
        "events",
        "mpid",
        "subject_identities",
        "subject_request_type",
        "type",
        "user_profiles",
    }
)
"""The members that say what a message is and whom it concerns; without them it cannot be read."""

TYPE = "message"
"""The type of what is quarantined here: it is of the message, and no event."""

SINGLE = 10
"""The most values that are quarantined one by one; beyond them, whole members of the message are."""

MOST = 20
"""The most parts that are quarantined before the message counts as unreadable."""


class Reopen(Protocol):
    """Opens a message again, without the values at some paths. Raises Unreadable."""

    def __call__(self, *, without: Collection[Path]) -> Fields:
        """Its fields."""


def read_tolerantly(
    read: Callable[[Fields], Batch], opening: Reopen, *outer: str | int, beside: Collection[msgspec.Raw] = ()
) -> Batch:
    """Return the batch of a message, with its unreadable values quarantined; ``outer`` is the path of the message.

    Reading starts again without the wrong part, so that readers need not know of it. Raises Unreadable
    where that part is one that cannot be done without, and where the rest says nothing: neither the batch, nor
    what the message holds ``beside`` it.
    """
    aside: dict[Path, Unreadable] = {}
    while True:
        try:
            batch = read(opening(without=aside))
        except Unreadable as wrong:
            aside[_find_part(wrong, aside)] = wrong.bare()
        else:
            break
    if not aside:
        return batch
    if not beside and not any(iter_facts(batch)):
        raise next(iter(aside.values()))
    return _quarantine(batch, aside, outer)


def _find_part(wrong: Unreadable, aside: Collection[Path]) -> Path:
    """Return the path to set aside: the value, or the element or the sender's own member that holds it."""
    path = wrong.path
    part = path[: next((end for end, step in enumerate(path, 1) if type(step) is not str), len(path))]
    if len(aside) >= SINGLE or part in aside:
        part = path[:1]
    if part in aside or len(aside) >= MOST or not part or (len(part) == 1 and part[0] in ADDRESSED):
        raise wrong
    return part


def _quarantine(batch: Batch, aside: dict[Path, Unreadable], outer: Path) -> Batch:
    """Return the batch with the quarantined values; of several with one name, all but the first get a number."""
    names: dict[str, int] = {}
    quarantined = []
    for part, wrong in aside.items():
        name = show_path((*outer, *part))
        names[name] = number = names.get(name, 0) + 1
        id = f"{batch.id}:{name}" if number == 1 else f"{batch.id}:{name}#{number}"
        quarantined.append(Quarantined(id=id, type=TYPE, problem=str(wrong.inside(*outer))))
    return msgspec.structs.replace(batch, quarantined=(*batch.quarantined, *quarantined))
