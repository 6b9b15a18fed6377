"""The log: one rich entry for each message taken in and each batch delivered, never a user's value or a secret."""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import msgspec
import structlog

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
logger: structlog.typing.FilteringBoundLogger = structlog.get_logger("gateway")


def configure(format: str, level: str, *, to: TextIO | None = None) -> None:
    """Write ``json`` or ``text`` lines of at least ``level``, on standard error or ``to``."""
    stream = to or sys.stderr
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
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


def _json(entry: Any, **_: Any) -> bytes:
    return msgspec.json.encode(entry, enc_hook=str)
