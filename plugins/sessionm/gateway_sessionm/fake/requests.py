"""Requests: the checks of address, credentials and body that every request must pass."""

from __future__ import annotations

import binascii
import json
import re
from base64 import b64decode
from collections.abc import Mapping
from hmac import compare_digest
from typing import Any
from urllib.parse import unquote

from gateway.testing import Request
from gateway_sessionm.fake.errors import ApiError

MAX_BODY_BYTES = 1_048_576
APP_PATH = re.compile(r"^/priv/v1/apps/([^/]+)/(.+)$")


def split_path(request: Request) -> tuple[str, str] | None:
    """Return the API key in the path, decoded, and the path below it; None for a path of another shape."""
    match = APP_PATH.match(request.path)
    return (unquote(match[1]), match[2]) if match else None


def authenticate(request: Request, key: str, apps: Mapping[str, str]) -> None:
    """Check the credentials, and that they belong to the key in the path. Raises ApiError if they are wrong."""
    user, secret = _read_basic(request.headers.get("authorization", ""))
    is_right = compare_digest(secret.encode(), apps.get(user, "").encode())
    if not is_right or user not in apps:
        raise ApiError("access_denied", "the credentials are not valid")
    if key not in apps:
        raise ApiError("invalid_api_key", "there is no such application")
    if key != user:
        raise ApiError("access_denied", "the credentials are another application's")


def read_body(request: Request) -> dict[str, Any]:
    """Return the body of a POST or PUT. Raises ApiError unless it is a JSON object of at most 1 MiB."""
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise ApiError("argument_error", "the content type must be application/json")
    if len(request.body) > MAX_BODY_BYTES:
        raise ApiError("argument_error", f"the body is larger than {MAX_BODY_BYTES} bytes")
    try:
        body = json.loads(request.body, object_pairs_hook=_refuse_repeated_names)
    except (ValueError, RecursionError):
        raise ApiError("argument_error", "the body is not JSON") from None
    if not isinstance(body, dict):
        raise ApiError("argument_error", "the body must be an object")
    return body


def require_object(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return an object that a body must hold. Raises ApiError if it does not."""
    value = body.get(name)
    if not isinstance(value, dict):
        raise ApiError("missing_data", f"{name} is required")
    return value


def hide_key(path: str) -> str:
    """Return the path with the API key replaced."""
    return re.sub(r"^(/priv/v1/apps/)[^/]+", r"\1KEY", path)


def _read_basic(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    try:
        user, colon, secret = b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        colon = ""
    if scheme.lower() != "basic" or not colon:
        raise ApiError("access_denied", "Basic authentication is required")
    return user, secret


def _refuse_repeated_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(names) != len(set(names)):
        raise ApiError("argument_error", "a name occurs twice in one object")
    return dict(pairs)
