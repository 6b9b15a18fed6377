"""The text form of a JSON value."""

from __future__ import annotations

import json

from gateway.sdk import JSON

EXACT = 1e16
"""From here on a float no longer tells neighbouring whole numbers apart and is written with an exponent."""


def as_text(value: JSON) -> str:
    """The value as the string that SessionM is sent.

    Booleans as in JSON, whole numbers without a fraction, the elements of a list joined by commas (those
    without a value left out), whatever is nested deeper as compact JSON.
    """
    if isinstance(value, list | tuple):
        return ",".join(_element(element) for element in value if element is not None)
    return _element(value)


def _element(value: JSON) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < EXACT else repr(value)
    if isinstance(value, int):
        return str(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
