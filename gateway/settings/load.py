"""Models of the configuration and their loading: one TOML file, overridden by secret files and the environment.

``GATEWAY_INGRESS__BIND`` overrides ``bind`` in ``[ingress]``: two underscores separate levels. The directory
``GATEWAY_SECRETS_DIR`` may hold one file for each value, named the same way without the prefix
(``connections__loyalty__settings__api_secret``).
"""

from __future__ import annotations

import os
import re
from base64 import b64decode
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, Field, SecretStr, TypeAdapter, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from gateway.settings.errors import list_problems
from gateway.settings.filtering import (
    AttributeValues,
    Change,
    ConsentRules,
    Filter,
    IdentityType,
    Percent,
    Platform,
    Section,
    Version,
)
from gateway.settings.sources import find_text_source, with_sources


class ConfigurationError(Exception):
    """The configuration cannot be used. ``problems`` has a line for each problem.

    ``rest`` holds the sections that could be read, so that further problems can be found there; the sections in
    ``doubtful`` could not.
    """

    def __init__(
        self, problems: list[str], rest: Configuration | None = None, doubtful: frozenset[str] = frozenset()
    ) -> None:
        super().__init__("; ".join(problems))
        self.problems, self.rest, self.doubtful = problems, rest, doubtful


MAX_PORT = 65_535


def _bind(value: str) -> str:
    port = value.rpartition(":")[2]
    if ":" in value and port.isdecimal() and int(port[:9]) > MAX_PORT:
        raise ValueError(f"the port is out of range: the highest is {MAX_PORT}")
    try:
        parts = urlsplit(f"//{value}")
        fine = bool(parts.hostname) and parts.port is not None
    except ValueError:
        fine = False
    if not fine:
        raise ValueError("must be HOST:PORT, for example 127.0.0.1:8080 or [::1]:8080")
    return value


def _journal_url(value: str) -> str:
    if value.startswith(("postgresql://", "postgres://")):
        return _postgres_url(value)
    if not value.startswith("sqlite:///"):
        raise ValueError(
            "must name a file, for example sqlite:///gateway.db, or a server, for example postgresql://user@host/database"
        )
    if len(value) == len("sqlite:///"):
        raise ValueError("names no file")
    return value


def _postgres_url(value: str) -> str:
    """Check a URL without quoting any of it: through a typing error any part may hold the password."""
    parts = urlsplit(value)
    hosts = parts.netloc.rpartition("@")[2]
    given = parse_qs(parts.query)
    has_directory = not hosts and given.get("host", [""])[0].startswith("/")
    if "@" in parts.path + parts.query + parts.fragment or parts.fragment or "@" in parts.netloc.rpartition("@")[0]:
        raise ValueError("in a user or password, write @ / ? # as %40 %2F %3F %23")
    if not hosts and not has_directory:
        raise ValueError(
            "names no host, for example postgresql://user@host/database, or postgresql://user@/database?host=/run/postgresql"
        )
    for host in hosts.split(",") if hosts else ():
        port = host.rpartition("]")[2].partition(":")[2]
        if port and not port.isdecimal():
            raise ValueError("a port is not a number; in a user or password, write : / ? # @ as %3A %2F %3F %23 %40")
    if not parts.path.strip("/"):
        raise ValueError("names no database, for example postgresql://user@host/database")
    return value


class IngressSettings(Section):
    """``[ingress]``: the endpoint that mParticle posts to."""

    bind: Annotated[str, AfterValidator(_bind)] = Field(
        "127.0.0.1:8080", description="Host and port to listen on; port 0 takes any free port."
    )
    authorization: tuple[SecretStr, ...] = Field(
        (),
        description="Whole values of the Authorization header to accept. List the old and the new one to rotate them.",
    )
    anonymous: bool = Field(
        default=False, description="Accept posts without any Authorization header (only on a closed network)."
    )
    max_body_bytes: int = Field(1_048_576, ge=1024, description="Largest body accepted, after decompression.")
    processes: int = Field(1, ge=1, le=64, description="Number of ingest processes.")
    max_waiting_bytes: int = Field(
        67_108_864, ge=1024, description="Bytes of bodies being read or stored above which posts are answered 503."
    )
    read_timeout_s: float = Field(30.0, gt=0, description="Time limit for a client to send a body.")
    shutdown_s: float = Field(10.0, gt=0, description="Time limit for finishing open requests and calls at a stop.")

    @model_validator(mode="after")
    def _has_authorization(self) -> IngressSettings:
        if not self.authorization and not self.anonymous:
            raise ValueError("authorization is empty: give at least one value, or set anonymous = true")
        for number, value in enumerate(self.authorization):
            _check_header(value.get_secret_value(), number)
        return self


def _check_header(value: str, number: int) -> None:
    """Raise ValueError if no Authorization header can have this value; never quote it."""
    if not value.strip():
        raise ValueError("authorization has a blank value")
    if not (value.isascii() and value.isprintable()):
        raise ValueError(f"authorization value {number} can match no header: it may hold visible ASCII and spaces only")


class JournalSettings(Section):
    """``[journal]``: the database that stores accepted messages until delivery, and for some time afterwards."""

    url: Annotated[str, AfterValidator(_journal_url)] = Field(
        "sqlite:///gateway.db",
        repr=False,
        description="The journal's database: a file, or `postgresql://user@host/database`.",
    )
    password: SecretStr | None = Field(None, description="Password of the server, if the URL has none.")
    lease_s: float = Field(
        15.0, gt=0, description="On a server: time after which the lanes of a silent process may be claimed by others."
    )
    max_waiting_facts: int = Field(
        20_000_000, ge=0, description="Waiting facts above which posts are answered 503; 0: no limit."
    )
    min_free_bytes: int = Field(
        268_435_456, ge=0, description="Free bytes on a file's disk below which posts are answered 503; 0: no limit."
    )
    retention_hours: float = Field(
        72.0, gt=0, description="Time for which finished batches and the ledger are kept, and repeats recognised."
    )


def _sealing_key(value: SecretStr) -> SecretStr:
    try:
        fine = len(b64decode(value.get_secret_value(), validate=True)) == SEALING_KEY_BYTES
    except ValueError:
        fine = False
    if not fine:
        raise ValueError("must be 32 bytes in base64, as `openssl rand -base64 32` prints them")
    return value


SEALING_KEY_BYTES = 32


class AccountsSettings(Section):
    """``[accounts]``: encryption of the accounts' settings that messages bring."""

    sealing_keys: tuple[Annotated[SecretStr, AfterValidator(_sealing_key)], ...] = Field(
        (),
        description="Keys of 32 bytes in base64. The first encrypts, all decrypt: put a new one first to rotate them.",
    )

    def keys(self) -> list[bytes]:
        """Return the keys as bytes."""
        return [b64decode(key.get_secret_value()) for key in self.sealing_keys]


class DeliverySettings(Section):
    """``[delivery]``: concurrency, retries and limits of deliveries."""

    in_flight: int = Field(64, ge=1, description="Lanes of one connection that are worked on at the same time.")
    retry_first_s: float = Field(
        1.0, gt=0, description="Longest back-off before the first retry; it doubles with each further one."
    )
    retry_most_s: float = Field(300.0, gt=0, description="Longest back-off before any retry.")
    give_up_after_hours: float = Field(72.0, gt=0, description="A call that fails for this long becomes a dead letter.")
    pause_s: float = Field(
        30.0,
        gt=0,
        description="Longest pause of a connection after refused credentials, before one call is tried again.",
    )
    hook_timeout_s: float = Field(2.0, gt=0, description="Time limit for one hook.")
    hook_memory_bytes: int = Field(
        536_870_912, ge=0, description="Memory that one hook may allocate, on Linux; 0: no limit."
    )


class LogSettings(Section):
    """``[log]``: the log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level to write.")
    format: Literal["json", "text"] = Field("json", description="One JSON object a line, or text for people.")


class ConnectionSettings(Section):
    """``[connections.NAME]``: a destination with its settings, filter and rules."""

    plugin: str = Field(description="The plugin's name, as `gateway plugins` lists it.")
    credentials: Literal["configured", "account"] = Field(
        "configured",
        description="`account`: each Firehose message brings the settings of its account that are not given here.",
    )
    settings: dict[str, Any] = Field({}, repr=False, description="The plugin's own settings.")
    filter: Filter = Field(Filter(), description="The data filter.")
    login_identities: tuple[IdentityType, ...] | None = Field(
        None, description="Send only users with one of these identities; [] sends all users. Default: the plugin's."
    )
    max_age_hours: float | None = Field(
        None, ge=0, description="Do not send events older than this; 0 sends all. Default: the plugin's."
    )
    no_replayed: bool | None = Field(
        None, description="Do not send data that mParticle posts again in a replay. Default: the plugin's."
    )
    no_historical: bool | None = Field(
        None, description="Do not send data that mParticle marks as historical. Default: the plugin's."
    )
    platforms: tuple[Platform, ...] | None = Field(
        None, description="Send only data from these platforms; `unknown` means data without a platform."
    )
    environments: tuple[Literal["production", "development", "unknown"], ...] | None = Field(
        None, description="Send only data of these environments."
    )
    min_app_version: Version | None = Field(
        None, description="Do not send data of older versions of an app; data without a version is sent."
    )
    sample_percent: Percent = Field(100.0, description="Percentage of users to send, always the same users.")
    consent: ConsentRules = Field(ConsentRules(), description="Consent that a user must have given.")
    only_events_with: AttributeValues = Field(
        {}, description="Send only events that have, for each of these attributes, one of its values."
    )
    no_events_with: AttributeValues = Field(
        {}, description="Do not send events that have, for one of these attributes, one of its values."
    )
    changes: tuple[Change, ...] = Field((), description="Changes of names and values, in order, after the filter.")


class RulesSettings(Section):
    """``[rules]``: packages that rewrite batches before planning."""

    packages: tuple[str, ...] = Field((), description="Entry points in the group gateway.rules, applied in this order.")
    timeout_s: float = Field(0.2, gt=0, description="Time limit of one package for a batch.")
    on_failure: Literal["discard", "pass"] = Field(
        "discard",
        description="If a package fails on a batch: `discard` makes its facts dead letters, `pass` skips the package.",
    )


NO_SEALING_KEY = (
    "accounts.sealing_keys: is empty; make a key with `openssl rand -base64 32`, and set "
    "GATEWAY_ACCOUNTS__SEALING_KEYS='[\"…\"]'"
)
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


def _name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError("must be at most 40 lower-case letters, digits and underscores, and begin with a letter")
    return value


class Configuration(BaseSettings):
    """The whole configuration. Build it with ``load``."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix="GATEWAY_", env_nested_delimiter="__", hide_input_in_errors=True
    )

    ingress: IngressSettings
    journal: JournalSettings = JournalSettings()
    accounts: AccountsSettings = AccountsSettings()
    delivery: DeliverySettings = DeliverySettings()
    log: LogSettings = LogSettings()
    rules: RulesSettings = RulesSettings()
    connections: dict[Annotated[str, AfterValidator(_name)], ConnectionSettings] = {}

    @property
    def hosted(self) -> frozenset[str]:
        """Names of the connections whose settings come from accounts."""
        return frozenset(name for name, one in self.connections.items() if one.credentials == "account")

    def require_sealing_key(self) -> None:
        """Raise ConfigurationError if a connection takes settings from accounts and no sealing key is configured."""
        if self.hosted and not self.accounts.sealing_keys:
            raise ConfigurationError(
                [f"{NO_SEALING_KEY}; connections.{min(self.hosted)} takes its settings from accounts"]
            )


def load(file: Path | None, environ_secrets: str | None = None) -> Configuration:
    """Read the configuration from a TOML file, secret files and the environment, the later winning.

    Raises ConfigurationError with every problem found, each naming its key.
    """
    loaded: dict[str, Any] = {}
    secrets = environ_secrets or os.environ.get("GATEWAY_SECRETS_DIR")

    if file is not None and not file.is_file():
        raise ConfigurationError([f"{file}: no such file"])
    if secrets and not Path(secrets).is_dir():
        raise ConfigurationError([f"GATEWAY_SECRETS_DIR: {secrets} is not a directory"])
    unknown = [f"{name}: no such setting" for name in os.environ if _is_misspelt(name)]
    try:
        settings = with_sources(Configuration, file, secrets, loaded)()  # the sources give its values
    except ValidationError as error:
        doubtful = frozenset(str(item["loc"][0]) for item in error.errors(include_input=False))
        found = list_problems(error, given_by=lambda place: find_text_source(place, secrets))
        raise ConfigurationError([*unknown, *found], _rest(loaded, doubtful), doubtful) from None
    except SettingsError as error:
        raise ConfigurationError([*unknown, f"environment: {error}"]) from None
    except ValueError as error:  # not TOML
        raise ConfigurationError([*unknown, f"{file or 'environment'}: {error}"]) from None
    if unknown:
        raise ConfigurationError(unknown, settings)
    return settings


def _rest(loaded: Mapping[str, Any], doubtful: frozenset[str]) -> Configuration:
    """Return the settings of the sections without problems; of doubtful connections their plugin and its settings."""
    fine: dict[str, Any] = {"ingress": IngressSettings(anonymous=True)}
    for name, field in Configuration.model_fields.items():
        if name in loaded and name not in doubtful:
            section: Any = field.annotation
            fine[name] = TypeAdapter(section).validate_python(loaded[name])
    if "connections" in doubtful:
        fine["connections"] = _connections_without_filters(loaded.get("connections"))
    return Configuration.model_construct(**fine)


def _connections_without_filters(connections: object) -> dict[str, ConnectionSettings]:
    found = {}
    for name, said in connections.items() if isinstance(connections, dict) else ():
        plugin = {key: said[key] for key in PLUGIN_KEYS if key in said} if isinstance(said, dict) else {}
        with suppress(ValidationError):
            found[str(name)] = ConnectionSettings.model_validate(plugin)
    return found


PLUGIN_KEYS = ("plugin", "credentials", "settings")


def _is_misspelt(name: str) -> bool:
    """Return whether a variable names a setting that does not exist. Without two underscores it may not be ours."""
    top, levels, _ = name.removeprefix("GATEWAY_").partition("__")
    return name.startswith("GATEWAY_") and bool(levels) and top.lower() not in Configuration.model_fields
