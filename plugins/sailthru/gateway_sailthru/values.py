"""Values: attributes as the vars of a profile or an event."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b

from gateway.sdk import JSON, Skip
from gateway_sailthru.names import assign_vars, make_var_name
from gateway_sailthru.settings import SailthruSettings


def make_vars(
    values: Mapping[str, JSON],
    settings: SailthruSettings,
    *,
    rivals: Iterable[str] = (),
    taken: Iterable[str] = (),
) -> tuple[dict[str, JSON], list[Skip]]:
    """Return attributes as vars, and a Skip for each whose var belongs to another attribute.

    ``rivals`` are attributes that are not sent now but claim a var too; vars in ``taken`` are in use already.
    """
    converted = dict(_convert_lists(values, settings, {*values, *rivals}))
    owners = assign_vars([*converted, *rivals], settings)
    in_use = frozenset(taken)
    sent: dict[str, JSON] = {}
    skips = []
    for name, value in converted.items():
        var = make_var_name(name, unicode=settings.unicode_names)
        if owners[var] == name and var not in in_use:
            sent[var] = value
        else:
            skips.append(Skip(reason="name_collision", what=name))
    return sent, skips


def _convert_lists(
    values: Mapping[str, JSON], settings: SailthruSettings, known: set[str]
) -> Iterator[tuple[str, JSON]]:
    for name, value in values.items():
        if not isinstance(value, list) or settings.array_mode == "keep":
            yield name, value
            continue
        yield name, ",".join(map(_to_text, value))
        if settings.array_mode == "both" and name_list_attribute(name) not in known:
            yield name_list_attribute(name), value


def name_list_attribute(name: str) -> str:
    """Return the name under which an array is sent beside its text."""
    return f"{name}_list"


def _to_text(element: JSON) -> str:
    return element if isinstance(element, str) else json.dumps(element, ensure_ascii=False)


def hash_json(value: JSON) -> str:
    """Return a short hash of a value, which is remembered in its place; the order of its names does not matter."""
    return blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=8).hexdigest()


def get_removed_value(settings: SailthruSettings) -> str | None:
    """Return the value of an attribute that was removed, because Sailthru has no way to delete a var."""
    return None if settings.removed_value == "null" else ""
