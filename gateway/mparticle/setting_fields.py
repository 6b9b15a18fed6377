"""Settings as mParticle shows them to a customer: one field for each of a plugin's own settings."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel, SecretBytes, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_json

BOUNDS = (("ge", "min_value", 0), ("gt", "min_value", 1), ("le", "max_value", 0), ("lt", "max_value", -1))
SCALARS = (str, bool, int, float, SecretStr, SecretBytes)
TYPES = {bool: "boolean", int: "integer", float: "float"}


Offered: TypeAlias = Mapping[str, frozenset[str] | None]
"""By plugin name, the settings that a customer may give, by id; None for all."""


def list_settings(models: Mapping[str, tuple[str, type[BaseModel]]], offered: Offered) -> list[dict[str, Any]]:
    """Return the settings offered of these plugins' models, by plugin name, each with its title.

    If there are several plugins, ids and names begin with that of the plugin.
    """
    several = len(models) > 1
    return [
        _make_setting(
            f"{plugin}.{field.alias or name}" if several else field.alias or name,
            f"{title}: {_make_label(name, field)}" if several else _make_label(name, field),
            field,
        )
        for plugin, (title, model) in models.items()
        for name, field in model.model_fields.items()
        if (wanted := offered.get(plugin)) is None or (field.alias or name) in wanted
    ]


def parse_texts(model: type[BaseModel], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as the model takes them, from mParticle's, which are all text; blank ones are left out.

    A value that is no scalar comes as JSON text. Raises ValueError, naming the setting, if it is not.
    """
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    fields |= dict(model.model_fields)
    return {
        id: _read(id, fields[id], value) if id in fields and isinstance(value, str) else value
        for id, value in given.items()
        if value is not None and not (isinstance(value, str) and not value.strip())
    }


def _read(id: str, field: FieldInfo, value: str) -> Any:
    plain = _find_plain_type(field.annotation)
    if plain in SCALARS or get_origin(plain) is Literal or value.strip()[:1] not in ("[", "{"):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError(f"{id}: not JSON") from None


def _make_label(name: str, field: FieldInfo) -> str:
    return field.title or name.replace("_", " ").capitalize()


def _make_setting(id: str, name: str, field: FieldInfo) -> dict[str, Any]:
    plain = _find_plain_type(field.annotation)
    kind = TYPES.get(plain, "text")
    default = None if field.is_required() else _make_default(field, kind)
    setting: dict[str, Any] = {"type": kind, "id": id, "name": name}
    if field.description:
        setting["description"] = field.description
    setting["visible"] = True
    if default is not None:
        setting["default_value"] = default
    if kind == "boolean":
        return {**setting, "checked": bool(default)}
    if kind != "text":
        setting.update(_make_bounds(field, step=1 if kind == "integer" else 0))
    setting["required"] = field.is_required()
    if plain in (SecretStr, SecretBytes):
        setting["confidential"] = True
    return setting


def _find_plain_type(annotation: Any) -> Any:
    """Return the type inside an optional or annotated one."""
    if get_origin(annotation) is Annotated:
        return _find_plain_type(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        choices = [choice for choice in get_args(annotation) if choice is not type(None)]
        return _find_plain_type(choices[0]) if len(choices) == 1 else None
    return annotation


def _make_default(field: FieldInfo, kind: str) -> Any:
    """Return the default of a setting: never a secret, and JSON text unless it is a scalar."""
    if field.default_factory_takes_validated_data:
        return None
    default = field.get_default(call_default_factory=True)
    if default in (None, PydanticUndefined, "") or isinstance(default, (SecretStr, SecretBytes)):
        return None
    if kind != "text" or isinstance(default, str):
        return default
    return to_json(sorted(default) if isinstance(default, (set, frozenset)) else default).decode()


def _make_bounds(field: FieldInfo, step: int) -> dict[str, Any]:
    """Return the least and the greatest value; ``step`` leads from an exclusive bound to the nearest valid value."""
    found = {}
    for rule in field.metadata:
        for word, name, inwards in BOUNDS:
            bound = getattr(rule, word, None)
            if bound is not None:
                found[name] = bound + inwards * step
    return found
