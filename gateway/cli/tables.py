"""Tables on standard output."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str | None = None) -> None:
    """Print rows under their column headings; None is an empty cell, unprintable characters are escaped."""
    drawn = Table(
        title=None if title is None else _plain(title), box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False
    )
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*map(_plain, row))
    Console(soft_wrap=False).print(drawn)


def _plain(value: Any) -> Text:
    """Return a value as plain text: a posted name can neither be markup nor control the terminal."""
    text = "" if value is None else str(value)
    return Text("".join(one if one.isprintable() or one == "\n" else ascii(one)[1:-1] for one in text))


def count_text(number: int, what: str) -> str:
    """Return a number with its noun: ``1 fact``, ``2 facts``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def describe_skip(said: Mapping[str, Any]) -> str:
    """Return why something is not sent: its id, its name, the reason, and the setting that decided."""
    names = ", ".join(said.get("names", ())) + (f" and {said['more']} more" if said.get("more") else "")
    what = " ".join(filter(None, (said.get("what"), said.get("title")))) + (f": {names}" if names else "")
    why = " ".join(filter(None, (f"({said['reason']})", said.get("detail"))))
    return f"{what} {why}" + (f"\n  by {said['cause']}" if said.get("cause") else "")
