"""Address: where the PostgreSQL server is."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """The URL of a server. ``password`` is used instead of the URL's, if there is one."""

    url: str = field(repr=False)
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """Return the address without secrets: host, port and database."""
        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2]
        directory = "" if host else parse_qs(parts.query).get("host", [""])[0]
        return f"postgresql://{host}{parts.path}" + (f"?host={directory}" if directory else "")
