"""Erasure: a profile deleted, seen to be gone, and not brought back by what was said before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from gateway.sdk import (
    AttributeChange,
    Batch,
    Call,
    Erasure,
    IdentityChange,
    Memory,
    Plan,
    Remember,
    Reply,
    Skip,
    User,
    Verdict,
    delivered,
    rejected,
    retry,
)
from gateway_sailthru import calls
from gateway_sailthru.addresses import address, address_of, extid_of
from gateway_sailthru.replies import is_good, is_missing, judge, keys_of
from gateway_sailthru.settings import SailthruSettings

LOOK_UP = "erase:look_up"
DELETE = "erase:by_sid"
MAX_DELETIONS = 3
PAUSE_S = 60.0
ERASED = "erased_ms"


def since(batch: Batch, memory: Memory, plan: Plan, *, time_ms: int | None = None) -> Plan:
    """The plan, unless what it is for was said or happened before the user was erased: Sailthru would create them."""
    erased_ms = memory.user.get(ERASED)
    told_ms = batch.received_ms if time_ms is None else time_ms
    if erased_ms is not None and told_ms is not None and told_ms <= erased_ms:
        return Skip(reason="erased")
    return plan


def told_ms(changes: Sequence[AttributeChange | IdentityChange], batch: Batch) -> int | None:
    """When the last event happened that a user's unchanged attributes or identities came along with.

    None where there are changes, or no events, or one without a time: then they were said when they came.
    """
    times = [event.time_ms for event in batch.events if event.time_ms is not None]
    return None if changes or len(times) < len(batch.events) else max(times, default=None)


def plan(
    erasure: Erasure, user: User, batch: Batch, memory: Memory, settings: SailthruSettings
) -> Iterator[Call | Skip | Remember]:
    """Every profile that bears one of the user's addresses or, where that is sent, their extid."""
    emails = dict.fromkeys(address(identity) for identity in user.identities if identity.type == "email")
    found = [(email, "email") for email in emails if email]
    found += [(extid, "extid") for extid in extid_of(user, wanted=settings.customer_id_as_extid).values()]
    if not found:
        email = address_of(user)
        yield email if isinstance(email, Skip) else Skip(reason="no_email")
    for value, key in found:
        yield look_up(value, key, left=MAX_DELETIONS)
    for name in memory.user:
        if name != ERASED:
            yield Remember(key=name, value=None)
    yield Remember(key=ERASED, value=batch.received_ms or erasure.submitted_ms)


def look_up(value: str, key: str, *, left: int) -> Call:
    """Find the sid of the profile to delete; ``left`` is how many deletions may follow."""
    return calls.find(value, key, {"step": LOOK_UP, "value": value, "key": key, "left": left})


def look_again(call: Call, settings: SailthruSettings, *, left: int) -> Call:
    """Look once more, and later: what Sailthru answers may be older than what it was told last."""
    again = look_up(call.memo["value"], call.memo["key"], left=left)
    return msgspec.structs.replace(again, memo={**again.memo, "again": True}, after_s=settings.look_again_s)


def on_looked_up(call: Call, reply: Reply, settings: SailthruSettings) -> Call | Verdict | None:
    """A profile was looked up: gone is what it shall be, and not only at first sight."""
    memo = call.memo
    if is_missing(reply):
        return delivered("gone") if memo.get("again") else look_again(call, settings, left=memo["left"])
    sid = keys_of(reply).get("sid")
    if not isinstance(sid, str):
        return rejected("no_sid") if is_good(reply) else judge(call, reply, settings)
    if memo["left"] == 0:
        return retry("still_there", after_s=PAUSE_S, restart=True)
    return calls.request("DELETE", "user", {"id": sid, "key": "sid"}, memo={**memo, "step": DELETE})


def on_deleted(call: Call, reply: Reply, settings: SailthruSettings) -> Call | Verdict | None:
    """A profile was deleted: look again, for Sailthru may need to be told more than once."""
    if not is_good(reply) and not is_missing(reply):
        return judge(call, reply, settings)
    return look_again(call, settings, left=call.memo["left"] - 1)
