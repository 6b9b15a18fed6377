"""Damage: a good document or good bytes, changed at random; the same for the same random numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

Place = tuple[Any, ...]

SCALARS: Sequence[Any] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**53 + 1,
    2**63,
    -(2**63),
    10**30,
    0.5,
    -0.0,
    1e300,
    -1e300,
    -1e19,
    5e-324,
    "",
    " ",
    "\0",
    "null",
    "true",
    "0",
    "-5",
    "1e9",
    "9" * 40,
    "NaN",
    "2024-02-30T25:61:00Z",
    "1970-01-01",
    "ada@example.com",
    " Ada@Example.COM ",
    "@",
    "a@b@c",
    "mpid:5",
    "../..",
    "%2e%2e",
    "a\r\nb: c",
    "\ud83d",
    "\u202e",
    "\N{KELVIN SIGN}",
    "x" * 300,
    "raw",
    "erase",
    "add",
    "delete",
    "custom_event",
    "module_registration_request",
)
TOKENS: Sequence[bytes] = (
    b"NaN",
    b"1e400",
    b"-0",
    b"1E+2",
    b"[" * 80,
    b"{}",
    b"[]",
    b"null",
    b'"',
    b"\\u0000",
    b"\\ud800",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xc0\x80",
    b",,",
    b":",
    b"\r\n",
    b"\x1f\x8b",
    b"0x10",
    b"//",
    b'{"a":1,"a":2}',
    b"9" * 400,
)
MAX_PLACES = 400


def make_value(random: Random, depth: int = 0) -> Any:
    """Return any JSON value, mostly a strange one."""
    kind = random.random()
    if kind < 0.75 or depth > 2:
        return random.choice(SCALARS)
    many = range(random.choice((0, 1, 2, 3, 40)))
    if kind < 0.85:
        return [make_value(random, depth + 1) for _ in many]
    return {str(random.choice(SCALARS)): make_value(random, depth + 1) for _ in many}


def list_places(value: Any, path: Place = ()) -> Iterator[Place]:
    """Yield the path of every value inside a document."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield (*path, key)
        yield from list_places(child, (*path, key))


def _change(random: Random, holder: Any, key: Any) -> None:
    """Change one member of a document in place."""
    what = random.randrange(8)
    if what == 0:
        del holder[key]
    elif what == 1:
        holder[key] = [holder[key]]
    elif what == 2:
        holder[key] = {str(random.choice(SCALARS)): holder[key]}
    elif what == 3 and isinstance(holder[key], list):
        holder[key] = holder[key] * random.choice((0, 2, 3, 30))
    elif what == 4 and isinstance(holder, dict):
        holder[random.choice((str(key).upper(), f"{key} ", "", str(random.choice(SCALARS))))] = holder.pop(key)
    elif what == 5 and isinstance(holder[key], str):
        holder[key] = random.choice(("{} ", " {}", "{}\0", "{}{}", "{}\u200b")).replace("{}", holder[key])
    elif what == 6 and isinstance(holder[key], (str, int)):
        holder[key] = str(holder[key]) if not isinstance(holder[key], str) else make_value(random)
    else:
        holder[key] = make_value(random)


def mutate(random: Random, document: Any) -> Any:
    """Return a copy of a document with one to six changes."""
    copy = json.loads(json.dumps(document))
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        places = list(list_places(copy))[:MAX_PLACES]
        if not places:
            return make_value(random)
        *path, key = random.choice(places)
        holder = copy
        for step in path:
            holder = holder[step]
        _change(random, holder, key)
    return copy


def write(random: Random, document: Any) -> bytes:
    """Return a document as JSON, in one of the ways in which it may be written."""
    text = json.dumps(document, ensure_ascii=random.random() < 0.7, indent=random.choice((None, None, None, 1)))
    return text.encode("utf-8", random.choice(("surrogatepass", "replace")))


def damage(random: Random, data: bytes) -> bytes:
    """Return bytes with one to four changes: replaced, inserted, removed, repeated or cut."""
    made = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.randrange(len(made) + 1)
        size = random.choice((1, 1, 2, 8, 64))
        what = random.randrange(6)
        if what == 0:
            made[at : at + size] = random.randbytes(size)
        elif what == 1:
            made[at:at] = random.choice(TOKENS)
        elif what == 2:
            del made[at : at + size]
        elif what == 3:
            made[at:at] = made[at : at + size] * random.choice((1, 2, 20))
        elif what == 4:
            del made[at:]
        elif at < len(made):
            made[at] ^= 1 << random.randrange(8)
    return bytes(made)
