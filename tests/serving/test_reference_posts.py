"""Every payload that others published, posted through a real socket to a gateway with both destinations."""

import asyncio
import sqlite3
from contextlib import closing

import pytest
from support.payloads import ACCEPTED, PATHS, REFUSED, SAMPLES

from gateway.journal.sqlite.journal import SqliteJournal
from gateway.journal.types import hash_ref

pytestmark = pytest.mark.reference

TYPED = {kind for kind in ACCEPTED if kind.endswith("_request") and not kind.startswith("opendsr")}


@pytest.fixture
def engine():
    return "sqlite"


@pytest.fixture
def both(gateway, email):
    return gateway.start(more=email.connection)


@pytest.mark.timeout(300)
def test_each_is_answered_as_it_should_be_and_every_fact_of_it_gets_a_word(both):
    expected, answered, ids = {}, {}, set()
    for kind, paths in ACCEPTED.items():
        for path in paths:
            expected[path] = (200, kind.replace("_request", "_response")) if kind in TYPED else (202, None)
    for problem, paths in REFUSED.items():
        expected.update(dict.fromkeys(paths, (400, problem)))
    for path in PATHS:
        status, answer = both.post((SAMPLES / path).read_bytes())
        told = answer.get("type") if status != 400 else next(p for p in REFUSED if answer["error"].startswith(p))
        answered[path] = (status, told)
        ids.update(answer.get("accepted") or [answer.get("id")])
    assert answered == expected
    for connection in ("loyalty", "email"):
        both.wait(lambda connection=connection: both.drained(connection), seconds=60)
    counts = both.facts()
    for connection in ("loyalty", "email"):
        words = {word: counts.get((connection, word), 0) for word in ("delivered", "skipped", "dead")}
        assert sum(words.values()) == counts[connection, "received"], words
        assert words["delivered"] > 0
    assert both.stop() == 0
    found = {id: batches for id in ids if id and (batches := asyncio.run(ledger(both, id)))}
    for batch in (batch for batches in found.values() for batch in batches):
        assert [sighting.connection for sighting in batch.sightings] == ["email", "loyalty"]
        for sighting in batch.sightings:
            assert {outcome.state for outcome in sighting.outcomes} <= {"delivered", "skipped", "dead"}
            assert sighting.outcomes
    kept = {batch.seq for batches in found.values() for batch in batches}
    assert len(kept) == stored(both)


async def ledger(gateway, id):
    """What the journal knows of an id."""
    journal = SqliteJournal(f"sqlite:///{gateway.directory}/gateway.db")
    try:
        return await journal.find([hash_ref(id, journal.salt)])
    finally:
        await journal.close()


def stored(gateway):
    """How many batches were stored in all."""
    with closing(sqlite3.connect(gateway.directory / "gateway.db")) as database:
        return database.execute("SELECT count(*) FROM batches").fetchone()[0]
