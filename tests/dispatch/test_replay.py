"""Replays are stored as fast as their rate allows; a release that does not know replays leaves them alone."""

import pytest
from support.journal_words import claim, finish, ref

from gateway.dispatch.replay import Pace, ReplayRunner, ReplayTargets
from gateway.journal.engines import open_journal, prepare
from gateway.journal.replays import DIALECT, Replay, ReplayOrigin, Selection, wrap
from gateway.journal.types import Entry, Outcome, hash64, hash128
from gateway.mparticle.decoding import decode
from gateway.plan import make_call_id
from gateway.sdk import Batch
from gateway.settings import JournalSettings

pytestmark = pytest.mark.anyio

DEAD = (Outcome("e1", "dead", "rejected"), Outcome("e2", "dead", "rejected"))


class Clock:
    """A clock that advances only when somebody sleeps."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
async def journal(tmp_path, anyio_backend):
    settings = JournalSettings(url=f"sqlite:///{tmp_path}/journal.db")
    await prepare(settings)
    opened = await open_journal(settings)
    assert await opened.take_over()
    yield opened
    await opened.close()


@pytest.fixture
async def dead(journal):
    """Eight batches of two dead letters each, on one connection."""
    for number in range(8):
        one = Entry(
            dedupe=hash128(f"m{number}"),
            user=hash64(f"user{number % 3}"),
            message=f"m{number}",
            part=0,
            dialect="firehose",
            received_ms=1_000,
            facts=2,
            refs=(ref(f"m{number}", journal.salt),),
            body=b"{}",
        )
        await journal.accept([one], ["loyalty"])
    for lane in await claim(journal):
        await journal.settle(finish(lane, *lane.items, outcomes=DEAD, release=True))


def make_runner(journal, replay, clock, *, told=None, pressure=None, configured=("loyalty",)):
    """Make a runner with a clock of its own; ``told`` gets each report with its time."""

    async def none():
        return ""

    return ReplayRunner(
        journal=journal,
        replay=replay,
        targets=ReplayTargets(journal=journal, configured=frozenset(configured), hosted=frozenset()),
        pace=Pace(rate=replay.rate, clock=clock, sleep=clock.sleep),
        now_ms=lambda: 9_000,
        find_pressure=pressure or none,
        report=lambda stored, unable, why: told is not None and told.append((clock.now - 100, stored, unable, why)),
    )


async def begun(journal, rate=4.0):
    await journal.begin_replay(Replay(id="r1", created_ms=5_000, selection=Selection(reason="rejected"), rate=rate))
    (replay,) = await journal.replays()
    return replay


async def waiting(journal):
    """Return the messages that wait, in the order in which they were stored."""
    lanes = await claim(journal)
    return [item.message for item in sorted((item for lane in lanes for item in lane.items), key=lambda item: item.seq)]


async def test_no_more_facts_a_second_are_stored_than_the_rate_allows(journal, dead):
    clock, told = Clock(), []
    assert await make_runner(journal, await begun(journal), clock, told=told).run()
    assert told == [(number * 0.5, 2 * (number + 1), 0, "") for number in range(8)]
    assert await waiting(journal) == [f"m{number}" for number in range(8)]


async def test_at_a_high_rate_many_are_stored_at_once(journal, dead):
    clock, told = Clock(), []
    assert await make_runner(journal, await begun(journal, rate=32.0), clock, told=told).run()
    assert told == [(0.0, 8, 0, ""), (0.25, 16, 0, "")]


async def test_nothing_is_stored_while_the_journal_has_no_room(journal, dead):
    clock, told = Clock(), []

    async def pressure():
        return "full" if clock.now < 103 else ""

    assert await make_runner(journal, await begun(journal, rate=64.0), clock, told=told, pressure=pressure).run()
    assert told == [(0, 0, 0, "full"), (1, 0, 0, "full"), (2, 0, 0, "full"), (3, 16, 0, "")]


async def test_an_aborted_replay_stops_at_once(journal, dead):
    clock, replay = Clock(), await begun(journal)
    stopping = make_runner(journal, replay, clock)

    async def aborted():
        if stopping.stored == 4:
            await journal.abort_replay("r1")
        return ""

    stopping.find_pressure = aborted
    assert not await stopping.run()
    assert [(one.state, one.facts) for one in await journal.replays()] == [("aborted", 6)]


async def test_facts_without_a_connection_are_counted_and_use_none_of_the_rate(journal, dead):
    clock, told = Clock(), []
    assert await make_runner(journal, await begun(journal), clock, told=told, configured=("email",)).run()
    assert (told[-1], await waiting(journal)) == ((0.0, 0, 16, ""), [])


async def test_a_replay_resumed_from_anywhere_stores_each_batch_once(journal, dead):
    replay = await begun(journal)
    assert await make_runner(journal, replay, Clock()).run()
    again = make_runner(journal, replay, Clock())  # as if nothing had been noted of how far it had come
    assert (await again.run(), again.stored) == (True, 0)
    assert await waiting(journal) == [f"m{number}" for number in range(8)]


def test_a_release_without_replays_cannot_read_redelivered_batches():
    again = ReplayOrigin(replay="r1", of=1, accepted_ms=1, dialect="firehose", facts=("e1",))
    with pytest.raises(KeyError, match=DIALECT):
        decode(DIALECT, wrap(again, b"{}"), message="m1", part=0)


def test_the_calls_of_a_replay_have_ids_of_their_own():
    of = (Batch(id="m1", dialect="firehose"), "loyalty", "e1", 0)
    assert len({make_call_id(*of), make_call_id(*of, "r1"), make_call_id(*of, "r2")}) == 3
    assert make_call_id(*of, "r1") == make_call_id(*of, "r1")
