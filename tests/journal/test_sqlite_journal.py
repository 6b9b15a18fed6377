"""What the SQLite engine does beyond the port: files, processes, crashes."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace
from support.journal_words import finish, ref

from gateway.journal.sqlite import schema
from gateway.journal.sqlite.arrivals import MAX_LEFT
from gateway.journal.sqlite.checkpoint import Checkpointer, CheckpointLimits
from gateway.journal.sqlite.file import connect, inspect, path_of, prepare
from gateway.journal.sqlite.indexing import Indexer
from gateway.journal.sqlite.journal import SqliteJournal
from gateway.journal.sqlite.locks import dispatching, writing
from gateway.journal.types import (
    Finished,
    JournalUnavailable,
    JournalUnusable,
    Memo,
    Settlement,
    hash64,
    salt_lane,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def engine():
    return "sqlite"


@pytest.fixture
def url(settings):
    return settings.url


def run(url, statement):
    """What one statement answers, on a connection of its own."""
    with closing(connect(path_of(url))) as database:
        return database.execute(statement).fetchall()


@pytest.mark.process
async def test_everything_accepted_is_there_after_the_process_was_killed(url):
    program = textwrap.dedent(f"""
        import asyncio, os, signal
        from gateway.journal.types import (Entry, hash64, hash128)
        from gateway.journal.sqlite.file import prepare
        from gateway.journal.sqlite.journal import SqliteJournal
        async def main():
            prepare({url!r})
            journal = SqliteJournal({url!r})
            for n in range(20):
                await journal.accept([Entry(dedupe=hash128(str(n)), user=n, message=str(n), part=0, dialect="events",
                    received_ms=0, facts=1, refs=(), body=b"{{}}")], ("loyalty",))
            assert await journal.take_over()
            await journal.claim("loyalty", now_ms=1, lanes=5, items=1)
            os.kill(os.getpid(), signal.SIGKILL)
        asyncio.run(main())
    """)
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program], check=False)
    assert done.returncode == -signal.SIGKILL
    journal = SqliteJournal(url)
    assert await journal.take_over()
    lanes = await journal.claim("loyalty", now_ms=1, lanes=100, items=10)
    assert sorted(lane.user for lane in lanes) == list(range(20))
    await journal.close()


async def test_only_one_dispatcher_works_on_a_journal(url):
    prepare(url)
    first, second = SqliteJournal(url), SqliteJournal(url)
    assert (await first.take_over(), await second.take_over()) == (True, False)
    await first.close()
    assert await second.take_over()
    await second.close()


async def test_two_processes_may_write_at_once(url, make_entry):
    prepare(url)
    journals = [SqliteJournal(url), SqliteJournal(url)]

    async def fill(number):
        for n in range(100):
            await journals[number].accept([make_entry(f"{number}-{n}", user=str(n))], ("loyalty",))

    await asyncio.gather(fill(0), fill(1))
    lanes = await journals[0].claim("loyalty", now_ms=2_000, lanes=1_000, items=10)
    assert sum(len(lane.items) for lane in lanes) == 200
    for journal in journals:
        await journal.close()


async def test_a_failed_commit_stores_nothing_and_says_so(url, make_entry):
    prepare(url)
    journal = SqliteJournal(url)
    run(url, "CREATE TRIGGER broken BEFORE INSERT ON counts BEGIN SELECT RAISE(ABORT, 'broken'); END")
    with pytest.raises(JournalUnavailable, match="broken"):
        await journal.accept([make_entry("m1")], ("loyalty",))
    run(url, "DROP TRIGGER broken")
    assert await journal.accept([make_entry("m1")], ("loyalty",)) == 1
    await journal.close()


async def test_a_transaction_that_could_not_even_be_ended_takes_nothing_along(url, make_entry):
    """As where there is no memory left: it must not swallow what is stored next."""
    prepare(url)
    journal = SqliteJournal(url)
    await journal.accept([make_entry("m1")], ("loyalty",))
    journal._writer.execute("BEGIN IMMEDIATE")
    journal._writer.execute("DELETE FROM batches")
    assert await journal.accept([make_entry("m2")], ("loyalty",)) == 1
    assert run(url, "SELECT message FROM batches") == [("m1",), ("m2",)]
    await journal.close()


def test_the_threads_beside_the_writers_live_on_where_there_is_no_memory_for_a_while(url, monkeypatch):
    monkeypatch.setattr("gateway.journal.sqlite.indexing.EVERY_S", 0.01)
    prepare(url)
    tries = {"indexing": 0, "folding": 0}

    def starved(name):
        tries[name] += 1
        raise MemoryError

    indexing = Indexer(connect(path_of(url)), lambda: starved("indexing"), 1)
    limits = CheckpointLimits(every_s=0.01, worth_folding_bytes=0, too_long_bytes=0, after_failure_s=0.01)
    folding = Checkpointer(path_of(url), connect, lambda: starved("folding"), limits)
    run(url, "INSERT INTO refs VALUES (1, 1, zeroblob(8), zeroblob(4))")
    until = time.monotonic() + 10
    while min(tries.values()) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    indexing.close()
    folding.close()
    assert min(tries.values()) >= 3


async def test_what_was_erased_is_in_no_file_for_longer_than_the_log_may_keep_it(url, make_entry):
    prepare(url)
    journal = SqliteJournal(url)
    limits = CheckpointLimits(every_s=0.01, oldest_s=0.2)
    folding = Checkpointer(path_of(url), connect, lambda: writing(path_of(url)), limits)
    assert await journal.take_over()
    address = "somebody@example.com"
    told = replace(
        make_entry("m", user="mpid:7", refs=["mpid:7"], salt=journal.salt), body=f"{address} {'x' * 9_000}".encode()
    )
    await journal.accept([told], ("loyalty",))
    (lane,) = await journal.claim("loyalty", now_ms=2_000, lanes=1, items=9)
    await journal.settle(finish(lane, *lane.items, release=True))
    await journal.accept([make_entry("wish", user="mpid:7", refs=["w"], erases=True)], ("loyalty",))
    (seq,) = [found.seq for found in await journal.find([ref("w")])]
    assert await journal.erase("loyalty", ["mpid:7"], everywhere=True, seq=seq)

    def kept():
        files = path_of(url).parent.glob(f"{path_of(url).name}*")
        return [path.name for path in files if address.encode() in path.read_bytes()]

    until = time.monotonic() + 10
    while kept() and time.monotonic() < until:
        await asyncio.sleep(0.02)
    assert kept() == []
    folding.close()
    await journal.close()


def test_a_new_journal_is_its_owners_alone(url):
    prepare(url)
    with closing(connect(path_of(url))) as database:
        database.execute("CREATE TABLE more (a)")
        files = {path.name: path.stat().st_mode & 0o777 for path in path_of(url).parent.glob("*.db*")}
    assert set(files.values()) == {0o600}
    assert len(files) == 4


def test_a_journal_of_a_newer_version_is_left_alone(url):
    prepare(url)
    run(url, f"PRAGMA user_version = {len(schema.MIGRATIONS) + 1}")
    with pytest.raises(JournalUnusable, match="a newer one wrote it"):
        prepare(url)


def test_a_file_that_is_no_database_is_left_alone(url):
    path_of(url).write_bytes(b"not a database, but somebody's only copy of something" * 50)
    before = path_of(url).read_bytes()
    with pytest.raises((JournalUnusable, JournalUnavailable), match="not a database"):
        prepare(url)
    assert path_of(url).read_bytes() == before


def test_preparing_twice_changes_nothing(url):
    prepare(url)
    before = run(url, "SELECT sql FROM sqlite_schema ORDER BY name")
    prepare(url)
    assert run(url, "SELECT sql FROM sqlite_schema ORDER BY name") == before


async def test_the_write_ahead_log_does_not_grow_without_bound(url, make_entry):
    prepare(url)
    journal = SqliteJournal(url)
    limits = CheckpointLimits(every_s=0.01, worth_folding_bytes=100_000, too_long_bytes=300_000)
    folding = Checkpointer(path_of(url), connect, lambda: writing(path_of(url)), limits)
    for n in range(300):
        await journal.accept([make_entry(f"m{n}", user=str(n))], ("loyalty",))
    await asyncio.sleep(0.2)
    assert Path(f"{path_of(url)}-wal").stat().st_size < 1_000_000
    folding.close()
    await journal.close()


async def test_a_reader_who_stays_keeps_nobody_waiting(url, make_entry):
    prepare(url)
    journal = SqliteJournal(url)
    await journal.accept([make_entry("m")], ("loyalty",))
    reader = connect(path_of(url))
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM batches").fetchone()
    limits = CheckpointLimits(every_s=0.005, worth_folding_bytes=1, too_long_bytes=1, after_failure_s=0.005)
    folding = Checkpointer(path_of(url), connect, lambda: writing(path_of(url)), limits)
    accepting = [journal.accept([make_entry(f"m{n}", user=str(n))], ("loyalty",)) for n in range(50)]
    assert await asyncio.wait_for(asyncio.gather(*accepting), 8) == [1] * 50
    folding.close()
    reader.close()
    await journal.close()


async def test_what_waits_in_a_journal_of_an_older_version_goes_on_where_it_was(url):
    with closing(sqlite3.connect(path_of(url))) as database:
        for script in schema.MIGRATIONS[:8]:
            database.executescript(script)
        database.execute("PRAGMA user_version = 8")
        for seq, user, at_ms in ((1, 7, 100), (2, 7, 200), (3, 8, 300)):
            row = (seq, user, b"%d" % seq, f"m{seq}", 0, "firehose", at_ms, None, 1, b"{}")
            database.execute(f"INSERT INTO batches VALUES ({','.join('?' * len(row))})", row)
            database.execute(
                "INSERT INTO work (user, connection, seq, progress, crashes, crashed_in) VALUES (?, ?, ?, ?, ?, ?)",
                (user, "loyalty", seq, '{"c1":{"word":"delivered"}}' if seq == 2 else None, seq - 1, "plan"),
            )
        database.executemany(
            "INSERT INTO lanes (user, connection, due_ms, owner, fence, attempts, failing_since_ms, reason, erased_seq)"
            " VALUES (?, 'loyalty', ?, ?, 5, ?, ?, ?, ?)",
            [(7, 2**50, "dispatch", 0, 0, "", 1), (8, 5_000, None, 3, 90, "timeout", 0)],
        )
        database.commit()
    prepare(url)
    journal = SqliteJournal(url)
    assert await journal.take_over()
    (first,) = await journal.claim("loyalty", now_ms=4_999, lanes=9, items=9)
    assert (first.user, first.attempts, first.erased_seq) == (salt_lane(7, journal.salt), 0, 1)
    assert [(item.message, item.crashes, item.progress) for item in first.items] == [
        ("m1", 0, {}),
        ("m2", 1, {"c1": {"word": "delivered"}}),
    ]
    (second,) = await journal.claim("loyalty", now_ms=5_000, lanes=9, items=9)
    assert (second.user, second.attempts, second.failing_since_ms) == (salt_lane(8, journal.salt), 3, 90)
    assert [(item.message, item.crashes, item.crashed_in) for item in second.items] == [("m3", 2, "plan")]
    await journal.close()


async def test_what_has_arrived_is_put_into_lanes_even_where_nobody_looks_for_work(url, make_entry):
    prepare(url)
    journal = SqliteJournal(url)
    entries = [make_entry(f"m{n}", user=str(n)) for n in range(3 * MAX_LEFT)]
    for start in range(0, len(entries), 64):
        await journal.accept(entries[start : start + 64], ("loyalty", "email"))
    ((left,),) = run(url, "SELECT count(DISTINCT seq) FROM arrived")
    assert MAX_LEFT / 2 < left <= MAX_LEFT + 64
    waiting = {
        one.connection: (one.batches, sum(lanes.lanes for lanes in one.waiting)) for one in await journal.backlog()
    }
    assert waiting == dict.fromkeys(("loyalty", "email"), (len(entries), len(entries)))
    await journal.close()


async def test_lanes_whose_claim_could_not_be_read_are_claimed_again(url, make_entry, monkeypatch):
    prepare(url)
    journal = SqliteJournal(url)
    assert await journal.take_over()
    await journal.accept([make_entry("m1"), make_entry("m2", user="bob")], ("loyalty",))
    with monkeypatch.context() as broken:
        broken.setattr("gateway.journal.sqlite.claim.ITEMS", "SELECT * FROM nowhere")
        with pytest.raises(JournalUnavailable):
            await journal.claim("loyalty", now_ms=2_000, lanes=1, items=9)
    lanes = await journal.claim("loyalty", now_ms=2_000, lanes=9, items=9)
    assert [item.message for lane in lanes for item in lane.items] == ["m1", "m2"]
    assert await journal.claim("loyalty", now_ms=2_000, lanes=9, items=9) == []
    await journal.close()


@pytest.fixture
def steps_of():
    """How many steps of SQLite's virtual machine it takes a journal to do something: its result, and the steps."""

    async def steps_of(journal, doing):
        steps = 0

        def step():
            nonlocal steps
            steps += 1

        for database in (journal._writer, journal._reader):
            database.set_progress_handler(step, 1)
        done = await doing
        for database in (journal._writer, journal._reader):
            database.set_progress_handler(None, 1)
        return done, steps

    return steps_of


async def test_a_claim_costs_the_same_however_many_lanes_wait_behind(url, make_entry, steps_of):
    prepare(url)
    journal = SqliteJournal(url)
    assert await journal.take_over()
    costs = []
    for waiting in (range(40), range(40, 3_000)):
        await journal.accept([make_entry(f"m{n}", user=str(n), received_ms=n) for n in waiting], ("loyalty",))
        await journal.ping()
        lanes, steps = await steps_of(journal, journal.claim("loyalty", now_ms=9_000, lanes=20, items=9))
        assert len(lanes) == 20
        costs.append(steps)
    few, many = costs
    assert many < 1.2 * few
    await journal.close()


async def test_shared_memory_is_new_to_whoever_waited_for_what_wrote_it(url, make_entry):
    prepare(url)
    journal = SqliteJournal(url)
    assert await journal.take_over()
    seen = ref("audience:1", journal.salt)
    await journal.accept([make_entry("m1", user="ann", refs=("audience:1",), salt=journal.salt)], ("loyalty",))
    (lane,) = await journal.claim("loyalty", now_ms=2_000, lanes=1, items=9)
    assert await journal.shared_memory("loyalty") == {}
    done = Finished(seq=lane.items[0].seq, facts=1, outcomes=())
    memo = Memo(key="list:1", value="id-77", shared=True)
    settlement = Settlement(
        connection="loyalty", user=lane.user, fence=lane.fence, finished=(done,), memos=(memo,), release=True
    )

    async def waited():
        assert await journal.is_dealt_with("loyalty", seen, 100)
        return await journal.shared_memory("loyalty")

    known, held = await asyncio.gather(waited(), journal.settle(settlement))
    assert (known, held) == ({"list:1": "id-77"}, True)
    await journal.close()


async def test_lanes_that_could_not_be_read_are_told_to_be_due_where_nothing_else_is(url, make_entry, monkeypatch):
    prepare(url)
    journal = SqliteJournal(url)
    assert await journal.take_over()
    await journal.accept([make_entry("m1")], ("web/acc",))
    with monkeypatch.context() as broken:
        broken.setattr("gateway.journal.sqlite.claim.ITEMS", "SELECT * FROM nowhere")
        with pytest.raises(JournalUnavailable):
            await journal.claim("web/acc", now_ms=2_000, lanes=1, items=9)
    assert await journal.due("web", 2_000) == [("web/acc", None)]
    assert len(await journal.claim("web/acc", now_ms=2_000, lanes=9, items=9)) == 1
    await journal.close()


async def test_what_is_asked_after_newer_work_has_come_needs_no_commit(url, make_entry, monkeypatch):
    prepare(url)
    journal = SqliteJournal(url)
    assert await journal.take_over()
    await journal.accept([make_entry("m1", user="ann")], ("loyalty",))
    (lane,) = await journal.claim("loyalty", now_ms=2_000, lanes=1, items=9)
    await journal.accept([make_entry("m2", user="ann"), make_entry("m3", user="bob")], ("loyalty",))
    monkeypatch.setattr(journal._committer, "submit", None)
    assert await journal.lane_is_empty("loyalty", lane.user, lane.items[0].seq)
    monkeypatch.undo()
    assert not await journal.lane_is_empty("loyalty", hash64("bob"), 100)
    await journal.close()


async def test_erasing_costs_the_same_however_much_waits_for_the_user(url, make_entry, steps_of):
    prepare(url)
    journal = SqliteJournal(url)
    assert await journal.take_over()
    names, costs = ("loyalty",), []
    for user, waiting in (("ann", 3), ("bob", 3_000)):
        made = partial(make_entry, user=user, salt=journal.salt)
        await journal.accept([made(f"{user}{n}") for n in range(waiting)], names)
        await journal.ping()
        stored, begun = await steps_of(journal, journal.accept([made(f"{user}!", wishes=(user,))], names))
        (lane,) = await journal.claim("loyalty", now_ms=2_000, lanes=1, items=1)
        done = Finished(seq=lane.items[0].seq, facts=1, outcomes=(), unkept=True)
        settlement = Settlement(connection="loyalty", user=lane.user, fence=lane.fence, finished=(done,), release=True)
        held, settled = await steps_of(journal, journal.settle(settlement))
        gone, erased = await steps_of(journal, journal.erase("loyalty", [user], everywhere=True, seq=10_000))
        assert (stored, held, gone, lane.erased_seq > 0) == (1, True, False, True)
        costs.append((begun, settled, erased))
    assert all(many < 1.3 * few for few, many in zip(*costs, strict=True)), costs
    await journal.close()


async def test_a_lane_of_one_batch_is_claimed_with_what_has_become_of_it_since(url, make_entry):
    prepare(url)
    journal = SqliteJournal(url)
    assert await journal.take_over()
    await journal.accept([make_entry("m1")], ("loyalty",))
    (lane,) = await journal.claim("loyalty", now_ms=2_000, lanes=1, items=9)
    progress = {lane.items[0].seq: {"c1": {"word": "delivered"}}}
    await journal.settle(Settlement(connection="loyalty", user=lane.user, fence=lane.fence, progress=progress))
    await journal.close()  # and the process has died
    journal = SqliteJournal(url)
    assert await journal.take_over()
    await journal.crashed("loyalty", lane.user, lane.items[0].seq, "sign")
    await journal.accept([make_entry("m2")], ("loyalty",))
    (lane,) = await journal.claim("loyalty", now_ms=2_000, lanes=1, items=9)
    told = [(item.message, item.progress, item.crashes, item.crashed_in) for item in lane.items]
    assert told == [("m1", {"c1": {"word": "delivered"}}, 1, "sign"), ("m2", {}, 0, "")]
    await journal.settle(Settlement(connection="loyalty", user=lane.user, fence=lane.fence, release=True, due_ms=5))
    (lane,) = await journal.claim("loyalty", now_ms=2_000, lanes=1, items=9)
    assert [item.message for item in lane.items] == ["m1", "m2"]
    await journal.close()


async def test_finishing_one_batch_of_a_lane_costs_the_same_however_many_wait_in_it(url, make_entry, steps_of):
    prepare(url)
    journal = SqliteJournal(url)
    assert await journal.take_over()
    costs = []
    for name, waiting in (("ann", 5), ("bob", 3_000)):
        await journal.accept([make_entry(f"{name}{n}", user=name) for n in range(waiting)], ("loyalty", "email"))
        (lane,) = await journal.claim("loyalty", now_ms=2_000, lanes=1, items=1)
        done = Finished(seq=lane.items[0].seq, facts=1, outcomes=())
        settlement = Settlement(
            connection="loyalty", user=lane.user, fence=lane.fence, finished=(done,), release=True, due_ms=9_000
        )
        held, steps = await steps_of(journal, journal.settle(settlement))
        assert held
        costs.append(steps)
    few, many = costs
    assert many < 1.2 * few
    await journal.close()


async def test_lanes_that_an_older_version_had_in_hand_are_claimed_whole(url, make_entry):
    with closing(sqlite3.connect(path_of(url))) as database:
        for script in schema.MIGRATIONS[:9]:
            database.executescript(script)
        database.executescript(f"""
            INSERT INTO batches VALUES (1, {hash64("ann")}, x'01', 'm1', 0, 'firehose', 1, NULL, 1, x'7b7d');
            INSERT INTO lanes VALUES ({hash64("ann")}, 'loyalty', 0, 1, 0, 0, '', 0, NULL, NULL, NULL);
            INSERT INTO lanes VALUES ({hash64("ann")}, 'loyalty', 1, NULL, NULL, NULL, NULL, NULL, NULL, 0, '');
            INSERT INTO claims VALUES ('loyalty', {hash64("ann")}, 77);
            PRAGMA user_version = 9;
        """)
    prepare(url)
    journal = SqliteJournal(url)
    assert await journal.take_over()
    await journal.accept([make_entry("m2", user="ann", salt=journal.salt)], ("loyalty",))
    (lane,) = await journal.claim("loyalty", now_ms=2_000, lanes=9, items=9)
    assert [item.message for item in lane.items] == ["m1", "m2"]
    await journal.close()


@pytest.fixture
def first_version(url):
    """A database of the first version."""
    database = sqlite3.connect(path_of(url))
    database.executescript(schema.MIGRATIONS[0])
    database.execute("PRAGMA user_version = 1")
    database.close()


@pytest.mark.usefixtures("first_version")
def test_a_journal_that_an_older_gateway_works_on_is_left_alone(url):
    lock = dispatching(path_of(url))
    for look in (inspect, partial(prepare, patience_s=0.3)):
        with pytest.raises(JournalUnusable, match="a gateway of an older version works on it; stop that first"):
            look(url)
    assert run(url, "PRAGMA user_version") == [(1,)]
    threading.Timer(0.3, os.close, [lock]).start()
    prepare(url)
    assert run(url, "PRAGMA user_version") == [(len(schema.MIGRATIONS),)]
    lock = dispatching(path_of(url))
    assert inspect(url)
    os.close(lock)


@pytest.mark.usefixtures("first_version")
def test_a_database_of_the_first_version_still_opens(url):
    prepare(url)
    assert run(url, "PRAGMA user_version") == [(len(schema.MIGRATIONS),)]


async def test_a_journal_that_is_not_there_is_not_made_anew_by_whoever_comes_to_use_it(url):
    with pytest.raises(JournalUnavailable):
        SqliteJournal(url)
    assert not path_of(url).exists()
