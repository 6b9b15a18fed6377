"""Engines: opening the journal that the configuration names. An engine is imported only if it is used."""

from __future__ import annotations

from gateway.journal.port import Journal
from gateway.journal.postgres.address import Address
from gateway.journal.types import JournalUnusable
from gateway.settings import JournalSettings

NO_DRIVER = "PostgreSQL needs a driver that is not installed: pip install 'mparticle-gateway[postgres]'"


def shown(of: JournalSettings) -> str:
    """Return the journal's URL without secrets."""
    return of.url if _is_file(of) else str(_address(of))


async def prepare(of: JournalSettings) -> None:
    """Create the journal, or migrate an older one. Raises JournalUnusable and JournalUnavailable."""
    if _is_file(of):
        from gateway.journal.sqlite import file  # noqa: PLC0415  # only where it is used

        file.prepare(of.url)
    else:
        address = _address(of)
        from gateway.journal.postgres import journal  # noqa: PLC0415  # only where it is used

        await journal.prepare(address)


async def inspect(of: JournalSettings) -> bool:
    """Return whether there is a journal yet. Raises JournalUnusable if none can be created, and JournalUnavailable."""
    if _is_file(of):
        from gateway.journal.sqlite import file  # noqa: PLC0415  # only where it is used

        return file.inspect(of.url)
    address = _address(of)
    from gateway.journal.postgres import journal  # noqa: PLC0415  # only where it is used

    return await journal.inspect(address)


async def open_journal(of: JournalSettings) -> Journal:
    """Open a prepared journal. Raises JournalUnusable, and JournalUnavailable if it is a file."""
    if _is_file(of):
        from gateway.journal.sqlite import journal as sqlite  # noqa: PLC0415  # only where it is used

        return sqlite.SqliteJournal(of.url)
    address = _address(of)
    from gateway.journal.postgres import journal  # noqa: PLC0415  # only where it is used

    return await journal.PostgresJournal.open(address, lease_s=of.lease_s)


def doubts(of: JournalSettings) -> list[str]:
    """Return a line for each doubt about a journal in a file that an operator should know before it is used.

    Raises JournalUnusable and JournalUnavailable.
    """
    if not _is_file(of):
        return []
    from gateway.journal.sqlite import file  # noqa: PLC0415  # not needed for a server

    return file.doubts(of.url)


def faults(of: JournalSettings) -> list[str]:
    """Return a line for each fault in the pages of a journal in a file; PostgreSQL checks its own pages."""
    if not _is_file(of):
        return []
    from gateway.journal.sqlite import file  # noqa: PLC0415  # not needed for a server

    return file.faults(of.url)


def _is_file(of: JournalSettings) -> bool:
    return of.url.startswith("sqlite:")


def _address(of: JournalSettings) -> Address:
    try:
        import asyncpg  # noqa: F401, PLC0415  # only whether it is installed
    except ModuleNotFoundError:
        raise JournalUnusable(NO_DRIVER) from None
    return Address(url=of.url, password=of.password.get_secret_value() if of.password else None)
