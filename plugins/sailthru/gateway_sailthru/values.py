"""Values: attributes as the vars of a profile or an event."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b

from gateway.sdk import JSON, Skip
from gateway_sailthru.names import owners, var_name
from gateway_sailthru.settings import SailthruSettings


def variables(
    values: Mapping[str, JSON],
    settings: SailthruSettings,
    *,
    rivals: Iterable[str] = (),
    taken: Iterable[str] = (),
) -> tuple[dict[str, JSON], list[Skip]]:
    """Attributes as vars, and a Skip for each whose var belongs to another attribute.

    ``rivals`` are names that are not sent now but have a claim on a var too; vars in ``taken`` are not to be had.
    """
    shaped = dict(_shaped(values, settings, {*values, *rivals}))
    owner = owners([*shaped, *rivals], settings)
    spoken_for = frozenset(taken)
    sent: dict[str, JSON] = {}
    skips = []
    for name, value in shaped.items():
        var = var_name(name, unicode=settings.unicode_names)
        if owner[var] == name and var not in spoken_for:
            sent[var] = value
        else:
            skips.append(Skip(reason="name_collision", what=name))
    return sent, skips


def _shaped(values: Mapping[str, JSON], settings: SailthruSettings, known: set[str]) -> Iterator[tuple[str, JSON]]:
    for name, value in values.items():
        if not isinstance(value, list) or settings.array_mode == "keep":
            yield name, value
            continue
        yield name, ",".join(map(_text, value))
        if settings.array_mode == "both" and list_attribute(name) not in known:
            yield list_attribute(name), value


def list_attribute(name: str) -> str:
    """The name under which an array is sent next to its text."""
    return f"{name}_list"


def _text(element: JSON) -> str:
    return element if isinstance(element, str) else json.dumps(element, ensure_ascii=False)


def digest(value: JSON) -> str:
    """What stands for a value in memory: a hash, the same in whatever order its names are."""
    return blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=8).hexdigest()


def removed(settings: SailthruSettings) -> str | None:
    """What stands for an attribute that was removed: Sailthru has no way to delete one."""
    return None if settings.removed_value == "null" else ""
