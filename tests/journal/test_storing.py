"""What is stored together, new or not, for these connections or those, is there as if it had come one by one."""

import asyncio
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.journal_words import BOTH, claim, ref

from gateway.journal.sqlite.file import prepare
from gateway.journal.sqlite.journal import SqliteJournal
from gateway.journal.types import Count, Entry, hash64, hash128

FOR_BOTH, FOR_ONE = "abcdef", "ghijkl"
"""What a message is called says whose it is, for which connection, and what it can be found by."""


def user(name):
    return hash64("ann" if name[0] in "abcg" else name[0])


def told(name):
    connections = BOTH if name[0] in FOR_BOTH else ("loyalty",)
    return tuple(one for one in connections if scope(name) in (None, one))


def scope(name):
    return {"b": "email", "e": "loyalty", "h": "loyalty"}.get(name[0])


def ids(name):
    return [name, *("vowel" for _ in range(name[0] in "aei"))]


def make(name):
    return Entry(
        dedupe=hash128(name),
        user=user(name),
        message=name,
        part=0,
        dialect="firehose",
        received_ms=1_000,
        facts=len(ids(name)),
        refs=tuple(ref(id) for id in ids(name)),
        body=name.encode(),
        scope=scope(name),
    )


async def store(journal, post):
    connections = BOTH if post and post[0][0] in FOR_BOTH else ("loyalty",)
    return await journal.accept([make(name) for name in post], connections)


async def stored(posts_at_once):
    """What a journal holds after posts of which some came together: new ones, lanes, what is found, counts."""
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite:///{Path(directory) / 'journal.db'}"
        prepare(url)
        journal = SqliteJournal(url)
        new = [sum(await asyncio.gather(*(store(journal, post) for post in posts))) for posts in posts_at_once]
        await journal.take_over()
        lanes = {
            (lane.connection, lane.user): [item.message for item in lane.items]
            for name in BOTH
            for lane in await claim(journal, name, lanes=100, items=10_000)
        }
        names = {name for posts in posts_at_once for post in posts for name in post}
        found = {
            id: sorted(one.message for one in await journal.find([ref(id)], limit=10_000)) for id in names | {"vowel"}
        }
        counts = sorted(await journal.counts(), key=lambda count: count.connection)
        await journal.close()
        return new, lanes, found, counts


def expected(posts_at_once):
    new, known, came = [], {}, {}
    for number, posts in enumerate(posts_at_once):
        names = {name for post in posts for name in post} - known.keys()
        new.append(len(names))
        known |= dict.fromkeys(names)
        came |= dict.fromkeys(names, number)
    lanes, facts = {}, Counter()
    for name in known:
        for connection in told(name):
            lanes.setdefault((connection, user(name)), []).append(name)
            facts[connection] += len(ids(name))
    found = {id: sorted(name for name in known if id in ids(name)) for id in {*known, "vowel"}}
    counts = [Count(connection=one, state="received", reason="", facts=n) for one, n in sorted(facts.items())]
    return new, lanes, found, counts, came


def check(posts_at_once):
    new, lanes, found, counts, came = expected(posts_at_once)
    held = asyncio.run(stored(posts_at_once))
    assert held[0] == new
    assert {key: sorted(names) for key, names in held[1].items()} == {k: sorted(names) for k, names in lanes.items()}
    for names in held[1].values():
        assert [came[name] for name in names] == sorted(came[name] for name in names)
    assert held[2:] == (found, counts)


POSTS = st.one_of(*(st.lists(st.sampled_from(letters), max_size=4) for letters in (FOR_BOTH, FOR_ONE)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(POSTS, min_size=1, max_size=6), max_size=5))
def test_what_is_stored_together_is_there_as_if_it_had_come_one_by_one(posts_at_once):
    check(posts_at_once)


@pytest.mark.parametrize("count", [63, 64, 65, 200])
def test_however_much_comes_at_once_all_of_it_is_stored(count):
    names = [f"{'abcd'[n % 4]}{n}" for n in range(count)]
    check([[[name] for name in names]])
    check([[names], [[name] for name in names]])


def test_what_is_left_for_long_is_put_into_lanes_by_those_who_store():
    """More than two thousand batches, without a dispatcher, and one after the other in each lane."""
    check([[[f"{'abcd'[n % 4]}{n}" for n in range(start, start + 100)]] for start in range(0, 3_000, 100)])
