"""Poison: posts that the journal can never store, beside others that it must store.

No post holds such a value after it was read, so the harness puts one in: ``install`` wraps the reading of posts from
the outside, as failpoints are.
"""

from __future__ import annotations

import json
from typing import Any

from msgspec.structs import replace

from gateway.ingest import endpoint

MARK = "poison-0000-4000-8000"
UNSTORABLE = 10**30
"""A time in milliseconds that no engine can store."""


def make_poison(number: int) -> bytes:
    """Return the body of a post that will be refused."""
    return json.dumps(
        {"type": "event_processing_request", "id": f"{MARK}-{number:012d}", "mpid": "7", "user_attributes": {"n": "1"}}
    ).encode()


def install() -> None:
    """Give marked posts a value that cannot be stored."""
    read = endpoint.read_entries

    def read_entries(body: bytes, *given: Any) -> Any:
        post, entries = read(body, *given)
        if MARK.encode() in body:
            entries = [replace(entry, received_ms=UNSTORABLE) for entry in entries]
        return post, entries

    endpoint.read_entries = read_entries
