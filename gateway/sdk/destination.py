"""Destination: the declaration of a plugin at the start; title, settings, capabilities, defaults and rate limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Base of a plugin's settings model: frozen, and an unknown key is an error that names the key.

    Declare credentials as ``pydantic.SecretStr``: the gateway keeps the values of such fields out of
    logs, previews and error messages. Give each field a description; it becomes documentation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Defaults(msgspec.Struct, frozen=True, kw_only=True):
    """The defaults of a connection, for settings that its configuration does not have.

    ``new_data_points``: whether data points that no filter names are sent. ``login_identities``: a user
    without any of these is not sent; empty sends everyone. ``max_age_hours``: older events are not sent.
    ``no_replayed``: data of mParticle's replays is not sent. ``no_historical``: historical data is not sent.
    """

    new_data_points: bool = True
    login_identities: tuple[str, ...] = ()
    max_age_hours: float | None = None
    no_replayed: bool = False
    no_historical: bool = False


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """A limit on one scope: calls per second (None: no limit), the burst after a pause, and calls in flight."""

    per_second: float | None = None
    burst: int = 1
    in_flight: int | None = None


class RateHeaders(msgspec.Struct, frozen=True, kw_only=True):
    """Reply headers, in lower case, from which a scope's limit is learned.

    ``limit`` and ``remaining`` count calls in the present window, ``reset`` is the Unix time in seconds
    at which the window ends. ``share`` is the part of the limit that this gateway may use (0 to 1).
    """

    limit: str
    remaining: str
    reset: str
    share: float = 1.0


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """A pool: calls of many lanes gather in it, for ``coalesce`` to make fewer of them.

    They go on when there are ``most`` of them, when none has come for ``quiet_s`` seconds, and at the latest
    ``longest_s`` seconds after the first.
    """

    most: int = 1000
    quiet_s: float = 1.0
    longest_s: float = 10.0


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """A destination as its plugin declares it.

    ``base_url(settings)`` is the absolute URL that every call's path is relative to; it may hold a
    credential. ``identities`` and ``platforms`` are those the destination can use (None: all).
    ``rates(settings)`` gives a limit for each rate-limit scope; ``""`` is the scope of calls that name none.
    ``pools(settings)`` gives the pools that calls may name. ``reasons`` are the words that the plugin gives as reasons
    of skipped and rejected facts. A fact with another reason is counted as ``other``; None counts the first 50 words.
    """

    title: str
    description: str = ""
    settings: type[BaseModel]
    base_url: Callable[[Any], str]
    identities: tuple[str, ...] | None = None
    platforms: tuple[str, ...] | None = None
    event_types: tuple[str, ...] = ()
    defaults: Defaults = Defaults()
    rates: Callable[[Any], Mapping[str, Rate]] | None = None
    rate_headers: Callable[[Any], RateHeaders] | None = None
    pools: Callable[[Any], Mapping[str, Pool]] | None = None
    reasons: tuple[str, ...] | None = None
    connect_timeout_s: float = 5.0
    reply_timeout_s: float = 30.0
