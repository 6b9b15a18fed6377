"""Options: where the fake does as it is told, for what the real Sailthru does is unknown or rare."""

from __future__ import annotations

from typing import Literal

import msgspec


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What can be set through ``/__fake__/config``.

    ``limits`` is ``recorded``, ``published`` or a map such as ``{"POST user": 10}`` over the recorded ones.
    ``utc_offset_hours`` is the account's zone. ``rotated_at`` is when the secret stops being right, in Unix seconds.
    ``read_lag_s``: answers to GET are this old. ``event_unknown_user``: what an event for nobody does.
    ``duplicate_list_race``: a list created twice within a second becomes two. ``job_polls``: how often a job is
    pending; ``job_fails``: how many jobs end in an error; ``job_limit``: how many run at once.
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
