"""Reasons to wait: how they read, and how a migration splits those of an older journal."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.journal_words import claim, settle
from support.journals import SQL_ENGINES, open_journal, prepare

import gateway.journal
from gateway.clock import now_ms
from gateway.journal.backlog import Gate
from gateway.journal.types import salt_dedupe, salt_lane
from gateway.journal.wait_reasons import NO_REASON, REFUSED, RETRY, SHARED, WaitReason

pytestmark = pytest.mark.anyio
LONG = "x" * 5_000
SPLIT = {
    "": NO_REASON,
    "refused: status_401": WaitReason(REFUSED, "status_401"),
    "shared 1row": WaitReason(SHARED, "1row"),
    "other_lanes": WaitReason("other_lanes"),
    "status_503": WaitReason(RETRY, "status_503"),
    "refused by the list": WaitReason(RETRY, "refused by the list"),
}
"""Reasons of older versions, and what a migration makes of them."""


@pytest.mark.parametrize(("text", "reason"), SPLIT.items())
def test_a_reason_reads_as_older_versions_stored_it(text, reason):
    assert (str(reason), bool(reason)) == (text, bool(text))


def test_no_statement_matches_a_part_of_a_text():
    sources = Path(gateway.journal.__file__).parent.rglob("*.py")
    assert [one.name for one in sources if re.search(r"\bI?LIKE\b|\bGLOB\b|\bSIMILAR TO\b", one.read_text())] == []


async def test_lanes_are_woken_by_the_whole_reason(journal, make_entry):
    reasons = [WaitReason(SHARED, LONG + "1"), WaitReason(SHARED, LONG + "2"), WaitReason(RETRY, LONG + "1")]
    await journal.accept([make_entry(f"m{n}", user=str(n)) for n in range(3)], ("loyalty",))
    for lane, reason in zip(await claim(journal), reasons, strict=True):
        await journal.settle(settle(lane, release=True, due_ms=90_000, reason=reason))
    await journal.wake("loyalty", reasons[1], now_ms=20_000)
    assert [lane.items[0].message for lane in await claim(journal, now_ms=20_000)] == ["m1"]


LANES = "INSERT INTO lanes ({user}, connection, due_ms, reason{more}) VALUES ({0}, 'loyalty', 1, {1}{values})"
RESTS = "INSERT INTO rests (connection, owner, until_ms, reason) VALUES ({0}, 'operator', 0, {1})"
GATES = "INSERT INTO gates (connection, scope, until_ms, reason, owner) VALUES ('loyalty', {0}, {1}, {2}, 'another')"


def older_rows():
    """The rows of an older journal, for each statement: a lane, a rest and a gate for each reason."""
    until_ms, reasons = now_ms() + 60_000, list(enumerate(SPLIT))
    return {
        LANES: reasons,
        RESTS: [(f"rested{n}", reason) for n, reason in reasons],
        GATES: [(f"scope{n}", until_ms, reason) for n, reason in reasons],
    }


def fill_sqlite(settings):
    from gateway.journal.sqlite import schema
    from gateway.journal.sqlite.file import path_of

    words = {"user": "user", "more": ", seq, attempts, failing_since_ms, erased_seq", "values": ", 0, 0, 0, 0"}
    with closing(sqlite3.connect(path_of(settings.url))) as database:
        database.create_function("salted_lane", 2, salt_lane)
        database.create_function("salted_dedupe", 2, salt_dedupe)
        for script in schema.MIGRATIONS[:12]:
            database.executescript(script)
        for statement, rows in older_rows().items():
            database.executemany(statement.format(*"???", **words), rows)
        database.execute("PRAGMA user_version = 12")
        database.commit()


async def fill_postgres(settings):
    import asyncpg

    from gateway.journal.postgres import schema

    connection = await asyncpg.connect(settings.url)
    await connection.execute(schema.VERSIONS)
    for number, script in enumerate(schema.MIGRATIONS[:9], 1):
        await connection.execute(script)
        await connection.execute("INSERT INTO journal_versions (version, oldest) VALUES ($1, 1)", number)
    for statement, rows in older_rows().items():
        await connection.executemany(statement.format("$1", "$2", "$3", user="user_hash", more="", values=""), rows)
    await connection.close()


@SQL_ENGINES
async def test_a_journal_of_the_version_before_has_its_reasons_split(settings, engine):
    if engine == "sqlite":
        fill_sqlite(settings)
    else:
        await fill_postgres(settings)
    await prepare(settings)
    journal = await open_journal(settings)
    try:
        loyalty, *rested = await journal.backlog()
    finally:
        await journal.close()
    split = list(SPLIT.values())
    assert {one.reason: one.lanes for one in loyalty.waiting} == dict.fromkeys(split, 1)
    assert [(gate.scope, gate.reason) for gate in loyalty.gates] == [(f"scope{n}", one) for n, one in enumerate(split)]
    assert [one.gates for one in rested] == [(Gate(scope=None, until_ms=0, reason=one),) for one in split]
