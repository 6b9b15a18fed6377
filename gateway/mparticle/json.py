"""JSON documents: opened one level deep with their members left as bytes, or refused with the place of the error."""

from __future__ import annotations

import json
import re
from math import isfinite
from typing import Any

import msgspec

DEEPEST = 64
"""Levels of nesting beyond which a document is refused; mParticle's own have about eight."""

Members = dict[str, msgspec.Raw]

members = msgspec.json.Decoder(Members).decode
"""The members of an object; of a name that occurs twice, the last."""

elements = msgspec.json.Decoder(list[msgspec.Raw] | None).decode
"""The elements of an array, or None for null."""

decode = msgspec.json.Decoder().decode
"""A whole value. Raises DecodeError for a number beyond what Python's floats or integers hold."""

OUT_OF_RANGE: Any = object()
"""Stands for a number beyond all bounds."""

encode = msgspec.json.Encoder().encode
"""The bytes of a value; members that are still Raw stay as they were posted, byte for byte."""


def decode_unbounded(raw: bytes | msgspec.Raw) -> Any:
    """Decode a value with OUT_OF_RANGE for such numbers. It is slow: use it only after ``decode`` has failed."""
    try:
        return json.loads(bytes(raw), strict=False, parse_int=_integer, parse_float=_number)
    except ValueError:
        return OUT_OF_RANGE


def _integer(digits: str) -> Any:
    try:
        return int(digits)
    except ValueError:
        return OUT_OF_RANGE


def _number(digits: str) -> Any:
    value = float(digits)
    return value if isfinite(value) else OUT_OF_RANGE


SPACE = b" \t\r\n"
BOM = b"\xef\xbb\xbf"
BRACES = bytes.maketrans(b"[]", b"{}")
NO_OPENERS = bytes(set(range(256)) - set(b"[{"))
NO_MARKS = bytes(set(range(256)) - set(b'[]{}"'))
STRING = re.compile(rb'"[^"]*+"?')
ANY_ESCAPE = re.compile(rb"\\.", re.DOTALL)
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
HALF = rb"u[dD][%s][0-9a-fA-F]{2}"
ESCAPE = re.compile(rb"\\(?:%s\\%s|(%s)|.)" % (HALF % b"89abAB", HALF % b"c-fC-F", HALF % b"89a-fA-F"), re.DOTALL)
BYTE = re.compile(r" \(byte (\d+)\)$")


class Malformed(Exception):
    """A body cannot be read: the ``problem``, and ``where`` it is. Neither holds a value of a user's."""

    def __init__(self, problem: str, where: str) -> None:
        super().__init__(f"{problem} ({where})")
        self.problem = problem
        self.where = where


class Oversized(Malformed):
    """A body can be read, but its parts would take far more room than it has itself."""


def check_sound(body: bytes) -> bytes:
    """Return a body without its byte order mark. Raises Malformed if it is not UTF-8 or too deeply nested."""
    if not body.isascii():
        body = body.removeprefix(BOM)
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise Malformed("not UTF-8", f"byte {error.start}") from None
    if is_deep(body):
        raise Malformed(f"nested more than {DEEPEST} levels deep", "$")
    return body


def open_document(body: bytes) -> tuple[bytes, Members | list[msgspec.Raw]]:
    """Return the members (object) or elements (array) of a sound body, with that body. Raises Malformed.

    Half of a surrogate pair, as a truncated emoji leaves it, is no JSON string for a strict reader: such
    an escape is replaced, and the body returned is the mended one.
    """
    try:
        return body, _open(body)
    except msgspec.DecodeError as error:
        if not SURROGATE.search(body):
            raise _make_malformed(body, error) from None
    body = mend(body)
    try:
        return body, _open(body)
    except msgspec.DecodeError as error:
        raise _make_malformed(body, error) from None


def _open(body: bytes) -> Members | list[msgspec.Raw]:
    if body.lstrip(SPACE)[:1] == b"[":
        return elements(body) or []
    return members(body)


def is_deep(body: bytes) -> bool:
    """Return whether a JSON document is nested more than DEEPEST levels deep.

    It counts brackets alone, level by level, which takes a tenth of the time of parsing. Those
    inside strings do not count: where a string has any, its quotes do not meet once all else is gone.
    """
    if len(body.translate(None, NO_OPENERS)) <= DEEPEST:
        return False
    if b"\\" in body:
        body = ANY_ESCAPE.sub(b"", body)
    marks = body.translate(BRACES, NO_MARKS).replace(b'""', b"")
    if b'"' in marks:
        marks = STRING.sub(b"", body).translate(BRACES, NO_MARKS)
    for _ in range(DEEPEST):
        if not marks:
            return False
        marks = marks.replace(b"{}", b"")
    return bool(marks)


def mend(body: bytes) -> bytes:
    """Return the body with each unpaired surrogate escape replaced, in the same length."""
    return ESCAPE.sub(lambda match: rb"\ufffd" if match[1] else match[0], body)


def _make_malformed(body: bytes, error: msgspec.DecodeError) -> Malformed:
    if not body.strip(SPACE):
        return Malformed("the body is empty", "byte 0")
    if isinstance(error, msgspec.ValidationError):
        return Malformed(f"expected an object or an array, got {kind_of(body)}", "$")
    message = str(error)
    found = BYTE.search(message)
    if found is None:
        return Malformed("not JSON: it ends too early", find_place(body, len(body)))
    problem = message[: found.start()].removeprefix("JSON is malformed: ")
    offset = int(found[1])
    if problem == "trailing characters":
        rest = body[offset - 1 :].lstrip(SPACE)
        lines = rest[:1] in (b"{", b"[")
        return Malformed(
            "JSON lines: two documents in one body" if lines else "not JSON: something follows the document",
            find_place(body, len(body) - len(rest)),
        )
    return Malformed(f"not JSON: {problem}", find_place(body, offset))


def find_place(body: bytes, offset: int) -> str:
    """Return a byte offset as line and column, counted from one."""
    line = body.count(b"\n", 0, offset) + 1
    column = offset - body.rfind(b"\n", 0, offset)
    return f"line {line}, column {column}"


STARTS = {b"{": "object", b"[": "array", b'"': "string", b"t": "boolean", b"f": "boolean", b"n": "null"}


def kind_of(body: bytes | msgspec.Raw) -> str:
    """Return JSON's name for the type of a value that is still bytes."""
    return STARTS.get(bytes(body).lstrip(SPACE)[:1], "number")


KINDS = {
    type(OUT_OF_RANGE): "number",
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
}


def kind_of_value(value: Any) -> str:
    """Return JSON's name for a value's type."""
    return KINDS.get(type(value), "object")
