"""The log: one rich entry for each message taken in and each batch delivered, never a user's value or a secret."""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import msgspec
import structlog

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
MAX_TEXT = 300
"""The most characters of one value in a line."""
logger: structlog.typing.FilteringBoundLogger = structlog.get_logger("gateway")


def configure(format: str, level: str, *, to: TextIO | None = None) -> None:
    """Write ``json`` or ``text`` lines of at least ``level``, on standard error or ``to``."""
    stream = to or sys.stderr
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _cut_texts,
    ]
    if format == "json":
        renderer: Any = structlog.processors.JSONRenderer(serializer=_json)
        factory: Any = structlog.BytesLoggerFactory(stream.buffer)
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=stream.isatty())
        factory = structlog.PrintLoggerFactory(stream)
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )


def _cut_texts(_: Any, __: str, entry: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Cut long texts: an id that was posted may be as long as a body. A trace, which is made later, stays whole."""
    for name, value in entry.items():
        if isinstance(value, str) and len(value) > MAX_TEXT:
            entry[name] = f"{value[:MAX_TEXT]}… ({len(value):,} characters)"
    return entry


def _json(entry: Any, **_: Any) -> bytes:
    return msgspec.json.encode(entry, enc_hook=str)
