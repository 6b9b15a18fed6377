"""Engines: which one keeps the journal that the configuration names. Each is imported only where it is used."""

from __future__ import annotations

from gateway.journal.port import Journal
from gateway.journal.postgres.address import Address
from gateway.journal.types import JournalUnusable
from gateway.settings import JournalSettings

NO_DRIVER = "PostgreSQL needs a driver that is not installed: pip install 'mparticle-gateway[postgres]'"


def shown(of: JournalSettings) -> str:
    """The journal's URL without any secret."""
    return of.url if _is_file(of) else str(_address(of))


async def prepare(of: JournalSettings) -> None:
    """Make the journal, or bring an older one up to date. Raises JournalUnusable and JournalUnavailable."""
    if _is_file(of):
        from gateway.journal.sqlite import file  # noqa: PLC0415

        file.prepare(of.url)
    else:
        address = _address(of)
        from gateway.journal.postgres import journal  # noqa: PLC0415

        await journal.prepare(address)


async def inspect(of: JournalSettings) -> bool:
    """Return whether there is a journal yet. Raises JournalUnusable if none can be made, and JournalUnavailable."""
    if _is_file(of):
        from gateway.journal.sqlite import file  # noqa: PLC0415

        return file.inspect(of.url)
    address = _address(of)
    from gateway.journal.postgres import journal  # noqa: PLC0415

    return await journal.inspect(address)


async def open_journal(of: JournalSettings) -> Journal:
    """The journal, once it has been prepared. Raises JournalUnusable, and JournalUnavailable where it is a file."""
    if _is_file(of):
        from gateway.journal.sqlite import journal as sqlite  # noqa: PLC0415

        return sqlite.SqliteJournal(of.url)
    address = _address(of)
    from gateway.journal.postgres import journal  # noqa: PLC0415

    return await journal.PostgresJournal.open(address, lease_s=of.lease_s)


def doubts(of: JournalSettings) -> list[str]:
    """Return a line for whatever an operator should know of a journal in a file before it is used.

    Raises JournalUnusable and JournalUnavailable.
    """
    if not _is_file(of):
        return []
    from gateway.journal.sqlite import file  # noqa: PLC0415  # of no use to who works on a server

    return file.doubts(of.url)


def faults(of: JournalSettings) -> list[str]:
    """Return a line for each fault in the pages of a journal in a file; PostgreSQL checks its own pages."""
    if not _is_file(of):
        return []
    from gateway.journal.sqlite import file  # noqa: PLC0415  # of no use to who works on a server

    return file.faults(of.url)


def _is_file(of: JournalSettings) -> bool:
    return of.url.startswith("sqlite:")


def _address(of: JournalSettings) -> Address:
    try:
        import asyncpg  # noqa: F401, PLC0415
    except ModuleNotFoundError:
        raise JournalUnusable(NO_DRIVER) from None
    return Address(url=of.url, password=of.password.get_secret_value() if of.password else None)
