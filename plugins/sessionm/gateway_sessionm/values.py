"""Values: JSON values as the text that SessionM is sent."""

from __future__ import annotations

import json

from gateway.sdk import JSON

MAX_EXACT = 1e16
"""The float from which neighbouring whole numbers cannot be told apart; from here on an exponent is written."""


def to_text(value: JSON) -> str:
    """Return the value as the string that SessionM is sent.

    Booleans are written as in JSON and whole numbers without a fraction. The elements of a list are joined by
    commas, without the nulls among them. Anything nested deeper is compact JSON.
    """
    if isinstance(value, list | tuple):
        return ",".join(_element_to_text(element) for element in value if element is not None)
    return _element_to_text(value)


def _element_to_text(value: JSON) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < MAX_EXACT else repr(value)
    if isinstance(value, int):
        return str(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
