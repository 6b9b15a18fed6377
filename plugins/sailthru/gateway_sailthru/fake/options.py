"""Options: the behaviour that can be chosen, because the real Sailthru's is unknown or rare."""

from __future__ import annotations

from typing import Literal

import msgspec


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The options of the fake, which ``/__fake__/config`` changes.

    ``limits`` is ``recorded``, ``published`` or a map such as ``{"POST user": 10}`` over the recorded ones.
    ``utc_offset_hours`` is the account's zone. ``rotated_at`` is the Unix time in seconds at which the
    secret changes. ``read_lag_s`` is the age of answers to GET. ``event_unknown_user`` says how an event for an unknown
    address is answered. ``duplicate_list_race`` makes two lists of one that is created twice within a second.
    ``job_polls`` counts the polls for which a job is pending, ``job_fails`` the jobs that end in an error, and
    ``job_limit`` those that run at once.
    """

    latency_ms: float = 0
    limits: Literal["recorded", "published"] | dict[str, int] = "recorded"
    utc_offset_hours: float = 0
    allowed_ips: list[str] | None = None
    rotated_at: float | None = None
    strict_var_names: bool = True
    strict_list_names: bool = True
    event_unknown_user: Literal["ok", "error99", "create"] = "ok"
    duplicate_list_race: bool = False
    read_lag_s: float = 0
    job_polls: int = 1
    job_fails: int = 0
    job_limit: int = 10
    purchases_deduplicated: bool = False
