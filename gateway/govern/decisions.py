"""The result of governing: the facts that may be sent, those that may not, and the setting behind each decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from gateway.facts import Fact
from gateway.journal.types import KeptBack
from gateway.sdk import Batch

KeptBackNames: TypeAlias = tuple[KeptBack, ...]
"""Names that the filter takes out of one fact, by the setting that decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WithheldFact:
    """A fact that is not sent: the reason, and the setting that decided."""

    fact: str
    reason: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GovernedBatch:
    """A batch as the plugin sees it, the facts that may be sent, and those that are withheld.

    ``kept_back`` has, by fact, the names of what the filter took out of it.
    """

    batch: Batch
    facts: tuple[Fact, ...]
    withheld: tuple[WithheldFact, ...] = ()
    kept_back: Mapping[str, KeptBackNames] = field(default_factory=dict)
