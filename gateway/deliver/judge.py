"""Judging: what a reply means for its call, by the plugin's word or by default."""

from __future__ import annotations

from contextlib import AbstractContextManager

import msgspec

from gateway.deliver import verdicts
from gateway.plan import FactPlan, check, make_fault, sort_answer
from gateway.plugins.connections import Connection
from gateway.sdk import Call, Reply, Verdict


def judge(connection: Connection, call: Call, reply: Reply, guard: AbstractContextManager[None]) -> Verdict | FactPlan:
    """A verdict, or what the plugin plans instead: further calls, skips, things to remember. Raises PluginFault."""
    hook = connection.plugin.hooks.get("on_reply")
    if hook is None:
        return verdicts.default(reply)
    try:
        with guard:
            answer = hook(call=call, reply=reply, settings=connection.settings)
            if answer is None:
                return verdicts.default(reply)
            return check(answer) if isinstance(answer, Verdict) else sort_answer(answer)
    except Exception as error:
        raise make_fault(connection, "on_reply", error) from error


def numbered(planned: FactPlan, after: Call, length: int) -> tuple[Call, ...]:
    """Follow-up calls with ids made of the one they follow, and in its lane."""
    stem = after.id.partition(".")[0]
    return tuple(
        msgspec.structs.replace(call, id=f"{stem}.{length}.{position}", lane=after.lane)
        for position, call in enumerate(planned.calls)
    )
