"""What the SQLite engine does beyond the port: files, processes, crashes."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pytest

from gateway.journal import schema
from gateway.journal.checkpoint import Checkpointer, Limits
from gateway.journal.port import JournalUnavailable, JournalUnusable
from gateway.journal.sqlite import SqliteJournal, connect, path_of, prepare
from gateway.journal.turns import writing

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


async def test_everything_accepted_is_there_after_the_process_was_killed(url):
    program = textwrap.dedent(f"""
        import asyncio, os, signal
        from gateway.journal.port import Entry, hash64, hash128
        from gateway.journal.sqlite import SqliteJournal, prepare
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
    run(url, "ALTER TABLE work RENAME TO gone")
    with pytest.raises(JournalUnavailable):
        await journal.accept([make_entry("m1")], ("loyalty",))
    run(url, "ALTER TABLE gone RENAME TO work")
    assert await journal.accept([make_entry("m1")], ("loyalty",)) == 1
    await journal.close()


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
    limits = Limits(every_s=0.01, worth_folding_bytes=100_000, too_long_bytes=300_000)
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
    limits = Limits(every_s=0.005, worth_folding_bytes=1, too_long_bytes=1, after_failure_s=0.005)
    folding = Checkpointer(path_of(url), connect, lambda: writing(path_of(url)), limits)
    accepting = [journal.accept([make_entry(f"m{n}", user=str(n))], ("loyalty",)) for n in range(50)]
    assert await asyncio.wait_for(asyncio.gather(*accepting), 8) == [1] * 50
    folding.close()
    reader.close()
    await journal.close()


def test_a_database_of_the_first_version_still_opens(url):
    database = sqlite3.connect(path_of(url))
    database.executescript(schema.MIGRATIONS[0])
    database.execute("PRAGMA user_version = 1")
    database.close()
    prepare(url)
    assert run(url, "PRAGMA user_version") == [(len(schema.MIGRATIONS),)]


async def test_a_journal_that_is_not_there_is_not_made_anew_by_whoever_comes_to_use_it(url):
    with pytest.raises(JournalUnavailable):
        SqliteJournal(url)
    assert not path_of(url).exists()
