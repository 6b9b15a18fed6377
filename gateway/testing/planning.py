"""Planning as the gateway does it, without a running gateway."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway import plan, settings
from gateway.facts import iter_facts
from gateway.plugins.connections import Connection, connect, make_plugin
from gateway.sdk import Batch, Call, Memory, Remember, Skip


def connection(
    plugin: object,
    values: dict[str, Any],
    *,
    name: str = "test",
    configured: settings.ConnectionSettings | None = None,
) -> Connection:
    """Return a connection of a plugin (a module) with these settings, or with a whole configuration.

    Raises ConfigurationError that names every wrong setting.
    """
    adopted = make_plugin(name, plugin, version="0")
    return connect(name, adopted, configured or settings.ConnectionSettings(plugin=name, settings=values))


def plan_with(
    plugin: object, batch: Batch, values: dict[str, Any], *, memory: Memory = plan.NO_MEMORY, ids: bool = False
) -> list[Call | Skip | Remember]:
    """Return what the plugin plans for a batch, fact by fact: calls, then skips, then memories.

    The hooks see the batch as it is: no filter or rule is applied. Call ids are removed unless ``ids`` is true, to
    make plans easy to compare. Raises PluginFault as the gateway would record it.
    """
    items: list[Call | Skip | Remember] = []
    for fact in plan.plan(batch, connection(plugin, values), iter_facts(batch), memory):
        items.extend(fact.calls if ids else (_without_id(call) for call in fact.calls))
        items.extend(fact.skips)
        items.extend(fact.memories)
    return items


def _without_id(call: Call) -> Call:
    return msgspec.structs.replace(call, id="")
