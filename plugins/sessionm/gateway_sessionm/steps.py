"""The steps of a delivery: the purpose of a call, kept in its memo from call to follow-up call."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from gateway.sdk import Call
from gateway_sessionm.user_keys import Identifier


class DeliveryStep(StrEnum):
    """The purpose of one call."""

    UPDATE = "update"
    """Write the profile of the user with this MPID."""
    IDENTIFY = "identify"
    """Read which ids SessionM has of the user with this MPID, where there is nothing else to write."""
    COMPARE = "compare"
    """Read the same ids after the profile was written."""
    EXTEND = "extend"
    """Write the user's whole list of ids, the new ones among them."""
    SEND = "send"
    """Post an event."""
    LOOK = "look"
    """Look for the user under another id, because SessionM does not know the MPID."""
    ADOPT = "adopt"
    """Write the profile of the user found under another id, and add the MPID."""
    CREATE = "create"
    """Create the user."""
    RETURN = "return"
    """Write the profile by MPID after all. Creating or adopting was declined; a concurrent call may have done it."""
    RESEND = "resend"
    """Post the event for the second and last time."""
    ERASE = "erase"
    """Delete the user."""


class CallMemo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The goal of a delivery, and what the replies so far have shown.

    ``identifiers`` are all ids of the user; ``unconfirmed`` says that SessionM may lack some of them. ``user`` is the
    profile to write and ``events`` the event to post. Both are left out of a memo whose call has them as its body.
    ``email`` is written if the user has to be created, whatever the goal is. ``looks`` are the ids still to look
    under, ``found`` is SessionM's id of the user whom they led to, and ``known`` are that user's ids. ``declined`` is
    the error code with which SessionM declined to create the user or to add the MPID.
    """

    step: DeliveryStep
    mpid: str = ""
    identifiers: list[Identifier] = []
    unconfirmed: bool = False
    user: dict[str, Any] = {}
    events: dict[str, Any] = {}
    email: str | None = None
    looks: list[str] = []
    found: str | None = None
    known: list[dict[str, str]] | None = None
    declined: str = ""

    def at(self, step: DeliveryStep, **changes: Any) -> CallMemo:
        """Return the same memo at another step."""
        return msgspec.structs.replace(self, step=step, **changes)


def read_memo(call: Call) -> CallMemo:
    """Return the memo of a call, completed from the call's body."""
    memo, body = msgspec.convert(call.memo, CallMemo), call.json or {}
    if memo.step in (DeliveryStep.UPDATE, DeliveryStep.RETURN):
        return memo.at(memo.step, user=body.get("user", {}))
    if memo.step in (DeliveryStep.SEND, DeliveryStep.RESEND):
        return memo.at(memo.step, events=body.get("events", {}))
    return memo
