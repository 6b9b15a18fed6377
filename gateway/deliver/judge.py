"""Judging: the meaning of a reply for its call, decided by the plugin or by default."""

from __future__ import annotations

from contextlib import AbstractContextManager

import msgspec

from gateway.deliver import verdicts
from gateway.plan import FactPlan, check, make_fault, sort_answer
from gateway.plugins.connections import Connection
from gateway.sdk import Call, Reply, Verdict


def judge(connection: Connection, call: Call, reply: Reply, guard: AbstractContextManager[None]) -> Verdict | FactPlan:
    """Return a verdict, or the plan that the plugin gives instead: follow-ups, skips, memories. Raises PluginFault."""
    hook, title = connection.plugin.hooks.get("on_reply"), connection.plugin.destination.title
    if hook is None:
        return verdicts.default_verdict(reply, title)
    try:
        with guard:
            answer = hook(call=call, reply=reply, settings=connection.settings)
            if answer is None:
                return verdicts.default_verdict(reply, title)
            if isinstance(answer, Verdict):
                return check(_explain(answer, reply, title))
            return sort_answer(answer)
    except Exception as error:
        raise make_fault(connection, "on_reply", error) from error


def _explain(verdict: Verdict, reply: Reply, title: str) -> Verdict:
    """Return a verdict whose refusal of a foreign answer says whose answer it was not."""
    if verdict.word != "refused" or not reply.is_foreign:
        return verdict
    return msgspec.structs.replace(verdict, reason=verdicts.describe_foreign(reply, title))


def number_follow_ups(planned: FactPlan, after: Call, length: int) -> tuple[Call, ...]:
    """Return follow-up calls with ids derived from the call they follow, in its lane."""
    stem = after.id.partition(".")[0]
    return tuple(
        msgspec.structs.replace(call, id=f"{stem}.{length}.{position}", lane=after.lane)
        for position, call in enumerate(planned.calls)
    )
