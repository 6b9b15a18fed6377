"""Requests: the signed fields of a request, its file, its payload."""

from __future__ import annotations

from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import HTTP
from hashlib import md5
from typing import Any

import msgspec

from gateway.testing import Request
from gateway_sailthru.fake.errors import ApiError, missing_parameter


class ReceivedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request's form fields or query parameters, and the uploaded file if there is one."""

    fields: dict[str, str]
    file: bytes | None = None


def read_request(request: Request) -> ReceivedRequest:
    """Read a request: the query string of GET and DELETE, the form of POST, multipart or not. Raises ApiError."""
    try:
        return _read(request)
    except UnicodeDecodeError:
        raise ApiError(400, 6, "Invalid UTF-8") from None


def _read(request: Request) -> ReceivedRequest:
    if request.method != "POST":
        return ReceivedRequest(fields=request.params())
    kind = request.headers.get("content-type", "")
    if not kind.startswith("multipart/form-data"):
        return ReceivedRequest(fields=request.form())
    head = b"Content-Type: " + kind.encode("latin-1") + b"\r\n\r\n"
    message = BytesParser(policy=HTTP, _class=EmailMessage).parsebytes(head + request.body)
    fields: dict[str, str] = {}
    file: bytes | None = None
    for part in message.iter_parts():
        content: Any = part.get_payload(decode=True)
        if part.get_filename() is None:
            fields[str(part.get_param("name", header="content-disposition"))] = content.decode()
        else:
            file = content
    return ReceivedRequest(fields=fields, file=file)


def check_signature(fields: dict[str, str], secret: str) -> None:
    """Check that ``sig`` signs all other fields. Raises ApiError if not."""
    if "sig" not in fields:
        raise missing_parameter("sig")
    values = sorted((value for name, value in fields.items() if name != "sig"), key=str.encode)
    if fields["sig"] != md5((secret + "".join(values)).encode(), usedforsecurity=False).hexdigest():
        raise ApiError(401, 5, "Signature hash does not match")


def read_payload(fields: dict[str, str]) -> dict[str, Any]:
    """Return the JSON object in the field ``json``. Raises ApiError if there is none."""
    try:
        data = msgspec.json.decode(fields.get("json", ""))
    except msgspec.DecodeError:
        data = None
    if not isinstance(data, dict):
        raise ApiError(400, 99, "json is not an object")
    return data
