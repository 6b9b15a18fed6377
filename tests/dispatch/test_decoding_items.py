"""Decoding of a large document is guarded like a hook: it may take no more time, memory or processes."""

import json

import pytest

from gateway.clock import Clock
from gateway.dispatch import planner as planning
from gateway.dispatch.planner import LARGE_BYTES, MAX_CRASHES, make_planner
from gateway.govern.rewrite import load_rewriter
from gateway.journal.types import Item
from gateway.plugins.watchdog import Watchdog
from gateway.sdk import Quarantined
from gateway.settings import RulesSettings

SMALL = {"type": "event_processing_request", "id": "m1", "mpid": "42", "events": [], "user_attributes": {"a": "1"}}
LARGE = {**SMALL, "user_attributes": {"a": "x" * LARGE_BYTES}}


def item(message, **fields):
    body = json.dumps(message).encode()
    known = {"seq": 1, "message": "m1", "part": 0, "dialect": "firehose", "received_ms": 0, "facts": 1}
    return Item(**{**known, **fields}, body=body)


@pytest.fixture
def planner(post):
    return make_planner(post, load_rewriter(RulesSettings()), Watchdog(0.05), Clock())


@pytest.mark.parametrize("message", [SMALL, LARGE])
def test_a_document_is_decoded_whatever_its_size(planner, message):
    batch = planner.decode_item(item(message), user=1)
    assert (batch.user.attributes, batch.quarantined) == (message["user_attributes"], ())


def test_a_document_whose_decoding_does_not_end_is_a_dead_letter(planner, monkeypatch):
    asked = []

    def endless(*_, **__):
        asked.append(1)
        while True:
            pass

    monkeypatch.setattr(planning, "decode", endless)
    batch = planner.decode_item(item(LARGE), user=1)
    problem = "decoding took too much time or memory: HookTimeout"
    assert (len(asked), batch.quarantined) == (2, (Quarantined(id="m1", problem=problem),))


@pytest.mark.parametrize(
    ("crashes", "step", "is_decoded"), [(3, "decode", False), (2, "decode", True), (3, "plan", True)]
)
def test_a_document_whose_decoding_killed_processes_is_not_decoded_again(planner, crashes, step, is_decoded):
    batch = planner.decode_item(item(LARGE, crashes=crashes, crashed_in=step), user=1)
    assert (batch.quarantined == (), MAX_CRASHES) == (is_decoded, 3)
