"""Calls: the requests that Sailthru's API knows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gateway.sdk import JSON, Call, File, Rate, RateHeaders, path
from gateway_sailthru.settings import SailthruSettings

PER_SECOND = {
    "GET user": 300.0,
    "POST user": 300.0,
    "POST event": 40.0,
    "POST purchase": 40.0,
    "POST list": 40.0,
    "GET job": 300.0,
    "POST job": 40.0,
    "DELETE user": 40.0,
    "DELETE list": 40.0,
}
"""Published limits. Sailthru counts each method of each endpoint for itself, over the whole account."""


def rates(settings: SailthruSettings) -> dict[str, Rate]:
    """What may be sent before any reply has told the account's real limits."""
    return {scope: _rate(limit * settings.rate_share) for scope, limit in PER_SECOND.items()}


def _rate(per_second: float) -> Rate:
    return Rate(per_second=per_second, burst=max(1, int(per_second)))


def rate_headers(settings: SailthruSettings) -> RateHeaders:
    """Where replies tell the limit of the present minute."""
    return RateHeaders(
        limit="x-rate-limit-limit",
        remaining="x-rate-limit-remaining",
        reset="x-rate-limit-reset",
        share=settings.rate_share,
    )


def request(method: str, endpoint: str, payload: Mapping[str, JSON], *, memo: Any = None) -> Call:
    """One call: ``payload`` is what Sailthru gets as the field ``json``."""
    return Call(method=method, path=path(endpoint), json=dict(payload), scope=f"{method} {endpoint}", memo=memo)


def upload(endpoint: str, payload: Mapping[str, JSON], file: File, *, memo: Any = None) -> Call:
    """One call with a file: next to one, the payload is text already."""
    form = {"json": json.dumps(payload)}
    return Call(method="POST", path=path(endpoint), form=form, file=file, scope=f"POST {endpoint}", memo=memo)


def upsert(email: str, **fields: JSON) -> Call:
    """Create or update the profile of an address; fields that are empty are left out."""
    given = {name: value for name, value in fields.items() if value}
    return request("POST", "user", {"id": email, "key": "email", "keysconflict": "merge", **given})


def find(value: str, key: str, memo: Any) -> Call:
    """Ask for the keys of the profile that has this e-mail address or extid."""
    return request("GET", "user", {"id": value, "key": key, "fields": {"keys": 1}}, memo=memo)


def event(email: str, name: str, variables: Mapping[str, JSON]) -> Call:
    """Something the user did."""
    payload = {"id": email, "key": "email", "event": name}
    return request("POST", "event", {**payload, "vars": dict(variables)} if variables else payload)
