"""Sizes: a call that is too large for Sailthru is not sent."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from urllib.parse import urlencode

import msgspec

from gateway.sdk import Call, Remember, Skip

MAX_FORM_BYTES = 1_000_000
CREDENTIALS_BYTES = 1_000
"""Room for what signing adds."""
MAX_GROWTH = 4
"""Bytes of a form that one byte of JSON may become."""


def fits(call: Call) -> bool:
    """Return whether the call's form is at most as large as Sailthru is trusted to take; most are far from it."""
    room_bytes = MAX_FORM_BYTES - CREDENTIALS_BYTES
    if MAX_GROWTH * len(msgspec.json.encode(call.json)) <= room_bytes:
        return True
    return len(urlencode({"json": json.dumps(call.json)})) <= room_bytes


def skip_too_large(plan: Iterable[Call | Skip | Remember]) -> Iterator[Call | Skip | Remember]:
    """Yield the plan with a Skip for each call that is too large; then nothing is remembered, as not all was sent."""
    items = [(item, not isinstance(item, Call) or fits(item)) for item in plan]
    is_whole = all(is_fit for _, is_fit in items)
    is_part = any(isinstance(item, Call) and is_fit for item, is_fit in items)
    for item, is_fit in items:
        if isinstance(item, Call) and not is_fit:
            yield Skip(reason="too_large", what=item.path if is_part else None)
        elif is_whole or not isinstance(item, Remember):
            yield item
