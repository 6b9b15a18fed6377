"""The engines under test: where a schedule's journal is, how it came there, and what is in it, seen from outside."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from support.postgres_server import PostgresServer, postgres_server

from gateway.ingest.entries import read_entries
from gateway.journal.engines import open_journal, prepare
from gateway.journal.rows import salt_entries
from gateway.journal.sqlite import schema
from gateway.journal.types import Entry, salt_dedupe, salt_lane
from gateway.settings import JournalSettings

LEASE_S = 1.0
BALANCE = """
    SELECT c.connection,
        sum(CASE WHEN word = 'received' THEN facts ELSE 0 END),
        sum(CASE WHEN word = 'delivered' THEN facts ELSE 0 END),
        sum(CASE WHEN word = 'skipped' THEN facts ELSE 0 END),
        sum(CASE WHEN word = 'dead' THEN facts ELSE 0 END),
        (SELECT coalesce(sum(b.facts), 0) FROM {work} w JOIN batches b ON b.seq = w.seq
            WHERE w.connection = c.connection)
    FROM counts c GROUP BY c.connection
"""
"""One statement sees one moment: facts by word, and those of the work that waits."""
SQLITE_WORK = "(SELECT connection, seq FROM lanes UNION ALL SELECT connection, seq FROM arrived)"
LEDGER = """
    SELECT b.message, b.part, l.connection, l.outcomes FROM ledger l JOIN batches b ON b.seq = l.seq
"""
Balances = dict[str, tuple[int, ...]]
"""By connection: facts received, delivered, skipped, dead, and in flight."""
SALTED = {"sqlite": 12, "postgresql": 9}
"""The version of the schema from which on the hashes that name a user are salted."""
LONG_AGO_MS = 100 * 3_600_000
"""So old is a backlog; it may be forgotten as soon as it is done."""


def old_entries(bodies: Sequence[bytes], salt: bytes) -> list[Entry]:
    """What ingest would have stored of these bodies, long ago."""
    entries = [entry for body in bodies for entry in read_entries(body, None, salt)[1]]
    return [replace(entry, received_ms=entry.received_ms - LONG_AGO_MS) for entry in entries]


def fill(settings: JournalSettings, backlog: Sequence[bytes], connections: Sequence[str]) -> None:
    """Make a journal of the newest version, with a backlog in it, through the port."""

    async def filling() -> None:
        await prepare(settings)
        journal = await open_journal(settings)
        for entry in old_entries(backlog, journal.salt):
            await journal.accept([entry], connections)
        await journal.close()

    asyncio.run(filling())


FIELDS = ("user", "dedupe", "message", "part", "dialect", "received_ms", "facts", "body")
OLDER_SQLITE = (
    f"INSERT INTO batches ({', '.join(FIELDS)}) VALUES ({', '.join('?' * len(FIELDS))})",
    "INSERT INTO counts (connection, word, reason, facts) SELECT :connection, 'received', '', sum(facts) FROM batches",
)
WORK_AND_LANES = (
    "INSERT INTO work (user, connection, seq) SELECT user, :connection, seq FROM batches",
    "INSERT OR IGNORE INTO lanes (user, connection, due_ms) SELECT user, :connection, received_ms FROM batches",
)
LANES_ALONE = (
    "INSERT INTO lanes (user, connection, seq, crashes, crashed_in) SELECT user, :connection, seq, 0, '' FROM batches",
    "INSERT INTO lanes (user, connection, seq, due_ms, attempts, failing_since_ms, reason, erased_seq) "
    "SELECT user, :connection, 0, min(received_ms), 0, 0, '', 0 FROM batches GROUP BY user",
)
"""A backlog as each version of the schema would hold it, in words that all of them know: work, until version 9."""
OLDER_POSTGRES = (
    f"INSERT INTO batches (user_hash, {', '.join(FIELDS[1:])}, seq) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, nextval('batches_seq'))",
    "INSERT INTO work (user_hash, connection, seq) SELECT user_hash, $1, seq FROM batches",
    "INSERT INTO lanes (user_hash, connection, due_ms) SELECT user_hash, $1, min(received_ms) FROM batches GROUP BY 1",
    "INSERT INTO counts (shard, connection, word, reason, facts) SELECT 0, $1, 'received', '', sum(facts) FROM batches",
)


def older_rows(backlog: Sequence[bytes], salt: bytes) -> list[list[Any]]:
    """A backlog's rows in ``batches``; ``salt`` is empty for a version of the schema that salts no user's hash."""
    entries = salt_entries(old_entries(backlog, salt), salt)
    return [[getattr(entry, field) for field in FIELDS] for entry in entries]


def as_bytes(value: Any) -> bytes:
    """A value of a database, as its bytes."""
    return value if isinstance(value, bytes) else str(value).encode()


class Sqlite:
    """Journals in files, one for each schedule."""

    name = "sqlite"

    def settings(self, directory: Path) -> JournalSettings:
        """Where the journal of a schedule shall be."""
        return JournalSettings(url=f"sqlite:///{directory}/gateway.db")

    def make(
        self, settings: JournalSettings, age: int | None, backlog: Sequence[bytes], connections: Sequence[str]
    ) -> None:
        """Make a journal that holds a backlog: of an older version's schema, or (None) as the newest makes it."""
        if age is None:
            fill(settings, backlog, connections)
            return
        with closing(self._open(settings)) as database:
            database.create_function("salted_lane", 2, salt_lane)
            database.create_function("salted_dedupe", 2, salt_dedupe)
            for script in schema.MIGRATIONS[:age]:
                database.executescript(script)
            database.execute(f"PRAGMA user_version = {age}")
            salt = database.execute("SELECT salt FROM origin").fetchone()[0] if age >= SALTED[self.name] else b""
            batches, *spread = *OLDER_SQLITE, *(WORK_AND_LANES if age < 9 else LANES_ALONE)
            database.executemany(batches, older_rows(backlog, salt))
            for statement in spread:
                database.executemany(statement, [{"connection": name} for name in connections])
            database.commit()

    def balances(self, settings: JournalSettings) -> Balances | None:
        """The balance of each connection now; None where there is no journal yet, or it cannot be read now.

        It only reads, and is never the one to find out what a crash left behind: that is the gateway's own part.
        """
        path = settings.url.removeprefix("sqlite:///")
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=0.5)) as database:
                return {name: tuple(counts) for name, *counts in database.execute(BALANCE.format(work=SQLITE_WORK))}
        except sqlite3.OperationalError:
            return None

    def ledger(self, settings: JournalSettings) -> list[tuple[str, int, str, str]]:
        """Message, part, connection and outcomes (JSON) of everything that has its words."""
        with closing(self._open(settings)) as database:
            return database.execute(LEDGER).fetchall()

    def values(self, settings: JournalSettings) -> Iterator[bytes]:
        """Everything stored, value by value: in the file, one may lie in pieces."""
        with closing(self._open(settings)) as database:
            tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            for table in tables:
                for row in database.execute(f"SELECT * FROM {table}"):
                    yield from map(as_bytes, row)

    def forget(self, settings: JournalSettings) -> None:
        """A file goes with its directory."""

    def close(self) -> None:
        """Let go of it."""

    @staticmethod
    def _open(settings: JournalSettings) -> sqlite3.Connection:
        return sqlite3.connect(settings.url.removeprefix("sqlite:///"))


class Postgres:
    """Databases on a server of the tests' own, one for each schedule."""

    name = "postgresql"

    def __init__(self, server: PostgresServer, lock: threading.Lock) -> None:
        self._server = server
        self._lock = lock
        self._runner = asyncio.Runner()
        self._open: dict[str, Any] = {}

    def settings(self, directory: Path) -> JournalSettings:
        """Where the journal of a schedule shall be."""
        with self._lock:
            return JournalSettings(url=self._server.url(self._server.new_database()), lease_s=LEASE_S)

    def make(
        self, settings: JournalSettings, age: int | None, backlog: Sequence[bytes], connections: Sequence[str]
    ) -> None:
        """Make a journal that holds a backlog: of an older version's schema, or (None) as the newest makes it."""
        if age is None:
            fill(settings, backlog, connections)
        else:
            self._runner.run(self._make_older(settings.url, age, backlog, connections))

    def balances(self, settings: JournalSettings) -> Balances | None:
        """The balance of each connection now; None where there is no journal yet."""
        from gateway.journal.postgres.link import TROUBLE

        try:
            rows = self._ask(settings, BALANCE.format(work="work"))
        except TROUBLE:
            return None
        return {name: tuple(map(int, counts)) for name, *counts in rows}

    def ledger(self, settings: JournalSettings) -> list[tuple[str, int, str, str]]:
        """Message, part, connection and outcomes (JSON) of everything that has its words."""
        return [tuple(row) for row in self._ask(settings, LEDGER)]

    def values(self, settings: JournalSettings) -> Iterator[bytes]:
        """Everything stored, value by value."""
        for (table,) in self._ask(settings, "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"):
            for row in self._ask(settings, f"SELECT * FROM {table}"):
                yield from map(as_bytes, row)

    def forget(self, settings: JournalSettings) -> None:
        """Drop the database of a schedule that is over."""
        connection = self._open.pop(settings.url, None)
        if connection is not None:
            self._runner.run(connection.close())
        self._server.sql(f"DROP DATABASE {settings.url.rpartition('/')[2]} WITH (FORCE)")

    def close(self) -> None:
        """Let go of it."""
        self._runner.close()

    def _ask(self, settings: JournalSettings, statement: str) -> list[Any]:
        return self._runner.run(self._asked(settings.url, statement))

    async def _make_older(self, url: str, age: int, backlog: Sequence[bytes], connections: Sequence[str]) -> None:
        from gateway.journal.postgres import schema

        database = await self._connected(url)
        await database.execute(schema.VERSIONS)
        for version, script in enumerate(schema.MIGRATIONS[:age], 1):
            await database.execute(script)
            await database.execute("INSERT INTO journal_versions (version, oldest) VALUES ($1, 1)", version)
        salt = await database.fetchval("SELECT salt FROM origin") if age >= SALTED[self.name] else b""
        batches, *spread = OLDER_POSTGRES
        await database.executemany(batches, older_rows(backlog, salt))
        for statement in spread:
            await database.executemany(statement, [(name,) for name in connections])

    async def _asked(self, url: str, statement: str) -> list[Any]:
        return await (await self._connected(url)).fetch(statement)

    async def _connected(self, url: str) -> Any:
        import asyncpg

        if url not in self._open:
            self._open[url] = await asyncpg.connect(url, timeout=5, command_timeout=10)
        return self._open[url]


@contextmanager
def engines(name: str) -> Iterator[Callable[[], Sqlite | Postgres]]:
    """What makes an engine, to be used by one thread, for as long as its server runs."""
    if name == Sqlite.name:
        yield Sqlite
        return
    with postgres_server() as server:
        lock = threading.Lock()
        yield lambda: Postgres(server, lock)
