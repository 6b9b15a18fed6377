"""Accounts of a hosted connection while the journal cannot be written."""

from types import SimpleNamespace

import pytest

from gateway.dispatch.hosting import HostedDispatcher
from gateway.journal.types import JournalUnavailable, SealedSettings

pytestmark = pytest.mark.anyio


class Journal:
    """Holds the settings of one account, with a trouble noted, and cannot be written."""

    is_away = True

    async def sealed(self, connection):
        return SealedSettings(
            connection=connection, print=b"1", sealed=b"{}", told_ms=0, received_ms=0, trouble="unreadable"
        )

    async def note_trouble(self, *_):
        if self.is_away:
            raise JournalUnavailable("away")


class Dispatcher:
    def __init__(self):
        self.shares = 0

    def start_sharing(self):
        self.shares += 1


async def test_an_account_that_cannot_be_started_shares_no_limits():
    made = []

    def dispatcher(*_):
        made.append(Dispatcher())
        return made[-1]

    hosted = SimpleNamespace(name="post", connect_account=lambda customer, given: (customer, given))
    sealer = SimpleNamespace(open=lambda sealed, name: sealed)
    host = HostedDispatcher(hosted=hosted, journal=Journal(), sealer=sealer, make_dispatcher=dispatcher)
    with pytest.raises(JournalUnavailable):
        await host._find_worker("post/ann", b"1")
    assert ([one.shares for one in made], host.workers) == ([0], {})
    host.journal.is_away = False
    worker = await host._find_worker("post/ann", b"1")
    assert ([one.shares for one in made], worker.trouble, list(host.workers)) == ([0, 1], "", ["post/ann"])
