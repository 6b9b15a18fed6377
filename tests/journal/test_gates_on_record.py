"""What is closed, and what an operator paused, on every engine."""

import asyncio

import pytest
from support.journal_words import find
from support.journals import open_journal, prepare

from gateway.clock import now_ms
from gateway.journal.backlog import Backlog, Gate
from gateway.journal.shared_limits import ClosedGate
from gateway.journal.wait_reasons import REFUSED, RETRY, WaitReason

pytestmark = pytest.mark.anyio

HOUR_MS = 3_600_000


@pytest.fixture
async def operator(settings, journal):
    """Another process that has the journal open."""
    opened = await open_journal(settings)
    yield opened
    await opened.close()


async def paused(journal, *names):
    return [(await journal.exchange(name, [])).paused for name in names]


async def test_a_pause_is_heard_on_its_connection_until_it_is_ended(journal, operator):
    assert await paused(journal, "loyalty", "email") == [False, False]
    await operator.pause("loyalty", None)
    assert await paused(journal, "loyalty", "email") == [True, False]
    await operator.pause("loyalty", HOUR_MS)
    assert await paused(journal, "loyalty") == [True]
    assert await operator.pause("loyalty", 0)
    assert await paused(journal, "loyalty") == [False]
    assert not await operator.pause("loyalty", 0)


async def test_a_pause_ends_by_itself(journal, operator):
    await operator.pause("loyalty", 1)
    async with asyncio.timeout(5):
        while await paused(journal, "loyalty") == [True]:
            await asyncio.sleep(0.001)
    assert await operator.backlog() == []
    assert not await operator.pause("loyalty", 0)


async def test_a_pause_of_a_hosted_connection_is_one_of_all_its_accounts(journal, operator):
    await operator.pause("loyalty/7", None)
    assert await paused(journal, "loyalty", "loyalty/7", "loyalty/8") == [False, True, False]
    await operator.pause("loyalty", None)
    assert await paused(journal, "loyalty", "loyalty/7", "loyalty/8", "loyal") == [True, True, True, False]


async def test_of_what_waits_it_is_told_that_the_whole_connection_rests(journal, operator, make_entry):
    names = ("email", "loyalty/7", "loyalty/8")
    await journal.accept([make_entry("m1", refs=("m1",))], names)

    async def rests():
        (found,) = await find(operator, "m1")
        return {sighting.connection: sighting.rest for sighting in found.sightings}

    assert await rests() == dict.fromkeys(names)
    await journal.exchange("email", [ClosedGate(scope="jobs", left_ms=HOUR_MS, reason=WaitReason("limit_reached"))])
    await operator.pause("loyalty", None)
    paused_ = Gate(scope=None, until_ms=0, reason=WaitReason("paused"))
    assert await rests() == {"email": None, "loyalty/7": paused_, "loyalty/8": paused_}


async def test_a_pause_outlives_the_processes(settings, anyio_backend):
    await prepare(settings)
    first = await open_journal(settings)
    await first.pause("loyalty", None)
    await first.close()
    successor = await open_journal(settings)
    assert await successor.take_over()
    assert await paused(successor, "loyalty") == [True]
    await successor.close()


async def test_closed_gates_are_told_whether_anybody_waits_or_not(journal, operator, make_entry):
    scope = ClosedGate(scope="api", left_ms=60_000, reason=WaitReason(RETRY, "status_429"))
    rest = ClosedGate(scope=None, left_ms=30_000, reason=WaitReason("unreachable"))
    await journal.exchange("loyalty", [scope, rest])
    await operator.pause("email", None)
    await operator.accept([make_entry("m1", scope="crm")], ("crm",))
    crm, email, loyalty = await operator.backlog()
    assert (crm.connection, crm.batches, crm.gates) == ("crm", 1, ())
    assert email == Backlog(connection="email", gates=(Gate(scope=None, until_ms=0, reason=WaitReason("paused")),))
    assert [(gate.scope, gate.reason) for gate in loyalty.gates] == [
        (None, WaitReason("unreachable")),
        ("api", WaitReason(RETRY, "status_429")),
    ]
    for gate, told in zip(loyalty.gates, (rest, scope), strict=True):
        assert 0 < gate.until_ms - now_ms() <= told.left_ms


async def test_a_successor_hears_of_scopes_and_finds_out_by_itself_who_has_to_rest(settings, anyio_backend):
    await prepare(settings)
    first = await open_journal(settings)
    assert await first.take_over()
    scope = ClosedGate(scope="api", left_ms=60_000, reason=WaitReason(RETRY, "status_429"))
    await first.exchange("loyalty", [scope])
    await first.exchange("loyalty", [ClosedGate(scope=None, left_ms=60_000, reason=WaitReason(REFUSED, "status_401"))])
    await first.close()
    successor = await open_journal(settings)
    assert await successor.take_over()
    (heard,) = (await successor.exchange("loyalty", [])).closings
    assert (heard.scope, heard.reason, 0 < heard.left_ms <= 60_000) == ("api", scope.reason, True)
    (loyalty,) = await successor.backlog()
    assert [(gate.scope, gate.reason) for gate in loyalty.gates] == [("api", WaitReason(RETRY, "status_429"))]
    await successor.close()


async def test_gates_that_are_open_again_are_forgotten(journal, operator):
    await journal.exchange("loyalty", [ClosedGate(scope="api", left_ms=1, reason=WaitReason(RETRY, "status_429"))])
    await operator.pause("loyalty", 1)
    await operator.pause("email", None)
    await asyncio.sleep(0.005)  # until both have ended
    await journal.prune(before_ms=0, dead_before_ms=0, after_seq=0, limit=10)
    assert [one.connection for one in await journal.backlog()] == ["email"]
