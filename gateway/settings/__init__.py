"""Configuration: one TOML file, overridden by secret files and by the environment."""

from gateway.settings.load import (
    Accounts,
    ConfigurationError,
    ConnectionSettings,
    Delivery,
    Ingress,
    Journal,
    Log,
    Rules,
    Settings,
    load,
)

__all__ = [
    "Accounts",
    "ConfigurationError",
    "ConnectionSettings",
    "Delivery",
    "Ingress",
    "Journal",
    "Log",
    "Rules",
    "Settings",
    "load",
]
