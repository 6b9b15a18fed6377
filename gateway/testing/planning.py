"""Planning as the gateway does it, with nothing else of the gateway running."""

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
    """A connection of a plugin (its module) with these values for its settings, or configured as a whole.

    Raises ConfigurationError naming every setting that is wrong.
    """
    adopted = make_plugin(name, plugin, version="0")
    return connect(name, adopted, configured or settings.ConnectionSettings(plugin=name, settings=values))


def plan_with(
    plugin: object, batch: Batch, values: dict[str, Any], *, memory: Memory = plan.NO_MEMORY, ids: bool = False
) -> list[Call | Skip | Remember]:
    """Everything the plugin plans for a batch, fact by fact: calls, then skips, then what it remembers.

    The batch is exactly what its hooks see: no filter or rule is applied. Call ids are left out unless
    ``ids``, to make plans easy to compare. Raises PluginFault as the gateway would record it.
    """
    items: list[Call | Skip | Remember] = []
    for fact in plan.plan(batch, connection(plugin, values), iter_facts(batch), memory):
        items.extend(fact.calls if ids else (_without_id(call) for call in fact.calls))
        items.extend(fact.skips)
        items.extend(fact.memories)
    return items


def _without_id(call: Call) -> Call:
    return msgspec.structs.replace(call, id="")
