"""The file of a journal: whose it is, who may read it, and what is noticed when a part of it is lost."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from gateway.journal.sqlite import file, mark
from gateway.journal.sqlite.journal import SqliteJournal
from gateway.journal.types import JournalUnavailable, JournalUnusable

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path):
    return tmp_path / "gateway.db"


@pytest.fixture
def url(path):
    return f"sqlite:///{path}"


@pytest.fixture
def stored(url, make_entry):
    """Make a journal, unless there is one, that holds these batches, and close it."""

    async def store(numbers):
        file.prepare(url)
        journal = SqliteJournal(url)
        for number in numbers:
            await journal.accept([make_entry(f"m-{number}")], ["loyalty"])
        await journal.close()

    return store


async def test_a_journal_that_is_whole_leaves_no_doubt(path, url, stored):
    await stored(range(3))
    assert (mark.read(path), file.doubts(url), file.faults(url)) == (3, [], [])


@pytest.mark.parametrize("is_there", [True, False], ids=["empty", "missing"])
async def test_a_write_ahead_log_without_its_database_is_refused_and_kept(path, url, is_there):
    if is_there:
        path.touch()
    log = Path(f"{path}-wal")
    log.write_bytes(b"x" * 5_000)
    for use in (file.prepare, *((file.doubts,) if is_there else ())):
        with pytest.raises(JournalUnusable, match=r"-wal holds 5,000 bytes: put the journal's file back"):
            use(url)
    assert log.stat().st_size == 5_000


async def test_a_log_that_was_cut_is_said_until_as_much_is_stored_again(path, url, stored):
    await stored(range(2))
    copy = path.read_bytes()
    await stored(range(5))
    path.write_bytes(copy)
    Path(f"{path}-wal").unlink(missing_ok=True)
    (line,) = file.doubts(url)
    assert "has lost up to 3 batches that were acknowledged: its newest is number 2, it had 5" in line
    await stored(range(10, 13))
    assert file.doubts(url) == []


async def test_another_programs_database_is_refused_and_left_as_it_is(path, url):
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE invoices (id INTEGER)")
    before = path.read_bytes()
    with pytest.raises(JournalUnusable, match=r"another program's database \(its tables: invoices\)"):
        file.prepare(url)
    assert path.read_bytes() == before


async def test_a_file_that_others_may_read_is_named(path, url, stored):
    await stored(range(1))
    path.chmod(0o640)
    assert file.doubts(url) == [f"{path} can be read or written by others than its owner (mode 0640): chmod 600 {path}"]


async def test_a_page_that_was_overwritten_is_found(path, url, stored):
    await stored(range(200))
    size = path.stat().st_size
    with path.open("r+b") as out:
        out.seek(size // 2 // 4096 * 4096)
        out.write(b"\xff" * 4096)
    assert file.faults(url) != []


def test_a_log_that_another_process_removes_meanwhile_is_no_fault(tmp_path):
    url, stopping = f"sqlite:///{tmp_path}/gateway.db", threading.Event()
    file.prepare(url)

    def opens_and_closes():
        while not stopping.is_set():
            with closing(sqlite3.connect(tmp_path / "gateway.db")) as database:
                database.execute("SELECT count(*) FROM sqlite_master").fetchone()

    other = threading.Thread(target=opens_and_closes)
    other.start()
    try:
        assert [file.doubts(url) for _ in range(300)] == [[]] * 300
    finally:
        stopping.set()
        other.join()


async def test_a_damaged_file_is_refused_also_if_sqlite_describes_it_in_no_text(stored, url, path):
    await stored([1])
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE counts", b"CREATE \x9bABLE counts"))
    with pytest.raises((JournalUnusable, JournalUnavailable), match=r"gateway\.db: "):
        file.prepare(url)
    assert file.faults(url)[0].startswith(str(path))


async def test_a_journal_that_cannot_be_opened_leaves_no_thread_and_no_open_file(stored, url, path):
    await stored([1])
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE origin")
        database.commit()
    before = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(JournalUnavailable, match="no such table: origin"):
            SqliteJournal(url)
    assert (threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))) == before
