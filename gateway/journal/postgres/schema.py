"""The schema of the journal in PostgreSQL, and its history.

A released script is never edited; a change is a new script at the end. Nodes are upgraded one after another,
so a script may only add what older code can ignore. For any other script, ``OLDEST`` names the oldest version
whose code may still work on the new schema; older nodes must be stopped first.

Every key begins with the hash of the lane's user, so that the tables can be partitioned by it; refs, their
shelves and ``counts`` have no users.
"""

from __future__ import annotations

from gateway.journal.postgres.link import Connection
from gateway.journal.types import JournalUnusable
from gateway.journal.wait_reasons import SPLIT_REASON

OLDEST_SERVER = 140_000
TURN = 7_166_405_236_112  # advisory lock: one node at a time migrates

SALTED_LANE = "('x' || encode(substring(sha256(o.salt || int8send({})) FROM 1 FOR 8), 'hex'))::bit(64)::bigint"
"""Makes the salted form of the hash of a lane's user, as ``salt_lane`` does; ``o`` is the table ``origin``."""

MIGRATIONS = (
    """
    CREATE SEQUENCE batches_seq INCREMENT BY 1048576;  -- a commit numbers its batches from there on
    CREATE TABLE batches (
        user_hash bigint NOT NULL,              -- whose lane it is
        seq bigint NOT NULL,                    -- the order of acceptance
        dedupe bytea NOT NULL,
        message text NOT NULL,
        part integer NOT NULL,
        dialect text NOT NULL,
        received_ms bigint NOT NULL,
        scope text,                             -- only this connection, or NULL
        facts integer NOT NULL,
        body bytea NOT NULL,                    -- as posted, one user, without credentials
        PRIMARY KEY (user_hash, seq),
        UNIQUE (user_hash, dedupe)
    );
    CREATE INDEX batches_by_age ON batches (seq);
    CREATE TABLE work (                         -- a row for each connection that has yet to finish a batch
        user_hash bigint NOT NULL,
        connection text NOT NULL,
        seq bigint NOT NULL,
        progress text,
        PRIMARY KEY (user_hash, connection, seq)
    ) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
    CREATE TABLE lanes (                        -- a row for each user and connection with work
        user_hash bigint NOT NULL,
        connection text NOT NULL,
        due_ms bigint NOT NULL,                 -- claimable from then on; while claimed, the end of the lease
        owner text,                             -- the process that has claimed it
        fence bigint NOT NULL DEFAULT 0,
        attempts integer NOT NULL DEFAULT 0,
        failing_since_ms bigint NOT NULL DEFAULT 0,
        reason text NOT NULL DEFAULT '',
        erased_seq bigint NOT NULL DEFAULT 0,   -- what waits up to this batch is not sent: its user was erased
        PRIMARY KEY (user_hash, connection)
    ) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
    CREATE INDEX lanes_due ON lanes (connection, due_ms);
    CREATE TABLE ledger (                       -- what became of a batch on a connection
        user_hash bigint NOT NULL,
        seq bigint NOT NULL,
        connection text NOT NULL,
        at_ms bigint NOT NULL,
        dead integer NOT NULL,                  -- how many of its facts are dead letters
        outcomes text NOT NULL,
        PRIMARY KEY (user_hash, seq, connection)
    );
    CREATE TABLE origin (salt bytea NOT NULL);  -- one row: what ids are salted with before they are hashed
    INSERT INTO origin VALUES (uuid_send(gen_random_uuid()));
    CREATE TABLE refs (                         -- the ids by which batches are found: a row for each commit
        first_seq bigint PRIMARY KEY,
        last_seq bigint NOT NULL,
        hashes bytea NOT NULL,                  -- eight bytes an id
        offsets bytea NOT NULL                  -- eight bytes an id: whose it is, counted from first_seq
    );
    CREATE TABLE ref_runs (                     -- the ids of older batches, put on shelves by their first byte
        run bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        first_seq bigint NOT NULL,
        last_seq bigint NOT NULL
    );
    CREATE INDEX ref_runs_last ON ref_runs (last_seq);
    CREATE TABLE ref_shelves (
        shelf integer NOT NULL,                 -- the first byte of the hashes
        run bigint NOT NULL,
        hashes bytea NOT NULL,                  -- as in refs
        offsets bytea NOT NULL,
        PRIMARY KEY (shelf, run)
    );
    ALTER TABLE ref_shelves ALTER hashes SET STORAGE EXTERNAL;
    CREATE TABLE memory (
        user_hash bigint NOT NULL,              -- 0: shared by the connection
        connection text NOT NULL,
        key text NOT NULL,                      -- as JSON, which may hold what text may not
        value text NOT NULL,
        PRIMARY KEY (user_hash, connection, key)
    );
    CREATE TABLE wishes (                       -- who asked to be forgotten
        name bytea NOT NULL,                    -- hashed
        connection text NOT NULL,
        before_ms bigint NOT NULL,              -- what happened before then and is told of later is not sent
        received_ms bigint NOT NULL,
        PRIMARY KEY (name, connection)
    );
    CREATE TABLE receipts (                     -- what an erasure did here
        seq bigint NOT NULL,
        connection text NOT NULL,
        lanes bigint[] NOT NULL,                -- the user's
        touched bigint[] NOT NULL,              -- batches of the user's
        removed bigint[] NOT NULL,              -- those of them whose documents were removed
        memories bigint NOT NULL DEFAULT 0,     -- how many values were forgotten
        PRIMARY KEY (seq, connection)
    );
    CREATE TABLE counts (
        shard integer NOT NULL,                 -- that of a process, lest all wait for one row
        connection text NOT NULL,
        word text NOT NULL,
        reason text NOT NULL,
        facts bigint NOT NULL,
        PRIMARY KEY (shard, connection, word, reason)
    ) WITH (fillfactor = 50);
    """,
    """
    CREATE TABLE data_points (                  -- what was seen on the way to a connection: names, never values
        connection text NOT NULL,
        input text NOT NULL,
        kind text NOT NULL,                     -- the table of the data filter that has its switch
        name text NOT NULL,
        attribute text NOT NULL,                -- empty: what has the name itself
        type text NOT NULL,                     -- of the value seen last
        first_ms bigint NOT NULL,
        last_ms bigint NOT NULL,
        times bigint NOT NULL,
        PRIMARY KEY (connection, input, kind, name, attribute)
    );
    """,
    """
    ALTER TABLE work ADD COLUMN crashes integer NOT NULL DEFAULT 0;     -- how many processes died of it
    ALTER TABLE work ADD COLUMN crashed_in text NOT NULL DEFAULT '';    -- and what the last one was doing
    """,
    """
    CREATE INDEX lanes_put_back ON lanes (connection, reason) WHERE reason <> '';
    CREATE TABLE dispatchers (                  -- who works on a connection
        connection text NOT NULL,
        owner text NOT NULL,
        seen_ms bigint NOT NULL,
        PRIMARY KEY (connection, owner)
    );
    CREATE TABLE gates (                        -- rate-limit scopes that a destination had one of them close
        connection text NOT NULL,
        scope text NOT NULL,
        until_ms bigint NOT NULL,
        reason text NOT NULL,
        owner text NOT NULL,
        PRIMARY KEY (connection, scope)
    );
    """,
    """
    CREATE TABLE accounts (                     -- customers' settings, where a connection has one set for each
        connection text PRIMARY KEY,            -- NAME/ACCOUNT
        print bytea NOT NULL,                   -- tells them from other settings
        sealed bytea NOT NULL,
        told_ms bigint NOT NULL,
        received_ms bigint NOT NULL,
        trouble text NOT NULL DEFAULT ''        -- why they cannot be used or are not accepted
    );
    """,
    """
    CREATE TABLE replays (                      -- what was selected to be sent again
        id text PRIMARY KEY,
        created_ms bigint NOT NULL,
        selection text NOT NULL,
        rate double precision NOT NULL,         -- facts a second
        upto bigint NOT NULL,                   -- it is about no newer batch
        cursor bigint NOT NULL DEFAULT 0,       -- up to where what was selected is stored again
        state text NOT NULL                     -- open, done, aborted
    );
    CREATE TABLE replayed (                     -- the batches that were stored again
        user_hash bigint NOT NULL,
        of_seq bigint NOT NULL,                 -- the one that was stored first
        seq bigint NOT NULL,
        connection text NOT NULL,
        replay text NOT NULL,
        facts integer NOT NULL,
        PRIMARY KEY (user_hash, of_seq, seq)
    );
    CREATE INDEX replayed_by ON replayed (replay);
    """,
    """
    CREATE TABLE rests (                        -- connections that rest: by whose will, until when (0: until told)
        connection text NOT NULL,
        owner text NOT NULL,                    -- an operator, or a dispatcher that has to
        until_ms bigint NOT NULL,
        reason text NOT NULL,
        PRIMARY KEY (connection, owner)
    );
    """,
    """
    ALTER TABLE wishes
        ADD COLUMN user_hash bigint NOT NULL DEFAULT 0,     -- the lane of the newest request,
        ADD COLUMN seq bigint NOT NULL DEFAULT 0;           -- and its batch
    """,
    f"""
    LOCK TABLE batches, work, lanes, ledger, memory, replayed, wishes, receipts IN ACCESS EXCLUSIVE MODE;
    UPDATE batches b SET user_hash = {SALTED_LANE.format("b.user_hash")},  -- hashes that name a user are salted
        dedupe = substring(sha256(o.salt || b.dedupe) FROM 1 FOR 16) FROM origin o;
    UPDATE work w SET user_hash = {SALTED_LANE.format("w.user_hash")} FROM origin o;
    UPDATE lanes l SET user_hash = {SALTED_LANE.format("l.user_hash")} FROM origin o;
    UPDATE ledger l SET user_hash = {SALTED_LANE.format("l.user_hash")} FROM origin o;
    UPDATE memory m SET user_hash = {SALTED_LANE.format("m.user_hash")} FROM origin o WHERE m.user_hash <> 0;
    UPDATE replayed r SET user_hash = {SALTED_LANE.format("r.user_hash")} FROM origin o;
    UPDATE wishes w SET user_hash = {SALTED_LANE.format("w.user_hash")} FROM origin o WHERE w.seq <> 0;
    UPDATE receipts r SET lanes = ARRAY(SELECT {SALTED_LANE.format("lane")} FROM unnest(r.lanes) lane) FROM origin o;
    """,
    f"""
    LOCK TABLE lanes, gates, rests IN ACCESS EXCLUSIVE MODE;
    DROP INDEX lanes_put_back;
    ALTER TABLE lanes RENAME COLUMN reason TO detail;           -- a text, which no code reads
    ALTER TABLE lanes ADD COLUMN code text NOT NULL DEFAULT ''; -- of the gateway: why it waits
    UPDATE lanes SET {SPLIT_REASON} WHERE detail <> '';
    CREATE INDEX lanes_waiting ON lanes (connection, code, left(detail, 200)) WHERE code <> '';
    ALTER TABLE gates RENAME COLUMN reason TO detail;
    ALTER TABLE gates ADD COLUMN code text NOT NULL DEFAULT '';
    UPDATE gates SET {SPLIT_REASON};
    ALTER TABLE rests RENAME COLUMN reason TO detail;
    ALTER TABLE rests ADD COLUMN code text NOT NULL DEFAULT '';
    UPDATE rests SET {SPLIT_REASON};
    """,
)
OLDEST = (1, 1, 1, 1, 1, 1, 1, 1, 9, 10)
VERSIONS = """
    CREATE TABLE IF NOT EXISTS journal_versions (
        version integer PRIMARY KEY,
        oldest integer NOT NULL,                -- the oldest version whose code may use this schema
        applied timestamptz NOT NULL DEFAULT now()
    )
"""
MAY_CREATE = "SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)"
NEWEST = "SELECT version, oldest FROM journal_versions ORDER BY version DESC LIMIT 1"


async def migrate(connection: Connection) -> None:
    """Migrate a database to the newest version, or create it; do nothing if it is up to date.

    Raises JournalUnusable if the server is too old, or a newer gateway made a schema that this one cannot use.
    """
    if await version(connection) >= len(MIGRATIONS):
        return
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", TURN)
        await connection.execute(VERSIONS)
        done = await version(connection)
        for number, script in enumerate(MIGRATIONS[done:], done + 1):
            await connection.execute(script)
            await connection.execute(
                "INSERT INTO journal_versions (version, oldest) VALUES ($1, $2)", number, OLDEST[number - 1]
            )


async def version(connection: Connection) -> int:
    """Return the version of the schema, 0 if there is none. Raises JournalUnusable if this gateway cannot use it."""
    server = int(await connection.fetchval("SHOW server_version_num"))
    if server < OLDEST_SERVER:
        raise JournalUnusable(f"PostgreSQL {server // 10_000} is too old; {OLDEST_SERVER // 10_000} or newer is needed")
    if await connection.fetchval("SELECT to_regclass('journal_versions')") is None:
        if not await connection.fetchval(MAY_CREATE):
            raise JournalUnusable(
                "there is no journal, and this database user may not create tables in the current schema"
            )
        return 0
    row = await connection.fetchrow(NEWEST)
    if row is None:
        return 0
    if row["oldest"] > len(MIGRATIONS):
        known = len(MIGRATIONS)
        raise JournalUnusable(
            f"the journal has schema version {row['version']}, this gateway knows {known}: a newer one wrote it"
        )
    return int(row["version"])
