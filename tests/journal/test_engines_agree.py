"""The same operations have the same results in memory and in SQLite, whatever they are."""

import asyncio
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.journal_words import BOTH, ref
from support.journals import memory_settings, open_journal, prepare, stores

from gateway.journal.types import Entry, ErasureRequest, Finished, Memo, Outcome, Settlement, hash128, hash_lane
from gateway.journal.wait_reasons import NO_REASON, REFUSED, RETRY, SHARED, WaitReason
from gateway.settings import JournalSettings

NOW_MS = 10_000
USERS = ("ann", "bob")
NAMES = ("m1", "m2", "m3", "m4")
REASONS = (NO_REASON, WaitReason(REFUSED, "status_401"), WaitReason(RETRY, "x"), WaitReason(SHARED, "c1"))
OUTCOMES = (
    Outcome("f", "delivered"),
    Outcome("f", "dead", "rejected", (), "no"),
    Outcome("f", "skipped", "erased"),
    Outcome("f", "dead", "malformed", facts=3),
)


def entry_of(name, user, scope, received_ms, body, salt, *, erases=False):
    return Entry(
        dedupe=hash128(name),
        user=hash_lane(user, salt),
        message=name,
        part=0,
        dialect="firehose",
        received_ms=received_ms,
        facts=2,
        refs=(ref(name, salt), ref(user, salt)),
        body=body,
        scope=scope,
        wish=ErasureRequest(names=(ref(user, salt),), before_ms=received_ms) if erases else None,
    )


async def work(journal, connection, items, outcome, due_ms, reason, value, is_wish, unkept):
    """Claim what is due, finish the first item of each lane, and release all; returns what was claimed and what held.

    Of lanes that are due at the same time, any may be claimed first; so all are claimed.
    """
    claimed = await journal.claim(connection, now_ms=NOW_MS, lanes=10, items=items)
    held = []
    for lane in claimed:
        item = lane.items[0]
        finished = Finished(seq=item.seq, facts=item.facts, outcomes=(outcome,), is_wish=is_wish, unkept=unkept)
        settlement = Settlement(
            connection=connection,
            user=lane.user,
            fence=lane.fence,
            finished=(finished,),
            progress={one.seq: {"c": {"word": "delivered"}} for one in lane.items[1:]},
            memos=(Memo(key="k", value=value), Memo(key="s", value=value, shared=True)),
            release=True,
            due_ms=due_ms,
            attempts=due_ms // 1_000,
            reason=reason,
        )
        held.append(await journal.settle(settlement))
    return sorted((msgspec.structs.replace(lane, fence=0) for lane in claimed), key=lambda lane: lane.user), held


async def accept(journal, posted):
    entries = [entry_of(*one, journal.salt, erases=erases) for *one, erases in posted]
    return await journal.accept(entries, BOTH)


async def erase(journal, connection, user, everywhere, seq):
    return await journal.erase(connection, [user], everywhere=everywhere, seq=seq)


async def prune(journal, before_ms, dead_before_ms):
    return await journal.prune(before_ms=before_ms, dead_before_ms=dead_before_ms, after_seq=0, limit=3)


async def wake(journal, connection, reason):
    return await journal.wake(connection, reason, now_ms=NOW_MS)


async def reschedule(journal):
    return await journal.reschedule_after_clock_jump(after_ms=NOW_MS, now_ms=NOW_MS, limit=100)


async def crash(journal, connection, user, seq):
    return await journal.crashed(connection, hash_lane(user, journal.salt), seq, "plan")


async def ask(journal, name, user, seq):
    return (
        await journal.is_dealt_with("loyalty", ref(user, journal.salt), seq),
        await journal.lane_is_empty("email", hash_lane(user, journal.salt), seq),
        await journal.tombstone("loyalty", [ref(user, journal.salt)]),
        await journal.conflicting([entry_of(name, user, None, 1_000, b"{}", journal.salt)]),
        await journal.due("email", NOW_MS),
    )


accepts = st.tuples(
    st.just(accept),
    st.lists(
        st.tuples(
            st.sampled_from(NAMES),
            st.sampled_from(USERS),
            st.sampled_from((None, None, *BOTH)),
            st.sampled_from((1_000, 2_000, 3_000)),
            st.sampled_from((b"{}", b"[]")),
            st.booleans(),
        ),
        min_size=1,
        max_size=3,
    ),
)
works = st.tuples(
    st.just(work),
    st.sampled_from(BOTH),
    st.integers(1, 2),
    st.sampled_from(OUTCOMES),
    st.sampled_from((0, 5_000, 20_000)),
    st.sampled_from(REASONS),
    st.sampled_from((None, 1, "seen")),
    st.booleans(),
    st.booleans(),
)
others = st.one_of(
    st.tuples(st.just(erase), st.sampled_from(BOTH), st.sampled_from(USERS), st.booleans(), st.integers(1, 8)),
    st.tuples(st.just(prune), st.sampled_from((1_500, 2_500, 4_000)), st.sampled_from((1_500, 4_000))),
    st.tuples(st.just(wake), st.sampled_from(BOTH), st.sampled_from(REASONS)),
    st.tuples(st.just(reschedule)),
    st.tuples(st.just(crash), st.sampled_from(BOTH), st.sampled_from(USERS), st.integers(1, 6)),
    st.tuples(st.just(ask), st.sampled_from(NAMES), st.sampled_from(USERS), st.integers(1, 8)),
)
operations = st.lists(accepts | accepts | works | works | others, max_size=25)


async def contents(journal):
    """Return everything that the journal tells of itself, without the times at which it was written."""
    await journal.due("email", NOW_MS)  # after which every item is in its lane
    found = await journal.find([ref(name, journal.salt) for name in (*NAMES, *USERS)])
    timeless = [
        msgspec.structs.replace(
            batch,
            sightings=tuple(msgspec.structs.replace(one, at_ms=one.at_ms and 1) for one in batch.sightings),
        )
        for batch in found
    ]
    return (
        timeless,
        [count for count in await journal.counts() if count.facts],
        [msgspec.structs.replace(one, waiting=tuple(sorted(one.waiting, key=str))) for one in await journal.backlog()],
        [batch.seq for batch in await journal.erasures(limit=10)],
        await journal.shared_memory("loyalty"),
    )


async def compare(chosen):
    with tempfile.TemporaryDirectory() as directory:
        pair = []
        both = memory_settings(directory), JournalSettings(url=f"sqlite:///{Path(directory)}/journal.db")
        for of in both:
            await prepare(of)
            pair.append(await open_journal(of))
        memory, sqlite = pair
        stores[both[0].url].salt = memory.salt = sqlite.salt
        try:
            assert [await journal.take_over() for journal in pair] == [True, True]
            for operation in chosen:
                do, *given = operation
                assert await do(memory, *given) == await do(sqlite, *given), operation
            assert await contents(memory) == await contents(sqlite)
        finally:
            for journal in pair:
                await journal.close()
            del stores[both[0].url]


@pytest.mark.parametrize("engine", ["sqlite"])
@settings(max_examples=100, deadline=None)
@given(chosen=operations)
def test_the_engines_agree(chosen, engine):
    asyncio.run(compare(chosen))
