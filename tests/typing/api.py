"""The SDK as a plugin's author types it. Never run; the type checker reads it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_type

from pydantic import SecretStr

from gateway.sdk import (
    AttributeChange,
    Batch,
    Call,
    CustomEvent,
    Defaults,
    Destination,
    Event,
    Memory,
    Plan,
    Rate,
    Remember,
    Reply,
    Settings,
    Skip,
    User,
    Verdict,
    delivered,
    hookimpl,
    path,
    retry,
)


class Mine(Settings):
    host: str
    api_key: SecretStr


@hookimpl
def destination() -> Destination:
    return Destination(
        title="Mine",
        settings=Mine,
        base_url=lambda settings: f"https://{settings.host}",
        defaults=Defaults(new_data_points=False, login_identities=("customer_id",)),
        rates=lambda _: {"": Rate(per_second=5, burst=5, in_flight=4)},
    )


@hookimpl
def on_attributes(changes: tuple[AttributeChange, ...], user: User, memory: Memory) -> Iterator[Call | Skip | Remember]:
    if user.mpid is None:
        yield Skip(reason="no_mpid")
        return
    assert_type(user.identity("email"), str | None)
    if memory.user.get("names") != len(changes):
        yield Call(method="PUT", path=path("users", user.mpid), json={change.name: change.value for change in changes})
        yield Remember(key="names", value=len(changes))


@hookimpl
def on_event(event: Event, batch: Batch) -> Plan:
    if isinstance(event, CustomEvent):
        assert_type(event.name, str)
        return Call(method="POST", path=path("events", batch.id, event.id))
    return None


@hookimpl
def on_reply(call: Call, reply: Reply) -> Verdict | Plan:
    if reply.status == 409:
        return [Call(method="GET", path=call.path)]
    return delivered() if reply.status == 200 else retry("later", after_s=5, holds="scope")
