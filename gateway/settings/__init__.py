"""Configuration: one TOML file, overridden by secret files and by the environment."""

from gateway.settings.load import (
    AccountsSettings,
    Configuration,
    ConfigurationError,
    ConnectionSettings,
    DeliverySettings,
    IngressSettings,
    JournalSettings,
    LogSettings,
    RulesSettings,
    load,
)

__all__ = [
    "AccountsSettings",
    "Configuration",
    "ConfigurationError",
    "ConnectionSettings",
    "DeliverySettings",
    "IngressSettings",
    "JournalSettings",
    "LogSettings",
    "RulesSettings",
    "load",
]
