"""Sizes: what is too large for Sailthru is not sent."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from urllib.parse import urlencode

import msgspec

from gateway.sdk import Call, Remember, Skip

LARGEST_FORM = 1_000_000
CREDENTIALS = 1_000
"""Room for what signing adds."""
MAX_GROWTH = 4
"""How many bytes of a form one byte of JSON may become."""


def fits(call: Call) -> bool:
    """Whether the call's form is no larger than Sailthru is trusted to take; most are far from it."""
    room = LARGEST_FORM - CREDENTIALS
    if MAX_GROWTH * len(msgspec.json.encode(call.json)) <= room:
        return True
    return len(urlencode({"json": json.dumps(call.json)})) <= room


def bounded(plan: Iterable[Call | Skip | Remember]) -> Iterator[Call | Skip | Remember]:
    """The plan, with a Skip for each call that is too large; then nothing is remembered, for not all was sent."""
    items = [(item, not isinstance(item, Call) or fits(item)) for item in plan]
    is_whole = all(is_fit for _, is_fit in items)
    is_part = any(isinstance(item, Call) and is_fit for item, is_fit in items)
    for item, is_fit in items:
        if isinstance(item, Call) and not is_fit:
            yield Skip(reason="too_large", what=item.path if is_part else None)
        elif is_whole or not isinstance(item, Remember):
            yield item
