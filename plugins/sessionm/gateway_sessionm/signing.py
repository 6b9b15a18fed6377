"""Signing: HTTP Basic authentication with key and secret."""

from __future__ import annotations

from base64 import b64encode

from msgspec.structs import replace

from gateway.sdk import Call
from gateway_sessionm.settings import SessionMSettings


def sign_call(call: Call, settings: SessionMSettings) -> Call:
    """Return the call with its credentials as a header."""
    pair = f"{settings.api_key.get_secret_value()}:{settings.api_secret.get_secret_value()}"
    authorization = f"Basic {b64encode(pair.encode()).decode()}"
    return replace(call, headers={**call.headers, "Accept": "application/json", "Authorization": authorization})
