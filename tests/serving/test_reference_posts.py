"""Every payload that others published, posted through a real socket to a gateway with both destinations."""

import pytest
from support.payloads import ACCEPTED, PATHS, REFUSED, SAMPLES

from gateway.testing import running
from gateway_sailthru.fake import FakeSailthru

pytestmark = pytest.mark.reference

EMAIL = """
[connections.email]
plugin = "sailthru"
max_age_hours = 0
[connections.email.settings]
base_url = "{url}"
api_key = "test-key"
api_secret = "test-secret"
"""
TYPED = {kind for kind in ACCEPTED if kind.endswith("_request") and not kind.startswith("opendsr")}


@pytest.fixture
def both(gateway):
    with running(FakeSailthru()) as url:
        gateway.start(more=EMAIL.format(url=url))
        yield gateway


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
    check_ledger(both, {id for id in ids if id})


def check_ledger(gateway, ids):
    """Every id that was accepted and said something is in the ledger, each of its facts with a word."""
    known = 0
    for id in sorted(ids)[::4]:
        for row in gateway.explain(id):
            known += 1
            assert (row["state"], [f for f in row["facts"] if f["word"] not in ("delivered", "skipped", "dead")]) == (
                "finished",
                [],
            )
            assert row["facts"]
    assert known > 10
