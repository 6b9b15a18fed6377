"""What governing comes to: what may be sent, what may not, and the setting behind each refusal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from gateway.facts import Fact
from gateway.journal.types import KeptBack
from gateway.sdk import Batch

KeptBackNames: TypeAlias = tuple[KeptBack, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WithheldFact:
    """A fact that is not sent: one word, and the setting that says so."""

    fact: str
    reason: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GovernedBatch:
    """What may be sent: the batch as the plugin sees it, its facts, and those withheld.

    ``kept_back`` has, by fact, the names of what was taken out of it.
    """

    batch: Batch
    facts: tuple[Fact, ...]
    withheld: tuple[WithheldFact, ...] = ()
    kept_back: Mapping[str, KeptBackNames] = field(default_factory=dict)
