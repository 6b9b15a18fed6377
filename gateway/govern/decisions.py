"""The result of governing: the facts that may be sent, those that may not, and the setting behind each decision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from gateway.facts import Fact
from gateway.journal.types import KeptBack
from gateway.sdk import Batch

KeptBackNames: TypeAlias = tuple[KeptBack, ...]
"""Names that the filter takes out of one fact, by the setting that decided."""


class WithheldFact(msgspec.Struct, frozen=True, kw_only=True):
    """A fact that is not sent: the reason, and the setting that decided."""

    fact: str
    reason: str
    cause: str


class GovernedBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch as the plugin sees it, the facts that may be sent, and those that are withheld.

    ``kept_back`` has, by fact, the names of what the filter removed from it.
    """

    batch: Batch
    facts: tuple[Fact, ...]
    withheld: tuple[WithheldFact, ...] = ()
    kept_back: Mapping[str, KeptBackNames] = {}
