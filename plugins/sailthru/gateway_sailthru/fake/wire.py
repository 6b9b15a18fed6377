"""The wire: a request's signed fields, its file, its payload."""

from __future__ import annotations

from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import HTTP
from hashlib import md5
from typing import Any

import msgspec

from gateway.testing import Request
from gateway_sailthru.fake.errors import Refusal, missing


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """What a request holds: form fields or query parameters, and the uploaded file if there is one."""

    fields: dict[str, str]
    file: bytes | None = None


def received(request: Request) -> Received:
    """Read a request: the query string of GET and DELETE, the form of POST, multipart or not. Raises Refusal."""
    try:
        return _read(request)
    except UnicodeDecodeError:
        raise Refusal(400, 6, "Invalid UTF-8") from None


def _read(request: Request) -> Received:
    if request.method != "POST":
        return Received(fields=request.params())
    kind = request.headers.get("content-type", "")
    if not kind.startswith("multipart/form-data"):
        return Received(fields=request.form())
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
    return Received(fields=fields, file=file)


def check_signature(fields: dict[str, str], secret: str) -> None:
    """Raises Refusal unless ``sig`` signs all other fields."""
    if "sig" not in fields:
        raise missing("sig")
    values = sorted((value for name, value in fields.items() if name != "sig"), key=str.encode)
    if fields["sig"] != md5((secret + "".join(values)).encode(), usedforsecurity=False).hexdigest():
        raise Refusal(401, 5, "Signature hash does not match")


def payload(fields: dict[str, str]) -> dict[str, Any]:
    """The JSON object that a call is about. Raises Refusal where there is none."""
    try:
        data = msgspec.json.decode(fields.get("json", ""))
    except msgspec.DecodeError:
        data = None
    if not isinstance(data, dict):
        raise Refusal(400, 99, "json is not an object")
    return data
