"""Sources of settings: the environment overrides secret files, and those override a TOML file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeVar

from pydantic import model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    TomlConfigSettingsSource,
)

S = TypeVar("S", bound=BaseSettings)


class Environment(EnvSettingsSource):
    """Environment variables. Invalid JSON stays text, so that validation reports it with all problems."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Return a list or a table from its JSON, or the text if it is none."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value


class SecretFiles(Environment, NestedSecretsSettingsSource):
    """A directory of files with one value each, named like the variables."""


def with_sources(settings: type[S], file: Path | None, secrets: str | None, loaded: dict[str, Any]) -> type[S]:
    """Return a subclass of ``settings`` that reads these sources, and copies their raw values into ``loaded``."""

    class Sourced(settings):  # type: ignore[valid-type, misc]  # the base class is a parameter
        @model_validator(mode="before")
        @classmethod
        def _note(cls, values: dict[str, Any]) -> dict[str, Any]:
            loaded.update(values)
            return values

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # pydantic gives them
            env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # pydantic gives them
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # pydantic gives them
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            sources: list[PydanticBaseSettingsSource] = [Environment(settings_cls)]
            if secrets:
                sources.append(
                    SecretFiles(file_secret_settings, secrets_dir=secrets, secrets_nested_delimiter="__", env_prefix="")
                )
            if file is not None:
                sources.append(TomlConfigSettingsSource(settings_cls, toml_file=file))
            return tuple(sources)

    return Sourced


def find_text_source(place: tuple[str | int, ...], secrets: str | None) -> str:
    """Return the variable or secret file that gives a setting as text; "" if none does."""
    path = "__".join(map(str, place)).lower()
    variable = next((name for name in os.environ if name.lower() == f"gateway_{path}"), "")
    if variable or not secrets:
        return variable
    return next((str(one) for one in _listed(Path(secrets)) if one.name.lower() == path), "")


def _listed(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:
        return []
