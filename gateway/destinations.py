"""Destinations: installed plugins, loaded by name, joined with a connection's settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, urlsplit

import pluggy
from pydantic import BaseModel, SecretStr, ValidationError

from gateway import settings as configuration
from gateway.sdk import Destination
from gateway.sdk.hooks import Hooks

GROUP = "gateway.destinations"
PLANNING_HOOKS = (
    "on_identity",
    "on_attributes",
    "on_event",
    "on_session",
    "on_audience",
    "on_membership",
    "on_erasure",
)


class PluginError(Exception):
    """A plugin cannot be used; says which and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """One loaded plugin. ``hooks`` maps the names of the hooks it has to callables that take keywords."""

    name: str
    version: str
    destination: Destination
    hooks: Mapping[str, Callable[..., Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A destination with its settings: everything that planning and delivery need to know of it."""

    name: str
    plugin: Plugin
    settings: Any
    base_url: str
    secrets: tuple[str, ...]
    configured: configuration.ConnectionSettings

    def masked(self, text: str) -> str:
        """The text with every secret of this connection's settings shown as ``***``, in URLs and in JSON too."""
        for secret in self.secrets:
            for spelling in (secret, quote(secret, safe=""), quote(secret), json.dumps(secret)[1:-1]):
                text = text.replace(spelling, "***")
        return text


def installed() -> dict[str, EntryPoint]:
    """The plugins installed in this environment, by name, none of them imported."""
    return {point.name: point for point in entry_points(group=GROUP)}


def load(name: str) -> Plugin:
    """Import one installed plugin and ask it what it is.

    Raises PluginError where it is not installed, cannot be imported, misspells a hook, or says nothing of itself.
    """
    point = installed().get(name)
    if point is None:
        known = ", ".join(sorted(installed())) or "none"
        raise PluginError(f"no plugin named {name!r} is installed (installed: {known})")
    try:
        module = point.load()
    except (Exception, SystemExit) as error:
        raise PluginError(f"plugin {name!r} cannot be imported: {type(error).__name__}: {error}") from error
    return adopt(name, module, version=point.dist.version if point.dist else "unknown")


def adopt(name: str, module: object, *, version: str) -> Plugin:
    """Make a Plugin of a module or object that implements the hooks. Raises PluginError as ``load`` does.

    Each plugin has a manager of its own, so that it is always asked alone: one that raises or returns
    nonsense can neither silence another nor be taken for it.
    """
    manager = pluggy.PluginManager("gateway")
    manager.add_hookspecs(Hooks)
    try:
        manager.register(module, name=name)
        manager.check_pending()
    except Exception as error:
        raise PluginError(f"plugin {name!r}: {error}") from error
    hooks = {caller.name: caller for caller in manager.get_hookcallers(module) or []}
    if "destination" not in hooks:
        raise PluginError(f"plugin {name!r} implements no destination() hook")
    try:
        destination = hooks["destination"]()
    except Exception as error:
        raise PluginError(f"plugin {name!r}: destination() raised {type(error).__name__}: {error}") from error
    if not isinstance(destination, Destination):
        raise PluginError(f"plugin {name!r}: destination() must return a Destination")
    return Plugin(name=name, version=version, destination=destination, hooks=MappingProxyType(hooks))


def connect(name: str, plugin: Plugin, configured: configuration.ConnectionSettings) -> Connection:
    """Join a plugin with one connection's configuration.

    Raises ConfigurationError with every problem of the plugin's settings, each with its full key; PluginError where
    the plugin itself fails over them.
    """
    prefix = f"connections.{name}.settings"
    destination = plugin.destination
    try:
        settings = destination.settings.model_validate(configured.settings)
        base_url = destination.base_url(settings)
        for told in (destination.rates, destination.rate_headers):
            if told is not None:
                told(settings)
    except ValidationError as error:
        raise configuration.ConfigurationError(configuration.problems(error, prefix)) from None
    except Exception as error:  # its message may hold a secret
        raise PluginError(f"plugin {plugin.name!r} cannot use these settings: {type(error).__name__}") from error
    if not _is_safe(base_url):
        raise configuration.ConfigurationError(
            [f"{prefix}: the destination must be reached over https, or on loopback"]
        )
    return Connection(
        name=name,
        plugin=plugin,
        settings=settings,
        base_url=base_url.rstrip("/"),
        secrets=tuple(sorted(_secrets(settings), key=len, reverse=True)),
        configured=configured,
    )


def connect_all(
    connections: Mapping[str, configuration.ConnectionSettings],
    loader: Callable[[str], Plugin] = load,
) -> tuple[dict[str, Connection], list[str]]:
    """Every connection that can be used, by name, and a line for each problem of those that cannot."""
    usable: dict[str, Connection] = {}
    problems: list[str] = []
    once = cache(loader)
    for name, configured in connections.items():
        try:
            usable[name] = connect(name, once(configured.plugin), configured)
        except PluginError as error:
            problems.append(f"connections.{name}.plugin: {error}")
        except configuration.ConfigurationError as error:
            problems.extend(error.problems)
    return usable, problems


def _is_safe(url: str) -> bool:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  # may be no number
    except ValueError:
        return False
    if parts.scheme == "https":
        return bool(parts.hostname)
    return parts.scheme == "http" and _is_loopback(parts.hostname or "")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _secrets(model: BaseModel) -> Iterator[str]:
    for value in dict(model).values():
        yield from _secret_values(value)


def _secret_values(value: object) -> Iterable[str]:
    if isinstance(value, SecretStr):
        return [value.get_secret_value()] if value.get_secret_value() else []
    if isinstance(value, BaseModel):
        return _secrets(value)
    if isinstance(value, (list, tuple)):
        return [secret for item in value for secret in _secret_values(item)]
    if isinstance(value, dict):
        return [secret for item in value.values() for secret in _secret_values(item)]
    return []
