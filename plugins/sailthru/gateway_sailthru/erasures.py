"""Erasure: a profile deleted, seen to be gone, and not created again by older data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gateway.sdk import (
    AttributeChange,
    Batch,
    Call,
    Erasure,
    IdentityChange,
    Memory,
    Plan,
    Remember,
    Skip,
    User,
)
from gateway_sailthru import calls
from gateway_sailthru.follow_ups import MAX_DELETIONS
from gateway_sailthru.settings import SailthruSettings
from gateway_sailthru.steps import UserKey
from gateway_sailthru.user_keys import find_email, find_extid, normalise_address

ERASED = "erased_ms"
"""The memory key of the tombstone: the time of the user's last erasure request."""


def plan_erasure(
    erasure: Erasure, user: User, batch: Batch, memory: Memory, settings: SailthruSettings
) -> Iterator[Call | Skip | Remember]:
    """Delete every profile that has one of the user's addresses or, if it is sent, their extid."""
    emails = dict.fromkeys(normalise_address(identity) for identity in user.identities if identity.type == "email")
    found: list[tuple[str, UserKey]] = [(email, "email") for email in emails if email]
    found += [(extid, "extid") for extid in find_extid(user, wanted=settings.customer_id_as_extid).values()]
    if not found:
        email = find_email(user)
        yield email if isinstance(email, Skip) else Skip(reason="no_email")
    for value, key in found:
        yield calls.find_erased(value, key, left=MAX_DELETIONS)
    for name in memory.user:
        if name != ERASED:
            yield Remember(key=name, value=None)
    yield Remember(key=ERASED, value=batch.received_ms or erasure.submitted_ms)


def skip_if_erased(batch: Batch, memory: Memory, plan: Plan, *, time_ms: int | None = None) -> Plan:
    """Return the plan, or a Skip if its fact is older than the user's erasure: Sailthru would create them again."""
    erased_ms = memory.user.get(ERASED)
    stated_ms = batch.received_ms if time_ms is None else time_ms
    if erased_ms is not None and stated_ms is not None and stated_ms <= erased_ms:
        return Skip(reason="erased")
    return plan


def find_time_of_last_event(changes: Sequence[AttributeChange | IdentityChange], batch: Batch) -> int | None:
    """Return the time of the last event in the batch, which a profile without changes is as old as.

    Return None if there are changes, no events, or an event without a time: then the profile is as old as the batch.
    """
    times = [event.time_ms for event in batch.events if event.time_ms is not None]
    return None if changes or len(times) < len(batch.events) else max(times, default=None)
