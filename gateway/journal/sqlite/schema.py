"""The schema of the journal in SQLite, and its history: one script for each version.

A released script is never edited; a change is a new script at the end. The number of scripts applied is the
database's ``user_version``.
"""

from __future__ import annotations

import sqlite3

from gateway.journal.types import JournalUnusable, salt_dedupe, salt_lane
from gateway.journal.wait_reasons import SPLIT_REASON

APPLICATION_ID = 0x6D504757  # "mPGW"
OLDEST_SQLITE = (3, 38, 0)

MIGRATIONS = (
    """
    CREATE TABLE batches (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order of acceptance
        user INTEGER NOT NULL,                  -- hash of whose lane it is
        dedupe BLOB NOT NULL UNIQUE,
        message TEXT NOT NULL,
        part INTEGER NOT NULL,
        dialect TEXT NOT NULL,
        received_ms INTEGER NOT NULL,
        scope TEXT,                             -- only this connection, or NULL
        facts INTEGER NOT NULL,
        body BLOB NOT NULL                      -- as posted, one user, without credentials
    );
    CREATE TABLE work (                         -- a row for each connection that has yet to finish a batch
        user INTEGER NOT NULL,
        connection TEXT NOT NULL,
        seq INTEGER NOT NULL,
        progress TEXT,
        PRIMARY KEY (user, connection, seq)
    ) WITHOUT ROWID;
    CREATE TABLE lanes (                        -- a row for each (user, connection) that has work
        user INTEGER NOT NULL,
        connection TEXT NOT NULL,
        due_ms INTEGER NOT NULL,                -- claimable from then on; while claimed, the end of the lease
        owner TEXT,
        fence INTEGER NOT NULL DEFAULT 0,
        attempts INTEGER NOT NULL DEFAULT 0,
        failing_since_ms INTEGER NOT NULL DEFAULT 0,
        reason TEXT NOT NULL DEFAULT '',
        erased_seq INTEGER NOT NULL DEFAULT 0,  -- what waits up to this batch is not sent: its user was erased
        PRIMARY KEY (user, connection)
    ) WITHOUT ROWID;
    CREATE INDEX lanes_due ON lanes (connection, due_ms);
    CREATE TABLE ledger (                       -- what became of a batch on a connection
        seq INTEGER NOT NULL,
        connection TEXT NOT NULL,
        at_ms INTEGER NOT NULL,
        dead INTEGER NOT NULL,                  -- how many of its facts are dead letters
        outcomes TEXT NOT NULL,
        PRIMARY KEY (seq, connection)
    ) WITHOUT ROWID;
    CREATE TABLE refs (                         -- the ids by which batches are found: a row for each commit
        first_seq INTEGER PRIMARY KEY,
        last_seq INTEGER NOT NULL,
        hashes BLOB NOT NULL,                   -- eight bytes an id; scanned, for that beats writing an index
        offsets BLOB NOT NULL                   -- four bytes an id: whose it is, counted from first_seq
    );
    CREATE TABLE memory (
        user INTEGER NOT NULL,                  -- 0: shared by the connection
        connection TEXT NOT NULL,
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (user, connection, key)
    ) WITHOUT ROWID;
    CREATE TABLE counts (
        connection TEXT NOT NULL,
        word TEXT NOT NULL,
        reason TEXT NOT NULL,
        facts INTEGER NOT NULL,
        PRIMARY KEY (connection, word, reason)
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE origin (salt BLOB NOT NULL);   -- one row: what ids are salted with before they are hashed
    INSERT INTO origin SELECT iif(EXISTS (SELECT 1 FROM batches), x'', randomblob(16));  -- older ids have no salt
    CREATE TABLE ref_runs (                     -- the ids of older batches, put on shelves by their first byte
        run INTEGER PRIMARY KEY AUTOINCREMENT,
        first_seq INTEGER NOT NULL,
        last_seq INTEGER NOT NULL
    );
    CREATE INDEX ref_runs_last ON ref_runs (last_seq);
    CREATE TABLE ref_shelves (
        place INTEGER PRIMARY KEY,              -- the first byte of the hashes, and the run
        hashes BLOB NOT NULL,                   -- as in refs
        offsets BLOB NOT NULL
    );
    """,
    """
    CREATE TABLE wishes (                       -- who asked to be forgotten
        name BLOB NOT NULL,                     -- hashed
        connection TEXT NOT NULL,
        before_ms INTEGER NOT NULL,             -- what happened before then and is told of later is not sent
        received_ms INTEGER NOT NULL,
        PRIMARY KEY (name, connection)
    ) WITHOUT ROWID;
    CREATE TABLE receipts (                     -- what an erasure did here
        seq INTEGER NOT NULL,
        connection TEXT NOT NULL,
        lanes TEXT NOT NULL,                    -- the user's
        touched TEXT NOT NULL,                  -- batches of the user's
        removed TEXT NOT NULL,                  -- those of them whose documents were removed
        memories INTEGER NOT NULL DEFAULT 0,    -- how many values were forgotten
        PRIMARY KEY (seq, connection)
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE data_points (                  -- what was seen on the way to a connection: names, never values
        connection TEXT NOT NULL,
        input TEXT NOT NULL,
        kind TEXT NOT NULL,                     -- the table of the data filter that has its switch
        name TEXT NOT NULL,
        attribute TEXT NOT NULL,                -- empty: what has the name itself
        type TEXT NOT NULL,                     -- of the value seen last
        first_ms INTEGER NOT NULL,
        last_ms INTEGER NOT NULL,
        times INTEGER NOT NULL
    );
    CREATE UNIQUE INDEX data_points_by_name ON data_points (connection, input, kind, name, attribute);
    """,
    """
    ALTER TABLE work ADD COLUMN crashes INTEGER NOT NULL DEFAULT 0;     -- how many processes died of it
    ALTER TABLE work ADD COLUMN crashed_in TEXT NOT NULL DEFAULT '';    -- and what the last one was doing
    """,
    """
    CREATE TABLE accounts (                     -- customers' settings, where a connection has one set for each
        connection TEXT PRIMARY KEY,            -- NAME/ACCOUNT
        print BLOB NOT NULL,                    -- tells them from other settings
        sealed BLOB NOT NULL,
        told_ms INTEGER NOT NULL,
        received_ms INTEGER NOT NULL,
        trouble TEXT NOT NULL DEFAULT ''        -- why they cannot be used or are not accepted
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE replays (                      -- what was selected to be sent again
        id TEXT PRIMARY KEY,
        created_ms INTEGER NOT NULL,
        selection TEXT NOT NULL,
        rate REAL NOT NULL,                     -- facts a second
        upto INTEGER NOT NULL,                  -- it is about no newer batch
        cursor INTEGER NOT NULL DEFAULT 0,      -- up to where what was selected is stored again
        state TEXT NOT NULL                     -- open, done, aborted
    ) WITHOUT ROWID;
    CREATE TABLE replayed (                     -- the batches that were stored again
        seq INTEGER PRIMARY KEY,
        of_seq INTEGER NOT NULL,                -- the one that was stored first
        connection TEXT NOT NULL,
        replay TEXT NOT NULL,
        facts INTEGER NOT NULL
    );
    CREATE INDEX replayed_of ON replayed (of_seq);
    CREATE INDEX replayed_by ON replayed (replay);
    """,
    """
    CREATE TABLE gates (                        -- rate-limit scopes that a destination had the dispatcher close
        connection TEXT NOT NULL,
        scope TEXT NOT NULL,
        until_ms INTEGER NOT NULL,
        reason TEXT NOT NULL,
        owner TEXT NOT NULL,
        PRIMARY KEY (connection, scope)
    ) WITHOUT ROWID;
    CREATE TABLE rests (                        -- connections that rest: by whose will, until when (0: until told)
        connection TEXT NOT NULL,
        owner TEXT NOT NULL,                    -- an operator, or a dispatcher that has to
        until_ms INTEGER NOT NULL,
        reason TEXT NOT NULL,
        PRIMARY KEY (connection, owner)
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE lanes RENAME TO old_lanes;
    DROP INDEX lanes_due;
    CREATE TABLE lanes (                        -- what waits for a user on a connection, and before it (seq 0) how
        user INTEGER NOT NULL,
        connection TEXT NOT NULL,
        seq INTEGER NOT NULL,
        due_ms INTEGER,                         -- of seq 0: claimable from then on
        attempts INTEGER,
        failing_since_ms INTEGER,
        reason TEXT,
        erased_seq INTEGER,                     -- what waits up to this batch is not sent: its user was erased
        progress TEXT,                          -- of a batch: what has become of its calls
        crashes INTEGER,                        -- how many processes died of it
        crashed_in TEXT,                        -- and what the last one was doing
        PRIMARY KEY (user, connection, seq)
    ) WITHOUT ROWID;
    INSERT INTO lanes (user, connection, seq, due_ms, attempts, failing_since_ms, reason, erased_seq)
    SELECT user, connection, 0, iif(owner IS NULL, due_ms, 0), attempts, failing_since_ms, reason, erased_seq
    FROM old_lanes;
    INSERT INTO lanes (user, connection, seq, progress, crashes, crashed_in)
    SELECT user, connection, seq, progress, crashes, crashed_in FROM work;
    DROP TABLE old_lanes;
    DROP TABLE work;
    CREATE INDEX lanes_due ON lanes (connection, due_ms, attempts, failing_since_ms, reason, erased_seq) WHERE seq = 0;
    CREATE VIEW emptied AS SELECT user, connection, seq FROM lanes;
    CREATE TRIGGER emptying INSTEAD OF INSERT ON emptied BEGIN
        DELETE FROM lanes WHERE user = NEW.user AND connection = NEW.connection AND seq = NEW.seq;
    END;                                        -- for SQLite does not use the whole key to delete by rows of values
    CREATE TABLE claims (                       -- the lanes that the dispatcher has in hand
        connection TEXT NOT NULL,
        user INTEGER NOT NULL,
        fence INTEGER NOT NULL,
        PRIMARY KEY (connection, user)
    ) WITHOUT ROWID;
    CREATE TABLE arrivals (                     -- batches that have yet to be put into lanes: a row for each commit
        first_seq INTEGER PRIMARY KEY,
        connections TEXT NOT NULL,
        batches TEXT NOT NULL                   -- of each: seq, user, due_ms, scope
    );
    CREATE VIEW arrived AS
    SELECT a.first_seq, b.value ->> 0 AS seq, b.value ->> 1 AS user, c.value AS connection, b.value ->> 2 AS due_ms
    FROM arrivals a, json_each(a.batches) b, json_each(a.connections) c
    WHERE b.value ->> 3 IS NULL OR b.value ->> 3 = c.value;
    """,
    """
    ALTER TABLE lanes ADD COLUMN sole_seq INTEGER;  -- of seq 0: the one batch that waits, of which nothing has become
    DROP INDEX lanes_due;
    CREATE INDEX lanes_due ON lanes (connection, due_ms, attempts, failing_since_ms, reason, erased_seq, sole_seq)
    WHERE seq = 0;
    DROP TABLE claims;
    CREATE TABLE claims (                       -- the lanes that the dispatcher has in hand, as they were then
        connection TEXT NOT NULL,
        user INTEGER NOT NULL,
        fence INTEGER NOT NULL,
        due_ms INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        failing_since_ms INTEGER NOT NULL,
        erased_seq INTEGER NOT NULL,
        sole_seq INTEGER,
        PRIMARY KEY (connection, user)
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE wishes ADD COLUMN user INTEGER NOT NULL DEFAULT 0;  -- the lane of the newest request,
    ALTER TABLE wishes ADD COLUMN seq INTEGER NOT NULL DEFAULT 0;   -- and its batch
    """,
    """
    UPDATE batches SET user = salted_lane(user, (SELECT salt FROM origin)),  -- hashes that name a user are salted
        dedupe = salted_dedupe(dedupe, (SELECT salt FROM origin));
    UPDATE lanes SET user = salted_lane(user, (SELECT salt FROM origin));
    UPDATE claims SET user = salted_lane(user, (SELECT salt FROM origin));
    UPDATE memory SET user = salted_lane(user, (SELECT salt FROM origin)) WHERE user != 0;
    UPDATE wishes SET user = salted_lane(user, (SELECT salt FROM origin)) WHERE seq != 0;
    UPDATE receipts SET lanes = (
        SELECT json_group_array(salted_lane(value, (SELECT salt FROM origin))) FROM json_each(receipts.lanes)
    );
    UPDATE arrivals SET batches = (
        SELECT json_group_array(json_array(
            value ->> 0, salted_lane(value ->> 1, (SELECT salt FROM origin)), value ->> 2, value ->> 3
        )) FROM json_each(arrivals.batches)
    );
    """,
    f"""
    ALTER TABLE lanes RENAME COLUMN reason TO detail;   -- a text, which no code reads
    ALTER TABLE lanes ADD COLUMN code TEXT;             -- of the gateway: why a lane of seq 0 waits
    UPDATE lanes SET {SPLIT_REASON} WHERE seq = 0;
    DROP INDEX lanes_due;
    CREATE INDEX lanes_due
    ON lanes (connection, due_ms, attempts, failing_since_ms, code, detail, erased_seq, sole_seq) WHERE seq = 0;
    ALTER TABLE gates RENAME COLUMN reason TO detail;
    ALTER TABLE gates ADD COLUMN code TEXT NOT NULL DEFAULT '';
    UPDATE gates SET {SPLIT_REASON};
    ALTER TABLE rests RENAME COLUMN reason TO detail;
    ALTER TABLE rests ADD COLUMN code TEXT NOT NULL DEFAULT '';
    UPDATE rests SET {SPLIT_REASON};
    """,
)


def migrate(database: sqlite3.Connection) -> None:
    """Migrate a database to the newest version, or create it; do nothing if it is up to date.

    Raises JournalUnusable if a newer gateway wrote it, or SQLite is too old.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        wanted = ".".join(map(str, OLDEST_SQLITE))
        raise JournalUnusable(f"SQLite {sqlite3.sqlite_version} is too old; {wanted} or newer is needed")
    database.create_function("salted_lane", 2, salt_lane, deterministic=True)
    database.create_function("salted_dedupe", 2, salt_dedupe, deterministic=True)
    database.execute("BEGIN IMMEDIATE")
    try:
        for script in MIGRATIONS[version(database) :]:
            for statement in _statements(script):
                database.execute(statement)
        database.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute("COMMIT")
    except BaseException:
        database.execute("ROLLBACK")
        raise


def refuse_foreign(database: sqlite3.Connection) -> None:
    """Raise JournalUnusable if the database belongs to another program."""
    (application,) = database.execute("PRAGMA application_id").fetchone()
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if application not in (0, APPLICATION_ID) or (tables and "batches" not in tables):
        some = ", ".join(sorted(tables)[:3]) or "none"
        raise JournalUnusable(f"the file is another program's database (its tables: {some}); name another file")


def version(database: sqlite3.Connection) -> int:
    """Return the version of the schema, 0 if there is none yet. Raises JournalUnusable if it is newer than ours."""
    found: int = database.execute("PRAGMA user_version").fetchone()[0]
    if found > len(MIGRATIONS):
        known = len(MIGRATIONS)
        raise JournalUnusable(
            f"the journal has schema version {found}, this gateway knows {known}: a newer one wrote it"
        )
    return found


def _statements(script: str) -> list[str]:
    """Return the statements of a script, without comments."""
    bare = "\n".join(line.partition("--")[0] for line in script.splitlines())
    statements, begun = [], ""
    for piece in bare.split(";"):
        begun += piece + ";"
        if begun.strip(" \n;") and sqlite3.complete_statement(begun):
            statements.append(begun)
            begun = ""
    return statements
