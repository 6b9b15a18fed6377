"""Rewriting: a platform team's own packages change batches before they are planned."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

import pluggy

from gateway.sdk import Batch
from gateway.sdk.hooks import Hooks
from gateway.settings import ConfigurationError

GROUP = "gateway.rules"
Rewrite = Callable[[Batch], Batch]


class RewriteFault(Exception):
    """A package raised, or returned something that is no batch. Names the package, never a value."""


def rewriter(packages: tuple[str, ...]) -> Rewrite:
    """The packages of the configuration, applied one after the other.

    Raises ConfigurationError naming each that is not installed, cannot be imported, or has no ``rewrite``.
    """
    points = {point.name: point for point in entry_points(group=GROUP)}
    problems = [f"rules.packages: no package named {name!r} is installed" for name in packages if name not in points]
    if problems:
        raise ConfigurationError(problems)
    hooks = [(name, _hook(name, points[name].load)) for name in packages]

    def rewrite(batch: Batch) -> Batch:
        for name, hook in hooks:
            batch = _applied(name, hook, batch)
        return batch

    return rewrite


def _hook(name: str, load: Callable[[], Any]) -> Callable[..., Any]:
    manager = pluggy.PluginManager("gateway")
    manager.add_hookspecs(Hooks)
    try:
        manager.register(load(), name=name)
        manager.check_pending()
    except Exception as error:
        raise ConfigurationError([f"rules.packages: {name!r}: {type(error).__name__}: {error}"]) from error
    if not manager.hook.rewrite.get_hookimpls():
        raise ConfigurationError([f"rules.packages: {name!r} implements no rewrite() hook"])
    hook: Callable[..., Any] = manager.hook.rewrite
    return hook


def _applied(name: str, hook: Callable[..., Any], batch: Batch) -> Batch:
    try:
        changed = hook(batch=batch)
    except Exception as error:
        raise RewriteFault(f"{name} rewrite: {type(error).__name__}") from error
    if changed is None:
        return batch
    if not isinstance(changed, Batch):
        raise RewriteFault(f"{name} rewrite: expected a Batch, got {type(changed).__name__}")
    return changed
