"""Destinations: installed plugins, loaded by name, joined with a connection's settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec
import pluggy
from pydantic import BaseModel, SecretStr, ValidationError

from gateway.mparticle.registration import Declared
from gateway.mparticle.setting_fields import texts
from gateway.sdk import Destination
from gateway.sdk.hooks import Hooks
from gateway.settings import ConfigurationError, ConnectionSettings
from gateway.settings.errors import problems

GROUP = "gateway.destinations"


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
    configured: ConnectionSettings

    @property
    def configured_as(self) -> str:
        """Its name in the configuration, which the accounts of a hosted connection share."""
        return self.name.partition("/")[0]

    @property
    def key(self) -> str:
        """Where the configuration speaks of it."""
        return f"connections.{self.configured_as}"

    def mask(self, text: str) -> str:
        """The text with every secret of this connection's settings shown as ``***``, in URLs and in JSON too."""
        for secret in self.secrets:
            for spelling in (secret, quote(secret, safe=""), quote(secret), json.dumps(secret)[1:-1]):
                text = text.replace(spelling, "***")
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedConnection:
    """A connection that has a set of settings for each customer: a connection of its own for each account."""

    name: str
    plugin: Plugin
    configured: ConnectionSettings

    @property
    def offered(self) -> frozenset[str]:
        """The settings that a message may bring, by their ids: those that the configuration leaves open."""
        fields = self.plugin.destination.settings.model_fields
        ids = {field.alias or name: name for name, field in fields.items()}
        return frozenset(id for id, name in ids.items() if {id, name}.isdisjoint(self.configured.settings))

    def account(self, id: str, given: Mapping[str, Any]) -> Connection:
        """The connection of an account whose messages bring these settings.

        Raises ConfigurationError, whose problems name each setting that cannot be used, and PluginError.
        """
        prefix = f"{self.plugin.name}."
        own = {key.removeprefix(prefix): value for key, value in given.items() if "." not in key.removeprefix(prefix)}
        open_ = {key: value for key, value in own.items() if key in self.offered or not self._has(key)}
        try:
            brought = texts(self.plugin.destination.settings, open_)
        except ValueError as error:
            raise ConfigurationError([f"account {id}: {error}"]) from None
        settings = {**self.configured.settings, **brought}
        joined = connect(
            f"{self.name}/{id}", self.plugin, self.configured.model_copy(update={"settings": settings}), f"account {id}"
        )
        if not _is_public(
            joined.base_url, ours={value for value in self.configured.settings.values() if isinstance(value, str)}
        ):
            raise ConfigurationError([f"account {id}: the destination must be a public address"])
        return joined

    def without_account(self) -> Connection:
        """What stands for the connection where there is no account: it has no settings, and cannot be sent anything."""
        destination = msgspec.structs.replace(self.plugin.destination, rates=None, rate_headers=None)
        plugin = replace(self.plugin, destination=destination, hooks=MappingProxyType({}))
        return Connection(
            name=self.name, plugin=plugin, settings=None, base_url="", secrets=(), configured=self.configured
        )

    def problems(self) -> list[str]:
        """What is wrong with the settings that the configuration gives for all accounts, each with its full key."""
        try:
            self.plugin.destination.settings.model_validate(self.configured.settings)
        except ValidationError as error:
            return problems(error, f"connections.{self.name}.settings", missing=False)
        return []

    def _has(self, key: str) -> bool:
        return any(key in (name, field.alias) for name, field in self.plugin.destination.settings.model_fields.items())


def list_installed() -> dict[str, EntryPoint]:
    """The plugins installed in this environment, by name, none of them imported."""
    return {point.name: point for point in entry_points(group=GROUP)}


def describe_plugin(of: Connection | HostedConnection | Plugin) -> Declared:
    """What registration has to know of a connection; of a plugin itself, as if customers gave all of its settings."""
    plugin = of if isinstance(of, Plugin) else of.plugin
    asked = None if isinstance(of, Plugin) else of.offered if isinstance(of, HostedConnection) else frozenset()
    return plugin.name, plugin.version, plugin.destination, frozenset(plugin.hooks), asked


def load(name: str) -> Plugin:
    """Import one installed plugin and ask it what it is.

    Raises PluginError where it is not installed, cannot be imported, misspells a hook, or says nothing of itself.
    """
    point = list_installed().get(name)
    if point is None:
        known = ", ".join(sorted(list_installed())) or "none"
        raise PluginError(f"no plugin named {name!r} is installed (installed: {known})")
    try:
        module = point.load()
    except (Exception, SystemExit) as error:
        raise PluginError(f"plugin {name!r} cannot be imported: {type(error).__name__}: {error}") from error
    return make_plugin(name, module, version=point.dist.version if point.dist else "unknown")


def make_plugin(name: str, module: object, *, version: str) -> Plugin:
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


def connect(name: str, plugin: Plugin, configured: ConnectionSettings, of: str | None = None) -> Connection:
    """Join a plugin with one connection's configuration.

    Raises ConfigurationError with every problem of the plugin's settings, each with its full key, or saying what they
    are ``of``; PluginError where the plugin itself fails over them.
    """
    prefix = of or f"connections.{name}.settings"
    destination = plugin.destination
    try:
        settings = destination.settings.model_validate(configured.settings)
        base_url = destination.base_url(settings)
        for told in (destination.rates, destination.rate_headers):
            if told is not None:
                told(settings)
    except ValidationError as error:
        raise ConfigurationError(problems(error, prefix)) from None
    except Exception as error:  # its message may hold a secret
        raise PluginError(f"plugin {plugin.name!r} cannot use these settings: {type(error).__name__}") from error
    if not _is_safe(base_url):
        raise ConfigurationError([f"{prefix}: the destination must be reached over https, or on loopback"])
    if "?" in base_url or "#" in base_url:
        raise ConfigurationError([f"{prefix}: the destination's URL can have no query and no fragment"])
    return Connection(
        name=name,
        plugin=plugin,
        settings=settings,
        base_url=base_url.rstrip("/"),
        secrets=tuple(sorted(_secrets(settings), key=len, reverse=True)),
        configured=configured,
    )


def connect_all(
    connections: Mapping[str, ConnectionSettings],
    loader: Callable[[str], Plugin] = load,
) -> tuple[dict[str, Connection | HostedConnection], list[str]]:
    """Every connection that can be used, by name, and a line for each problem of those that cannot."""
    usable: dict[str, Connection | HostedConnection] = {}
    problems: list[str] = []
    once = cache(loader)
    for name, configured in connections.items():
        try:
            usable[name] = _join(name, once(configured.plugin), configured)
        except PluginError as error:
            problems.append(f"connections.{name}.plugin: {error}")
        except ConfigurationError as error:
            problems.extend(error.problems)
    return usable, problems


def _join(name: str, plugin: Plugin, configured: ConnectionSettings) -> Connection | HostedConnection:
    if configured.credentials == "configured":
        return connect(name, plugin, configured)
    hosted = HostedConnection(name=name, plugin=plugin, configured=configured)
    if problems := hosted.problems():
        raise ConfigurationError(problems)
    return hosted


def _is_public(url: str, *, ours: Iterable[str]) -> bool:
    """Whether a customer may have their data sent there: nowhere within our own walls but where we say so ourselves."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    if any(host == (urlsplit(one if "://" in one else f"https://{one}").hostname or "") for one in ours):
        return True
    try:
        return ip_address(host).is_global
    except ValueError:
        last = host.rpartition(".")[2]  # of digits: an address in one of its older spellings
        return "." in host and not last[:1].isdigit() and not host.endswith((".localhost", ".local", ".internal"))


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
