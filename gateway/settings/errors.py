"""Error messages of settings: a line for each problem, with its key and never with a value."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import ValidationError

OF_KEY = "[key]"
"""Pydantic's mark for an entry whose name, not its value, is wrong."""
MESSAGES = {
    "extra_forbidden": "no such setting",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
}
SHAPES = {
    **dict.fromkeys(("tuple_type", "list_type", "set_type", "frozen_set_type"), ("list", '["…"]', '["…"]')),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), ("table", "{ … = … }", '{"…": …}')),
}
"""The kind of value expected, an example in TOML, and one in JSON."""

Place = tuple[str | int, ...]


def list_problems(
    error: ValidationError, prefix: str = "", *, missing: bool = True, given_by: Callable[[Place], str] = lambda _: ""
) -> list[str]:
    """Return a line for each problem of a validation, with the dotted key and never the value.

    Missing values are problems only if ``missing``. ``given_by`` returns the variable or file that gives a value as
    text, which must then be JSON; "" if none does.
    """
    lines = []
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        if item["type"] == "missing" and not missing:
            continue
        place = item["loc"][:-1] if item["loc"][-1:] == (OF_KEY,) else item["loc"]
        key = ".".join([prefix, *map(str, place)] if prefix else map(str, place))
        lines.append(f"{key}: {_message(item['type'], item['msg'], given_by(place))}")
    return lines


def _message(type: str, message: str, source: str) -> str:
    if type not in SHAPES:
        return MESSAGES.get(type) or message.removeprefix("Value error, ")
    wanted, toml, json = SHAPES[type]
    by = f"; {source} must give it as JSON, for example {json}" if source else f", for example {toml}"
    return f"must be a {wanted}{by}"
