"""Journals of any engine, for tests. One in memory has a name, and keeps its contents as long as the process lives."""

import pytest

from gateway.journal import engines
from gateway.journal.memory.journal import MemoryJournal
from gateway.journal.memory.store import Store
from gateway.settings import JournalSettings

MEMORY = "memory:"
SQL_ENGINES = pytest.mark.parametrize(
    "engine", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True
)
stores = {}


def memory_settings(name):
    """Return the settings of a journal in memory, which no configuration may name."""
    return JournalSettings.model_construct(url=f"{MEMORY}{name}")


async def prepare(of):
    """Make the journal."""
    if of.url.startswith(MEMORY):
        stores.setdefault(of.url, Store())
    else:
        await engines.prepare(of)


async def open_journal(of):
    """Open a journal that was made."""
    return MemoryJournal(stores[of.url]) if of.url.startswith(MEMORY) else await engines.open_journal(of)
