"""What every request must show before it is looked at."""

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
from gateway_sessionm.fake.errors import Refusal

LARGEST_BODY = 1_048_576
APP = re.compile(r"^/priv/v1/apps/([^/]+)/(.+)$")


def app_of(request: Request) -> tuple[str, str] | None:
    """The API key in the path, decoded, and the path below it; None for a path of another shape."""
    match = APP.match(request.path)
    return (unquote(match[1]), match[2]) if match else None


def authenticate(request: Request, key: str, apps: Mapping[str, str]) -> None:
    """Check the credentials, and that they are those of the key in the path. Raises Refusal."""
    user, secret = _basic(request.headers.get("authorization", ""))
    known = compare_digest(secret.encode(), apps.get(user, "").encode())
    if not known or user not in apps:
        raise Refusal("access_denied", "the credentials are not valid")
    if key not in apps:
        raise Refusal("invalid_api_key", "there is no such application")
    if key != user:
        raise Refusal("access_denied", "the credentials are another application's")


def body_of(request: Request) -> dict[str, Any]:
    """The body of a POST or PUT. Raises Refusal."""
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise Refusal("argument_error", "the content type must be application/json")
    if len(request.body) > LARGEST_BODY:
        raise Refusal("argument_error", f"the body is larger than {LARGEST_BODY} bytes")
    try:
        body = json.loads(request.body, object_pairs_hook=_object)
    except (ValueError, RecursionError):
        raise Refusal("argument_error", "the body is not JSON") from None
    if not isinstance(body, dict):
        raise Refusal("argument_error", "the body must be an object")
    return body


def hidden(path: str) -> str:
    """The path with the API key replaced."""
    return re.sub(r"^(/priv/v1/apps/)[^/]+", r"\1KEY", path)


def _basic(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    try:
        user, colon, secret = b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        colon = ""
    if scheme.lower() != "basic" or not colon:
        raise Refusal("access_denied", "Basic authentication is required")
    return user, secret


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(names) != len(set(names)):
        raise Refusal("argument_error", "a name occurs twice in one object")
    return dict(pairs)
