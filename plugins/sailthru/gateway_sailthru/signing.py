"""Signing: credentials and signature as form fields or query parameters."""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import md5

import msgspec

from gateway.sdk import Call
from gateway_sailthru.settings import SailthruSettings


def make_signature(secret: str, values: Iterable[str]) -> str:
    """Return the MD5, in lower-case hexadecimal, of the secret and the values in order of their code points."""
    text = secret + "".join(sorted(values))
    return md5(text.encode(), usedforsecurity=False).hexdigest()


def sign_call(call: Call, settings: SailthruSettings) -> Call:
    """Return the call with payload and credentials as form fields, or as a query string if it has no body.

    The payload is serialised once, so that the signed text is the text sent.
    """
    payload = json.loads((call.form or {})["json"]) if call.file is not None else call.json
    if settings.integration:
        payload = {**payload, "integration": settings.integration}
    fields = {
        "api_key": settings.api_key.get_secret_value(),
        "format": "json",
        "json": json.dumps(payload, allow_nan=False),
    }
    fields["sig"] = make_signature(settings.api_secret.get_secret_value(), fields.values())
    if call.method == "POST":
        return msgspec.structs.replace(call, json=None, form=fields)
    return msgspec.structs.replace(call, json=None, params=fields)
