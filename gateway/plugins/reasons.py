"""Reasons: the words by which facts are counted. A plugin or a partner must not be able to invent one for each fact."""

from __future__ import annotations

import re
from collections.abc import Collection

OTHER = "other"
"""The reason of all facts whose own reason is not counted; it is in the ledger's detail."""
MAX_REASONS = 50
WORD = re.compile(r"[a-z][a-z0-9_]{0,39}")
BY_STATUS = re.compile(r"status_[1-5][0-9]{2}")
GENERAL = frozenset({"", "rejected", "nothing_to_send"})


class Reasons:
    """The reasons that a plugin may give: those that it declares, or, if it declares none, the first 50 words.

    ``status_404`` and the like may always be given.
    """

    def __init__(self, declared: Collection[str] | None) -> None:
        self._known = {*GENERAL, *(declared or ())}
        self._free = MAX_REASONS if declared is None else 0

    def name(self, reason: str) -> str:
        """Return the reason by which to count: the plugin's own, or ``other``."""
        if reason in self._known or BY_STATUS.fullmatch(reason):
            return reason
        if not self._free or not WORD.fullmatch(reason):
            return OTHER
        self._free -= 1
        self._known.add(reason)
        return reason

    def split(self, reason: str, detail: str = "") -> tuple[str, str]:
        """Return the reason by which to count, and the detail, which begins with a reason that is not counted."""
        named = self.name(reason)
        return (reason, detail) if named == reason else (named, "; ".join(filter(None, (reason, detail))))
