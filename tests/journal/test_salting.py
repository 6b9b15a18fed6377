"""Hashes that name a user are salted, also those in a journal that an older version made."""

import sqlite3
from contextlib import closing

import pytest
from msgspec.structs import replace
from support.journal_words import claim, finish, ref

from gateway.journal.sqlite import schema as sqlite_schema
from gateway.journal.sqlite.file import path_of, prepare
from gateway.journal.sqlite.journal import SqliteJournal
from gateway.journal.types import Memo, hash64, hash128, hash_lane, salt_dedupe, salt_lane

pytestmark = pytest.mark.anyio

LOYALTY = ("loyalty",)


def test_a_hash_differs_by_salt_and_is_the_same_with_the_same_salt():
    assert hash_lane("mpid:7", b"a" * 16) == hash_lane("mpid:7", b"a" * 16) != hash_lane("mpid:7", b"b" * 16)
    assert hash_lane("mpid:7", b"a" * 16) == salt_lane(hash64("mpid:7"), b"a" * 16) != hash64("mpid:7")
    assert salt_dedupe(b"1" * 16, b"a" * 16) != salt_dedupe(b"1" * 16, b"b" * 16)


async def test_a_repeat_is_recognised_and_other_content_under_its_id_conflicts(journal, make_entry):
    entry = make_entry("m1")
    assert [await journal.accept([entry], LOYALTY) for _ in range(2)] == [1, 0]
    other = replace(entry, body=b"other")
    assert (await journal.conflicting([entry]), await journal.conflicting([other])) == ([], [other])


@pytest.fixture
def older(tmp_path):
    """A journal of the version before salted hashes: one batch waits, one is erased, one has yet to be put away."""
    url = f"sqlite:///{tmp_path}/older.db"
    ann = hash64("mpid:7")
    with closing(sqlite3.connect(path_of(url))) as database:
        for script in sqlite_schema.MIGRATIONS[:11]:
            database.executescript(script)
        database.executescript(f"""
            INSERT INTO batches VALUES (1, {ann}, x'{hash128("m1").hex()}', 'm1', 0, 'firehose', 1, NULL, 1, x'6d31');
            INSERT INTO batches VALUES (2, {ann}, x'{hash128("m2").hex()}', 'm2', 0, 'firehose', 1, NULL, 1, x'6d32');
            INSERT INTO lanes VALUES ({ann}, 'loyalty', 0, 1, 0, 0, '', 0, NULL, NULL, NULL, NULL);
            INSERT INTO lanes VALUES ({ann}, 'loyalty', 1, NULL, NULL, NULL, NULL, NULL, NULL, 0, '', NULL);
            INSERT INTO arrivals VALUES (2, '["loyalty"]', '[[2,{ann},1,null]]');
            INSERT INTO memory VALUES ({ann}, 'loyalty', 'seen', '1'), (0, 'loyalty', 'list', '"Gold"');
            INSERT INTO receipts VALUES (9, 'loyalty', '[{ann}]', '[]', '[]', 0);
            INSERT INTO wishes VALUES (x'0102030405060708', 'loyalty', 5000, 1, {ann}, 1);
            PRAGMA user_version = 11;
        """)
    return url


async def test_a_journal_of_an_older_version_is_salted_and_goes_on(older, make_entry):
    prepare(older)
    journal = SqliteJournal(older)
    assert await journal.take_over()
    ann = hash_lane("mpid:7", journal.salt)
    new = [make_entry(name, user="mpid:7", salt=journal.salt) for name in ("m1", "m3")]
    assert await journal.accept(new, LOYALTY) == 1
    assert (await journal.tombstone("loyalty", [bytes(range(1, 9))])).is_under_way
    (lane,) = await claim(journal)
    assert (lane.user, [item.message for item in lane.items]) == (ann, ["m1", "m2", "m3"])
    assert (lane.memory, await journal.shared_memory("loyalty")) == ({"seen": 1}, {"list": "Gold"})
    assert await journal.settle(finish(lane, *lane.items, memos=(Memo(key="seen", value=None),), release=True))
    await journal.close()
    with closing(sqlite3.connect(path_of(older))) as database:
        dump = "\n".join(database.iterdump())
    assert (str(hash64("mpid:7")) in dump, hash128("m1").hex() in dump.lower(), f"[{ann}]" in dump) == (
        False,
        False,
        True,
    )


@pytest.mark.process
@pytest.mark.parametrize("engine", [pytest.param("postgresql", marks=pytest.mark.postgres)])
async def test_a_journal_in_postgresql_is_salted_alike(settings, make_entry):
    import asyncpg

    from gateway.journal.engines import open_journal
    from gateway.journal.engines import prepare as prepare_any
    from gateway.journal.postgres import schema

    ann, connection = hash64("mpid:7"), await asyncpg.connect(settings.url)
    await connection.execute(schema.VERSIONS)
    for number, script in enumerate(schema.MIGRATIONS[:8], 1):
        await connection.execute(script)
        await connection.execute("INSERT INTO journal_versions (version, oldest) VALUES ($1, 1)", number)
    await connection.execute(f"""
        INSERT INTO batches VALUES ({ann}, 1, '\\x{hash128("m1").hex()}', 'm1', 0, 'firehose', 1, NULL, 1, 'm1');
        INSERT INTO work (user_hash, connection, seq) VALUES ({ann}, 'loyalty', 1);
        INSERT INTO lanes (user_hash, connection, due_ms) VALUES ({ann}, 'loyalty', 1);
        INSERT INTO memory VALUES ({ann}, 'loyalty', '"seen"', '1'), (0, 'loyalty', '"list"', '"Gold"');
        INSERT INTO receipts VALUES (9, 'loyalty', ARRAY[{ann}], '{{}}', '{{}}', 0);
        INSERT INTO wishes VALUES ('\\x0102030405060708', 'loyalty', 5000, 1, {ann}, 1);
    """)
    await connection.close()
    await prepare_any(settings)
    journal = await open_journal(settings)
    assert await journal.take_over()
    new = [make_entry(name, user="mpid:7", salt=journal.salt) for name in ("m1", "m3")]
    assert await journal.accept(new, LOYALTY) == 1
    assert (await journal.tombstone("loyalty", [bytes(range(1, 9))])).is_under_way
    (lane,) = await claim(journal)
    assert (lane.user, [item.message for item in lane.items]) == (hash_lane("mpid:7", journal.salt), ["m1", "m3"])
    assert (lane.memory, await journal.shared_memory("loyalty")) == ({"seen": 1}, {"list": "Gold"})
    await journal.close()
    connection = await asyncpg.connect(settings.url)
    assert await connection.fetchval("SELECT lanes FROM receipts") == [lane.user]
    await connection.close()


async def test_names_of_an_erasure_find_their_lanes(journal, make_entry):
    await journal.accept([make_entry("m1", user="mpid:7", refs=["mpid:7"], salt=journal.salt)], LOYALTY)
    (found,) = await journal.find([ref("mpid:7", journal.salt)])
    assert await journal.erase("loyalty", ["mpid:7"], everywhere=False, seq=found.seq + 1) is False
