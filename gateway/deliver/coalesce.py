"""Folding: several waiting calls of a lane become fewer, as the plugin's ``coalesce`` decides, and none is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager

from gateway.log import logger
from gateway.plan import InvalidPlan, check, make_fault
from gateway.plugins.connections import Connection
from gateway.sdk import Call


def fold(connection: Connection, calls: Sequence[Call], guard: AbstractContextManager[None]) -> Sequence[Call]:
    """Return the calls as the plugin's ``coalesce`` folds them; unchanged if it has no such hook or the hook fails."""
    hook = connection.plugin.hooks.get("coalesce")
    if hook is None or len(calls) < 2:
        return calls
    try:
        with guard:
            folded = hook(calls=tuple(calls), settings=connection.settings)
        return calls if folded is None else _check_covers(calls, folded)
    except Exception as error:  # noqa: BLE001  # a plugin's mistake must not cost its user's data
        logger.warning(
            "coalesce failed", connection=connection.name, problem=str(make_fault(connection, "coalesce", error))
        )
        return calls


def _check_covers(offered: Sequence[Call], folded: Sequence[Call]) -> Sequence[Call]:
    """Return the folded calls if they cover each offered call exactly once. Raises InvalidPlan."""
    covered = Counter(id for call in folded for id in (call.covers or (call.id,)))
    if covered != Counter(call.id for call in offered):
        raise InvalidPlan("coalesce must cover each call it is given exactly once")
    if any(call.covers and call.id not in call.covers for call in folded):
        raise InvalidPlan("a folded call must cover its own id too")
    return [check(call) for call in folded]
