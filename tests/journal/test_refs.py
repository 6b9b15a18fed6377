"""Ids by which batches are found: the same whether they have been put on shelves yet or not."""

import sqlite3
from contextlib import closing, nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.journal_words import claim, find, finish, ref
from support.journals import SQL_ENGINES, open_journal, prepare

from gateway.journal.sqlite import refs, schema
from gateway.journal.sqlite.file import connect, path_of
from gateway.journal.sqlite.indexing import index
from gateway.journal.types import hash_ref
from gateway.settings import JournalSettings

pytestmark = pytest.mark.anyio


@pytest.fixture
def put_on_shelves(engine, request, settings):
    """Put everything on shelves, in runs of so many ids; returns how many rows are left, of each kind."""
    counts = [f"SELECT count(*) FROM {table}" for table in ("refs", "ref_runs", "ref_shelves")]

    async def put(ids_a_run):
        if engine == "sqlite":
            with closing(connect(path_of(settings.url))) as database:
                while index(database, nullcontext, ids_a_run):
                    pass
                return [database.execute(count).fetchone()[0] for count in counts]
        from gateway.journal.postgres import indexing

        journal = request.getfixturevalue("journal")
        while await journal._aside.run(indexing.shelve, ids_a_run):
            pass
        return [await journal._aside.run(lambda link, count=count: link.fetchval(count)) for count in counts]

    return put


@SQL_ENGINES
async def test_what_is_on_shelves_is_found_and_so_is_what_came_since(journal, make_entry, put_on_shelves):
    for n in range(40):
        await journal.accept([make_entry(f"m{n}", refs=(f"m{n}", f"e{n}", f"mpid:{n % 3}"))], ("loyalty",))
    assert (await put_on_shelves(30))[0] == 0
    await journal.accept([make_entry("m40", refs=("m40", "e40", "mpid:1"))], ("loyalty",))
    assert (await put_on_shelves(30))[0] == 1  # not enough for a run
    assert [[found.message for found in await find(journal, f"e{n}")] for n in range(41)] == [
        [f"m{n}"] for n in range(41)
    ]
    assert [found.message for found in await find(journal, "mpid:1")] == [f"m{n}" for n in range(1, 41, 3)]
    assert [found.message for found in await find(journal, "e1", "m40", "e40")] == ["m1", "m40"]
    assert await find(journal, "mpid:9") == []


async def test_of_many_the_newest_are_found(journal, make_entry):
    for n in range(5):
        await journal.accept([make_entry(f"m{n}", refs=("mpid:1",))], ("loyalty",))
    assert [found.message for found in await journal.find([ref("mpid:1")], limit=2)] == ["m3", "m4"]


@SQL_ENGINES
async def test_ids_are_forgotten_with_their_batches_and_those_left_of_a_run_wait_again(
    journal, make_entry, put_on_shelves
):
    for n in range(6):
        entry = make_entry(f"m{n}", user=f"u{n}", received_ms=1_000, refs=(f"m{n}", "mpid:1"))
        await journal.accept([entry], ("loyalty",))
    assert (await put_on_shelves(12))[0] == 0
    for lane in await claim(journal):
        if lane.items[0].message != "m2":
            await journal.settle(finish(lane, *lane.items, release=True, due_ms=0))
    assert await journal.prune(before_ms=2_000, dead_before_ms=2_000, after_seq=0, limit=100) is None
    assert [found.message for found in await find(journal, "mpid:1")] == ["m2"]
    assert await put_on_shelves(1_000) == [1, 0, 0]
    assert (await put_on_shelves(2))[0] == 0
    assert [found.message for found in await find(journal, "m2")] == ["m2"]


@SQL_ENGINES
async def test_a_run_of_which_nothing_is_left_is_forgotten_though_another_batch_lies_in_between(
    journal, make_entry, put_on_shelves
):
    for user, refs_of in (("ann", ("e1",)), ("bob", ()), ("cid", ("e3",))):
        await journal.accept([make_entry(f"of {user}", user=user, refs=refs_of)], ("loyalty",))
    assert await put_on_shelves(2) == [0, 1, 2]
    for lane in await claim(journal):
        if lane.items[0].message != "of bob":
            await journal.settle(finish(lane, *lane.items, release=True, due_ms=0))
    assert await journal.prune(before_ms=2_000, dead_before_ms=2_000, after_seq=0, limit=100) is None
    assert await put_on_shelves(1) == [0, 0, 0]


@given(st.lists(st.tuples(st.integers(1, 50), st.binary(min_size=8, max_size=8)), min_size=1))
def test_nothing_is_lost_on_the_way_to_the_shelves(ids):
    ids.sort(key=lambda one: one[0])
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        schema.migrate(database)
        refs.add(database, ids)
        before = {ref: refs.seqs(database, [ref]) for _, ref in ids}
        assert before == {ref: sorted({seq for seq, one in ids if one == ref}) for _, ref in ids}
        assert index(database, nullcontext, 1)
        assert {ref: refs.seqs(database, [ref]) for _, ref in ids} == before


async def test_a_hash_that_straddles_two_others_is_none_of_the_journals(journal, make_entry):
    entry = make_entry("m1", refs=("a", "b"))
    await journal.accept([entry], ("loyalty",))
    straddling = b"".join(entry.refs)[4:12]
    assert await journal.find([straddling]) == []


async def test_a_journal_keeps_its_salt_and_has_it_for_itself(new_settings):
    one, other = new_settings(), new_settings()
    salts = []
    for settings in (one, one, other):
        await prepare(settings)
        journal = await open_journal(settings)
        salts.append(journal.salt)
        await journal.close()
    assert salts[0] == salts[1] != salts[2]
    assert len(salts[0]) == 16
    assert hash_ref("email:ann@example.com", salts[0]) != hash_ref("email:ann@example.com", salts[2])


async def test_what_an_older_version_stored_is_still_found(tmp_path):
    settings = JournalSettings(url=f"sqlite:///{tmp_path}/old.db")
    url = settings.url
    with closing(sqlite3.connect(path_of(url))) as database:
        database.executescript(schema.MIGRATIONS[0])
        batch = "INSERT INTO batches VALUES (7, 1, x'00', 'm1', 0, 'firehose', 1, NULL, 1, x'')"
        database.execute(batch)
        database.execute("INSERT INTO refs VALUES (7, 7, ?, x'00000000')", (ref("mpid:1"),))
        database.execute("PRAGMA user_version = 1")
        database.commit()
    await prepare(settings)
    journal = await open_journal(settings)
    assert journal.salt == b""
    assert [found.message for found in await find(journal, "mpid:1")] == ["m1"]
    await journal.close()
