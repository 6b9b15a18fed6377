"""Sources of settings: the environment before secret files, and those before a TOML file."""

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
    """Variables. What ought to be JSON and is not stays text, so that its key is told to be wrong with all others."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """A list or a table, out of JSON."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value


class SecretFiles(Environment, NestedSecretsSettingsSource):
    """A directory of files, each with one value, named like variables."""


def sourced(settings: type[S], file: Path | None, secrets: str | None, told: dict[str, Any]) -> type[S]:
    """The same settings, made from these sources; what they told is put into ``told`` before it is validated."""

    class Sourced(settings):  # type: ignore[valid-type, misc]  # a class that is a parameter
        @model_validator(mode="before")
        @classmethod
        def _note(cls, values: dict[str, Any]) -> dict[str, Any]:
            told.update(values)
            return values

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
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


def given_by(place: tuple[str | int, ...], secrets: str | None) -> str:
    """The variable, or else the secret file, that gives a setting as text; empty where neither does."""
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
