"""The steps of a delivery: the purpose of a call, kept in its memo from call to follow-up call."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

from gateway.sdk import Call

UserKey = Literal["email", "extid"]


class DeliveryStep(StrEnum):
    """The purpose of one call."""

    WRITE = "write"
    """Write something; no call follows. Such a call has no memo."""
    SEND = "event"
    """Send an event. Such a call has no memo either."""
    RESEND = "event:again"
    """Send an event for the second and last time, after its profile was created."""
    FIND_MOVED = "move:look_up"
    """Find the profile that has the old e-mail address."""
    MOVE = "move:by_sid"
    """Give that profile the new address."""
    FIND_ERASED = "erase:look_up"
    """Find the profile to delete, or see that it is gone."""
    ERASE = "erase:by_sid"
    """Delete that profile."""
    START_JOB = "job:begun"
    """Start a job for memberships of many users."""
    POLL_JOB = "job:asked"
    """Ask whether that job has ended."""


class CallMemo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The memo of a call. A delivery that has to carry more than its step has a subclass."""

    step: DeliveryStep


class AddressChangeMemo(CallMemo, frozen=True, kw_only=True, omit_defaults=True):
    """The memo of a change of address.

    ``create`` says what follows if no profile has the old address: one with the new address is created or, where
    another change of address follows, nothing.
    """

    old: str
    new: str
    create: bool

    def at(self, step: DeliveryStep) -> AddressChangeMemo:
        """Return the same memo at another step."""
        return msgspec.structs.replace(self, step=step)


class ErasureMemo(CallMemo, frozen=True, kw_only=True, omit_defaults=True):
    """The memo of an erasure: the key of the profile, how many deletions may follow, and whether one look was made."""

    value: str
    key: UserKey
    left: int
    again: bool = False

    def at(self, step: DeliveryStep) -> ErasureMemo:
        """Return the same memo at another step."""
        return msgspec.structs.replace(self, step=step)


MEMOS: dict[str, type[CallMemo]] = {
    DeliveryStep.FIND_MOVED: AddressChangeMemo,
    DeliveryStep.MOVE: AddressChangeMemo,
    DeliveryStep.FIND_ERASED: ErasureMemo,
    DeliveryStep.ERASE: ErasureMemo,
}


def read_memo(call: Call) -> CallMemo:
    """Return the memo of a call; a call without one writes, or sends an event."""
    if call.memo is None:
        return CallMemo(step=DeliveryStep.SEND if call.path == "event" else DeliveryStep.WRITE)
    return msgspec.convert(call.memo, MEMOS.get(call.memo["step"], CallMemo))
