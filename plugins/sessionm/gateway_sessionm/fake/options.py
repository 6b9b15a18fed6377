"""Options: the configuration of the fake."""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from gateway_sessionm.fake.errors import Transport


class Definition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The definition of a custom attribute; its bounds are those of a string's length, or of an integer."""

    type: Literal["string", "integer", "boolean"] = "string"
    min: int | None = None
    max: int | None = None

    def admits(self, value: str) -> bool:
        """Return whether the text is a value of this attribute."""
        if self.type == "boolean":
            return value in ("true", "false")
        if self.type == "integer" and not re.fullmatch(r"-?[0-9]+", value):
            return False
        extent = int(value) if self.type == "integer" else len(value)
        return (self.min is None or extent >= self.min) and (self.max is None or extent <= self.max)


class TokenBucket(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The size of a token bucket, and the rate at which it fills."""

    per_second: float
    burst: int


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of the fake. ``apps`` maps keys to secrets."""

    apps: dict[str, str] = msgspec.field(default_factory=lambda: {"test-key": "test-secret"})
    events: list[str] = []
    attributes: dict[str, Definition] = {}
    max_custom_attributes: int = 200
    max_context: int = 10
    undefined_event: Literal["reject", "ignore"] = "reject"
    undefined_attribute: Literal["ignore", "reject", "accept"] = "ignore"
    duplicate_transaction: Literal["ignore", "store"] = "ignore"
    error_transport: Transport = "documented"
    identifiers_on_put: Literal["replace", "append"] = "replace"
    rate: TokenBucket | None = None
    latency_ms: float = 0

    def change(self, options: dict[str, Any]) -> Options:
        """Return these options with some of them changed. Raises ValueError for one that does not exist or fit."""
        try:
            return msgspec.convert({**msgspec.to_builtins(self), **options}, Options)
        except msgspec.ValidationError as error:
            raise ValueError(str(error)) from None
