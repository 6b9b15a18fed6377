"""Wording: what is wrong with settings, a line for each problem, in plain words and never with a value."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import ValidationError

OF_KEY = "[key]"
"""Pydantic's mark for an entry whose name is wrong, and not its value."""
WORDS = {
    "extra_forbidden": "no such setting",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
}
SHAPES = {
    **dict.fromkeys(("tuple_type", "list_type", "set_type", "frozen_set_type"), ("list", '["…"]', '["…"]')),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), ("table", "{ … = … }", '{"…": …}')),
}
"""The expected value, an example of it in TOML, and one in JSON."""

Place = tuple[str | int, ...]


def problems(
    error: ValidationError, prefix: str = "", *, missing: bool = True, given_by: Callable[[Place], str] = lambda _: ""
) -> list[str]:
    """One line for each problem of a validation, with the dotted key and never the value.

    A ``missing`` value may be no problem. ``given_by`` tells what gives a value as text, which then has to be JSON.
    """
    lines = []
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        if item["type"] == "missing" and not missing:
            continue
        place = item["loc"][:-1] if item["loc"][-1:] == (OF_KEY,) else item["loc"]
        key = ".".join([prefix, *map(str, place)] if prefix else map(str, place))
        lines.append(f"{key}: {_said(item['type'], item['msg'], given_by(place))}")
    return lines


def _said(type: str, message: str, source: str) -> str:
    if type not in SHAPES:
        return WORDS.get(type) or message.removeprefix("Value error, ")
    wanted, toml, json = SHAPES[type]
    by = f"; {source} has to give it as JSON, for example {json}" if source else f", for example {toml}"
    return f"must be a {wanted}{by}"
