"""Alias requests: the data of one MPID belongs to another."""

import json

import pytest

from gateway.facts import iter_facts
from gateway.mparticle.posts import Malformed, read
from gateway.sdk import Alias, Batch, Quarantined, User

ALIAS = Alias(
    request_id="3f2b6c1e-0000-4000-8000-000000000908",
    source_mpid="1",
    destination_mpid="2",
    start_ms=1,
    end_ms=2,
)


def test_an_alias_request_is_one_fact_about_the_user_whose_the_data_is_now(decoded, fixture):
    (batch,) = decoded(fixture("alias"))
    assert batch == Batch(
        id=ALIAS.request_id,
        dialect="alias",
        environment="production",
        device_stamp="5c0e6b1a-3333-4444-8555-333333333333",
        user=User(mpid="2"),
        alias=ALIAS,
    )
    facts = [(fact.id, fact.hook, fact.arguments) for fact in iter_facts(batch)]
    assert facts == [(f"alias:{ALIAS.request_id}", "on_alias", {"alias": ALIAS})]


def test_an_alias_request_is_found_by_both_its_mpids_and_keeps_no_key(fixture):
    (part,) = read(fixture("alias")).parts
    assert (part.user_key, part.facts) == ("mpid:2", 1)
    assert part.refs == (ALIAS.request_id, "mpid:1", "mpid:2")
    assert b"test-key" not in part.body


def test_an_alias_request_may_say_all_in_itself_and_need_not_have_an_id(decoded):
    (batch,) = decoded({"request_type": "alias", "source_mpid": 1, "destination_mpid": -2})
    assert batch.alias == Alias(request_id=batch.id, source_mpid="1", destination_mpid="-2")


@pytest.mark.parametrize("missing", ["source_mpid", "destination_mpid"])
def test_an_alias_request_without_one_of_its_mpids_is_a_dead_letter(decoded, fixture, missing):
    posted = json.loads(fixture("alias"))
    del posted["data"][missing]
    (batch,) = decoded(posted)
    odd = Quarantined(id=ALIAS.request_id, type="alias", problem=f"data.{missing}: missing")
    assert (batch.alias, batch.quarantined) == (None, (odd,))
    assert read(json.dumps(posted).encode()).parts[0].facts == 1


def test_a_time_of_an_alias_request_that_cannot_be_read_costs_nothing_else(decoded, fixture):
    posted = json.loads(fixture("alias"))
    posted["data"]["start_unixtime_ms"] = {}
    (batch,) = decoded(posted)
    assert (batch.alias.start_ms, batch.alias.end_ms, len(batch.quarantined)) == (None, 2, 1)


def test_an_alias_request_whose_data_cannot_be_read_is_refused():
    with pytest.raises(Malformed) as refused:
        read(b'{"request_type": "alias", "data": "x"}')
    assert (refused.value.problem, refused.value.where) == ("expected an object, got string", "$.data")
