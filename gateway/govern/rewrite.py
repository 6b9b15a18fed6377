"""Rewriting: a platform team's own rule packages change batches before they are planned."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

import pluggy

from gateway.log import logger
from gateway.plugins.blackbox import Blackbox
from gateway.plugins.watchdog import HookTimeout, Watchdog
from gateway.sdk import Batch
from gateway.sdk.hooks import Hooks
from gateway.settings import ConfigurationError, RulesSettings

GROUP = "gateway.rules"
KEPT = ("id", "part", "dialect", "erasure", "alias", "quarantined")


class RewriteFault(Exception):
    """A rule package raised, took too long, or returned an invalid batch. Names the package, never a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewriter:
    """The rule packages of the configuration, applied one after the other. ``guard`` bounds the time of each.

    ``passes_on_failure``: if a package fails on a batch, the batch goes on unchanged by it.
    """

    hooks: tuple[tuple[str, Callable[..., Any]], ...] = ()
    guard: AbstractContextManager[None]
    passes_on_failure: bool = False

    def rewrite(self, batch: Batch) -> Batch:
        """Return the batch as all packages change it; an erasure unchanged. Raises RewriteFault if a package fails."""
        if batch.erasure is not None:
            return batch
        for name, hook in self.hooks:
            try:
                batch = self._apply(name, hook, batch)
            except RewriteFault as fault:
                if not self.passes_on_failure:
                    raise
                logger.warning("rule failed; the batch goes on unchanged", message=batch.id, problem=str(fault))
        return batch

    def _apply(self, name: str, hook: Callable[..., Any], batch: Batch) -> Batch:
        try:
            try:
                changed = self._call(hook, batch)
            except HookTimeout:  # once more: the machine may have stood still
                changed = self._call(hook, batch)
        except HookTimeout:
            raise RewriteFault(f"{name} rewrite: took too long, twice") from None
        except Exception as error:
            raise RewriteFault(f"{name} rewrite: {type(error).__name__}") from error
        if changed is None:
            return batch
        if not isinstance(changed, Batch):
            raise RewriteFault(f"{name} rewrite: expected a Batch, got {type(changed).__name__}")
        other = [field for field in KEPT if getattr(changed, field) != getattr(batch, field)]
        if other or changed.user.mpid != batch.user.mpid:
            raise RewriteFault(f"{name} rewrite: a batch's {other[0] if other else 'user.mpid'} may not be changed")
        return changed

    def _call(self, hook: Callable[..., Any], batch: Batch) -> Any:
        with self.guard:
            return hook(batch=batch)


def load_rewriter(rules: RulesSettings, box: Blackbox | None = None) -> Rewriter:
    """Load the rule packages that the configuration names; ``box`` notes when one runs.

    Raises ConfigurationError naming each package that is not installed, cannot be imported, or has no ``rewrite``.
    """
    points = {point.name: point for point in entry_points(group=GROUP)}
    missing = [name for name in rules.packages if name not in points]
    if missing:
        raise ConfigurationError([f"rules.packages: no package named {name!r} is installed" for name in missing])
    hooks = tuple((name, _load_hook(name, points[name].load)) for name in rules.packages)
    return Rewriter(
        hooks=hooks,
        guard=Watchdog(rules.timeout_s, box=box, connection="rules"),
        passes_on_failure=rules.on_failure == "pass",
    )


def _load_hook(name: str, load: Callable[[], Any]) -> Callable[..., Any]:
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
