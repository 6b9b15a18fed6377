"""The gateway's configuration: one TOML file, overridden by secret files and by the environment.

``GATEWAY_INGRESS__BIND`` overrides ``bind`` in ``[ingress]``, and so on down: two underscores between
levels. A directory named by ``GATEWAY_SECRETS_DIR`` may hold one file a value, named the same way without
the prefix (``connections__loyalty__settings__api_secret``).
"""

from __future__ import annotations

import os
import re
from base64 import b64decode
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, TypeAdapter, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from gateway.settings.errors import problems
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
from gateway.settings.sources import given_by, sourced


class ConfigurationError(Exception):
    """The configuration cannot be used. ``problems`` has one line for each thing that is wrong.

    ``rest`` is what can be read all the same, for more problems to be found there; not of the sections in ``doubtful``.
    """

    def __init__(
        self, problems: list[str], rest: Settings | None = None, doubtful: frozenset[str] = frozenset()
    ) -> None:
        super().__init__("; ".join(problems))
        self.problems, self.rest, self.doubtful = problems, rest, doubtful


MAX_PORT = 65_535


def _bind(value: str) -> str:
    port = value.rpartition(":")[2]
    if ":" in value and port.isdecimal() and int(port[:9]) > MAX_PORT:
        raise ValueError(f"the port is out of range: {MAX_PORT} is the last")
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
    """Never says what is in it: a slip of the pen may have made anything of it the password."""
    parts = urlsplit(value)
    hosts = parts.netloc.rpartition("@")[2]
    if "@" in parts.path + parts.query + parts.fragment or parts.fragment or "@" in parts.netloc.rpartition("@")[0]:
        raise ValueError("in a user or password, write @ / ? # as %40 %2F %3F %23")
    if not hosts:
        raise ValueError("names no host, for example postgresql://user@host/database")
    for host in hosts.split(","):
        port = host.rpartition("]")[2].partition(":")[2]
        if port and not port.isdecimal():
            raise ValueError("a port is no number; in a user or password, write : / ? # @ as %3A %2F %3F %23 %40")
    if not parts.path.strip("/"):
        raise ValueError("names no database, for example postgresql://user@host/database")
    return value


class Ingress(Section):
    """``[ingress]``: where mParticle posts to."""

    bind: Annotated[str, AfterValidator(_bind)] = Field(
        "127.0.0.1:8080", description="Host and port to listen on; port 0 takes any free one."
    )
    authorization: tuple[SecretStr, ...] = Field(
        (),
        description="Whole Authorization header values; any one is accepted, so that several work while rotating.",
    )
    anonymous: bool = Field(
        default=False, description="Accept posts without any Authorization header (only on a closed network)."
    )
    max_body_bytes: int = Field(1_048_576, ge=1024, description="Largest body accepted, after decompression.")
    processes: int = Field(1, ge=1, le=64, description="How many processes answer.")
    max_waiting_bytes: int = Field(
        67_108_864, ge=1024, description="Bytes of bodies in hand beyond which posts are answered 503."
    )
    read_timeout_s: float = Field(30.0, gt=0, description="How long a client may take to send a body.")
    shutdown_s: float = Field(10.0, gt=0, description="How long a stop waits for what is in hand.")

    @model_validator(mode="after")
    def _guarded(self) -> Ingress:
        if not self.authorization and not self.anonymous:
            raise ValueError("authorization is empty: give at least one value, or set anonymous = true")
        if any(not value.get_secret_value().strip() for value in self.authorization):
            raise ValueError("authorization has a blank value")
        return self


class Journal(Section):
    """``[journal]``: where everything accepted is kept until it has been delivered, and for a while after."""

    url: Annotated[str, AfterValidator(_journal_url)] = Field(
        "sqlite:///gateway.db",
        repr=False,
        description="The journal's database: a file, or `postgresql://user@host/database`.",
    )
    password: SecretStr | None = Field(None, description="The password for a server, where the URL has none.")
    lease_s: float = Field(
        15.0, gt=0, description="On a server: how long a process that went silent keeps the lanes it had claimed."
    )
    max_waiting_facts: int = Field(
        20_000_000, ge=0, description="Facts waiting to be delivered beyond which posts are answered 503; 0: no bound."
    )
    min_free_bytes: int = Field(
        268_435_456, ge=0, description="Room on a file's disk below which posts are answered 503; 0: no bound."
    )
    retention_hours: float = Field(
        72.0, gt=0, description="How long finished batches and their ledger are kept, and repeated messages recognised."
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


class Accounts(Section):
    """``[accounts]``: how the settings of customers are kept that come with their messages."""

    sealing_keys: tuple[Annotated[SecretStr, AfterValidator(_sealing_key)], ...] = Field(
        (),
        description="Keys of 32 bytes in base64. The first seals; any one opens, so that several work while rotating.",
    )

    def keys(self) -> list[bytes]:
        """The keys themselves."""
        return [b64decode(key.get_secret_value()) for key in self.sealing_keys]


class Delivery(Section):
    """``[delivery]``: how calls are made and repeated."""

    in_flight: int = Field(64, ge=1, description="Lanes of one connection worked on at once.")
    retry_first_s: float = Field(
        1.0, gt=0, description="Upper bound of the first wait before a retry; it doubles each time."
    )
    retry_most_s: float = Field(300.0, gt=0, description="Upper bound of any such wait.")
    give_up_after_hours: float = Field(72.0, gt=0, description="A call retried for so long becomes a dead letter.")
    pause_s: float = Field(
        30.0,
        gt=0,
        description="The most that a connection rests after refused credentials, before one call tries again.",
    )
    hook_timeout_s: float = Field(2.0, gt=0, description="How long one hook may run before it is interrupted.")
    hook_memory_bytes: int = Field(
        536_870_912, ge=0, description="How much more memory one hook may take, on Linux; 0: as much as there is."
    )


class Log(Section):
    """``[log]``: what is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least level that is written.")
    format: Literal["json", "text"] = Field("json", description="One JSON object a line, or text for people.")


class ConnectionSettings(Section):
    """``[connections.NAME]``: a destination with its settings, filter and rules."""

    plugin: str = Field(description="The plugin's name, as `gateway plugins` lists it.")
    credentials: Literal["configured", "account"] = Field(
        "configured",
        description="`account`: each Firehose message brings, for its customer, the settings that are not given here.",
    )
    settings: dict[str, Any] = Field({}, repr=False, description="The plugin's own settings.")
    filter: Filter = Field(Filter(), description="The data filter.")
    login_identities: tuple[IdentityType, ...] | None = Field(
        None, description="Only users with one of these are sent; [] sends everyone; left out: the plugin's default."
    )
    max_age_hours: float | None = Field(
        None, ge=0, description="Events older than this are not sent; 0 sends all; left out: the plugin's default."
    )
    platforms: tuple[Platform, ...] | None = Field(
        None, description="Only data from these platforms is sent; `unknown` is what does not say its own."
    )
    environments: tuple[Literal["production", "development", "unknown"], ...] | None = Field(
        None, description="Only data of these environments is sent."
    )
    min_app_version: Version | None = Field(
        None, description="Data of older versions of an app is not sent; what has no version is."
    )
    sample_percent: Percent = Field(100.0, description="The share of users who are sent, always the same ones.")
    consent: ConsentRules = Field(ConsentRules(), description="Whose data is sent, by what they consented to.")
    only_events_with: AttributeValues = Field(
        {}, description="Only events are sent that have, for each of these attributes, one of its values."
    )
    no_events_with: AttributeValues = Field(
        {}, description="Events are not sent that have, for one of these attributes, one of its values."
    )
    changes: tuple[Change, ...] = Field((), description="Changes of names and values, in order, after the filter.")


class Rules(Section):
    """``[rules]``: packages that rewrite batches before planning."""

    packages: tuple[str, ...] = Field((), description="Entry points in the group gateway.rules, applied in this order.")
    timeout_s: float = Field(0.2, gt=0, description="How long one package may take for a batch.")
    on_failure: Literal["discard", "pass"] = Field(
        "discard",
        description="What becomes of a batch on which a package fails: dead letters, or it passes unchanged by it.",
    )


NO_SEALING_KEY = (
    "accounts.sealing_keys: give one, as GATEWAY_ACCOUNTS__SEALING_KEYS='[\"…\"]' (`openssl rand -base64 32` makes one)"
)
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


def _name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError("must be lower-case letters, digits and underscores, beginning with a letter, at most 40")
    return value


class Settings(BaseSettings):
    """The whole configuration. Build it with ``load``."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix="GATEWAY_", env_nested_delimiter="__", hide_input_in_errors=True
    )

    ingress: Ingress
    journal: Journal = Journal()
    accounts: Accounts = Accounts()
    delivery: Delivery = Delivery()
    log: Log = Log()
    rules: Rules = Rules()
    connections: dict[Annotated[str, AfterValidator(_name)], ConnectionSettings] = {}

    @property
    def hosted(self) -> frozenset[str]:
        """The connections that have their settings from customers' accounts."""
        return frozenset(name for name, one in self.connections.items() if one.credentials == "account")

    def require_sealing_key(self) -> None:
        """Raises ConfigurationError where customers' settings would come and could not be sealed."""
        if self.hosted and not self.accounts.sealing_keys:
            raise ConfigurationError(
                [f"{NO_SEALING_KEY}, for connections.{min(self.hosted)} has credentials = account"]
            )


def load(file: Path | None, environ_secrets: str | None = None) -> Settings:
    """Read the configuration from a TOML file, secret files and the environment, the later winning.

    Raises ConfigurationError with every problem found, each naming its key.
    """
    told: dict[str, Any] = {}
    secrets = environ_secrets or os.environ.get("GATEWAY_SECRETS_DIR")

    if file is not None and not file.is_file():
        raise ConfigurationError([f"{file}: no such file"])
    if secrets and not Path(secrets).is_dir():
        raise ConfigurationError([f"GATEWAY_SECRETS_DIR: {secrets} is no directory"])
    unknown = [f"{name}: no such setting" for name in os.environ if _is_misspelt(name)]
    try:
        settings = sourced(Settings, file, secrets, told)()  # its values come from there
    except ValidationError as error:
        doubtful = frozenset(str(item["loc"][0]) for item in error.errors(include_input=False))
        found = problems(error, given_by=lambda place: given_by(place, secrets))
        raise ConfigurationError([*unknown, *found], _rest(told, doubtful), doubtful) from None
    except SettingsError as error:
        raise ConfigurationError([*unknown, f"environment: {error}"]) from None
    except ValueError as error:  # not TOML
        raise ConfigurationError([*unknown, f"{file or 'environment'}: {error}"]) from None
    if unknown:
        raise ConfigurationError(unknown, settings)
    return settings


def _rest(told: Mapping[str, Any], doubtful: frozenset[str]) -> Settings:
    """The sections that are not doubtful, and of connections what they say of their plugins."""
    fine: dict[str, Any] = {"ingress": Ingress(anonymous=True)}
    for name, field in Settings.model_fields.items():
        if name in told and name not in doubtful:
            section: Any = field.annotation
            fine[name] = TypeAdapter(section).validate_python(told[name])
    if "connections" in doubtful:
        fine["connections"] = _of_plugins(told.get("connections"))
    return Settings.model_construct(**fine)


def _of_plugins(connections: object) -> dict[str, ConnectionSettings]:
    found = {}
    for name, said in connections.items() if isinstance(connections, dict) else ():
        about = {key: said[key] for key in ABOUT_PLUGIN if key in said} if isinstance(said, dict) else {}
        with suppress(ValidationError):
            found[str(name)] = ConnectionSettings.model_validate(about)
    return found


ABOUT_PLUGIN = ("plugin", "credentials", "settings")


def _is_misspelt(name: str) -> bool:
    """Return whether a variable means a setting that does not exist. Others with our prefix may be somebody else's."""
    top, levels, _ = name.removeprefix("GATEWAY_").partition("__")
    return name.startswith("GATEWAY_") and bool(levels) and top.lower() not in Settings.model_fields
