"""Connections: installed plugins, loaded by name, and joined with a connection's settings."""

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
from gateway.mparticle.setting_fields import parse_texts
from gateway.plugins.addresses import find_obstacle, names_server
from gateway.plugins.reasons import Reasons
from gateway.sdk import Destination
from gateway.sdk.hooks import Hooks
from gateway.settings import ConfigurationError, ConnectionSettings
from gateway.settings.errors import list_problems

GROUP = "gateway.destinations"


class PluginError(Exception):
    """A plugin cannot be used. The message says which and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """A loaded plugin. ``hooks`` maps names of hooks to callables that take keyword arguments.

    ``reasons`` are those by which facts of its connections are counted.
    """

    name: str
    version: str
    destination: Destination
    hooks: Mapping[str, Callable[..., Any]]
    reasons: Reasons


MIN_SECRET_CHARS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A destination with its settings: all that planning and delivery need to know about it.

    ``is_customers``: a customer named the destination's address, which must be public whenever it is dialled.
    """

    name: str
    plugin: Plugin
    settings: Any
    base_url: str
    secrets: tuple[str, ...]
    configured: ConnectionSettings
    is_customers: bool = False

    @property
    def configured_as(self) -> str:
        """Its name in the configuration. All accounts of a hosted connection share it."""
        return self.name.partition("/")[0]

    @property
    def key(self) -> str:
        """The key of its table in the configuration."""
        return f"connections.{self.configured_as}"

    def mask(self, text: str) -> str:
        """Return the text with every secret of this connection shown as ``***``, in URLs and in JSON too."""
        for secret in self.secrets:
            for spelling in (secret, quote(secret, safe=""), quote(secret), json.dumps(secret)[1:-1]):
                text = text.replace(spelling, "***")
        return text

    def count_by(self, reason: str, detail: str = "") -> tuple[str, str]:
        """Return the reason by which a fact is counted, and the detail with a reason that is not, masked."""
        named, detail = self.plugin.reasons.split(reason, detail)
        return named, self.mask(detail)

    def mask_values(self, value: Any) -> Any:
        """Return a JSON value whose texts are masked; the names of members stay as they are."""
        if isinstance(value, str):
            return self.mask(value)
        if isinstance(value, Mapping):
            return {name: self.mask_values(each) for name, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.mask_values(each) for each in value]
        return value

    def list_short_secrets(self) -> list[str]:
        """Return the settings whose secret has fewer than MIN_SECRET_CHARS characters: masking hides parts of words."""
        return [
            name
            for name, value in dict(self.settings).items()
            if any(len(secret) < MIN_SECRET_CHARS for secret in _secret_values(value))
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedConnection:
    """A connection with different settings for each account: each account has a connection of its own."""

    name: str
    plugin: Plugin
    configured: ConnectionSettings

    @property
    def offered(self) -> frozenset[str]:
        """The ids of the settings that a message may bring: those that the configuration does not set."""
        fields = self.plugin.destination.settings.model_fields
        ids = {field.alias or name: name for name, field in fields.items()}
        return frozenset(id for id, name in ids.items() if {id, name}.isdisjoint(self.configured.settings))

    def connect_account(self, id: str, given: Mapping[str, Any]) -> Connection:
        """Return the connection of an account whose messages bring these settings.

        Raises ConfigurationError, which names each setting that cannot be used, and PluginError.
        """
        prefix = f"{self.plugin.name}."
        own = {key.removeprefix(prefix): value for key, value in given.items() if "." not in key.removeprefix(prefix)}
        open_ = {key: value for key, value in own.items() if key in self.offered or not self._has(key)}
        try:
            brought = parse_texts(self.plugin.destination.settings, open_)
        except ValueError as error:
            raise ConfigurationError([f"account {id}: {error}"]) from None
        settings = {**self.configured.settings, **brought}
        joined = connect(
            f"{self.name}/{id}", self.plugin, self.configured.model_copy(update={"settings": settings}), f"account {id}"
        )
        ours = {value for value in self.configured.settings.values() if isinstance(value, str)}
        if obstacle := find_obstacle(joined.base_url, ours=ours):
            raise ConfigurationError([f"account {id}: {obstacle}"])
        return replace(joined, is_customers=not names_server(joined.base_url, ours))

    def without_account(self) -> Connection:
        """Return the connection for messages without an account: it has no settings and no hooks."""
        destination = msgspec.structs.replace(self.plugin.destination, rates=None, rate_headers=None)
        plugin = replace(self.plugin, destination=destination, hooks=MappingProxyType({}))
        return Connection(
            name=self.name, plugin=plugin, settings=None, base_url="", secrets=(), configured=self.configured
        )

    def find_problems(self) -> list[str]:
        """Return the problems of the settings that all accounts share, each with its full key."""
        try:
            self.plugin.destination.settings.model_validate(self.configured.settings)
        except ValidationError as error:
            return list_problems(error, f"connections.{self.name}.settings", missing=False)
        return []

    def _has(self, key: str) -> bool:
        return any(key in (name, field.alias) for name, field in self.plugin.destination.settings.model_fields.items())


def list_installed() -> dict[str, EntryPoint]:
    """Return the plugins installed in this environment by name, without importing them."""
    return {point.name: point for point in entry_points(group=GROUP)}


def describe_plugin(of: Connection | HostedConnection | Plugin) -> Declared:
    """Return what registration needs to know about a connection; of a plugin, as if customers gave all settings."""
    plugin = of if isinstance(of, Plugin) else of.plugin
    asked = None if isinstance(of, Plugin) else of.offered if isinstance(of, HostedConnection) else frozenset()
    return plugin.name, plugin.version, plugin.destination, frozenset(plugin.hooks), asked


def load_plugin(name: str) -> Plugin:
    """Import one installed plugin and call its ``destination`` hook.

    Raises PluginError if it is not installed, cannot be imported, misspells a hook, or returns no Destination.
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
    """Make a Plugin of a module or object that implements the hooks. Raises PluginError as ``load_plugin`` does.

    Each plugin has a manager of its own and is always called alone: an error in one plugin cannot keep another from
    being called, and no result can be taken for another plugin's.
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
        raise PluginError(f"plugin {name!r} does not implement destination()")
    try:
        destination = hooks["destination"]()
    except Exception as error:
        raise PluginError(f"plugin {name!r}: destination() raised {type(error).__name__}: {error}") from error
    if not isinstance(destination, Destination):
        raise PluginError(f"plugin {name!r}: destination() must return a Destination")
    return Plugin(
        name=name,
        version=version,
        destination=destination,
        hooks=MappingProxyType(hooks),
        reasons=Reasons(destination.reasons),
    )


def connect(name: str, plugin: Plugin, configured: ConnectionSettings, of: str | None = None) -> Connection:
    """Join a plugin with one connection's configuration.

    Raises ConfigurationError with every problem of the plugin's settings, each with its full key (or with ``of`` in the
    place of the key); PluginError if the plugin itself fails with these settings.
    """
    prefix = of or f"connections.{name}.settings"
    destination = plugin.destination
    try:
        settings = destination.settings.model_validate(configured.settings)
        base_url = destination.base_url(settings)
        for hook in (destination.rates, destination.rate_headers):
            if hook is not None:
                hook(settings)
    except ValidationError as error:
        raise ConfigurationError(list_problems(error, prefix)) from None
    except Exception as error:  # its own message may hold a secret
        raise PluginError(f"plugin {plugin.name!r} cannot use these settings: {type(error).__name__}") from error
    if not _is_safe(base_url):
        raise ConfigurationError([f"{prefix}: the destination must be reached over https, or on loopback"])
    if "?" in base_url or "#" in base_url:
        raise ConfigurationError([f"{prefix}: the destination's URL must have no query and no fragment"])
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
    loader: Callable[[str], Plugin] = load_plugin,
) -> tuple[dict[str, Connection | HostedConnection], list[str]]:
    """Return every connection that can be used by name, and a line for each problem of the others."""
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
    if problems := hosted.find_problems():
        raise ConfigurationError(problems)
    return hosted


def _is_safe(url: str) -> bool:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  # raises if it is not a number
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
