"""The fake answers as the real Sailthru did when somebody recorded it."""

from __future__ import annotations

import json
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

RECORDING = Path(__file__).parent.joinpath(*[".."] * 4, "shared", "contracts", "sailthru-recorded-exchanges.json")
KNOWN_BEFORE = ("ultrabrand@mailinator.com", "609c8b99a972c075de427b34")
pytestmark = pytest.mark.reference


def exchanges() -> list[dict[str, Any]]:
    return json.loads(RECORDING.read_text())["exchanges"]


class Sids:
    """The fake's sids, each for the one that was recorded in its place."""

    def __init__(self) -> None:
        self.ours: dict[str, str] = {}

    def learn(self, recorded: Any, ours: Any) -> None:
        if isinstance(recorded, dict) and isinstance(ours, dict) and "sid" in recorded.get("keys", {}):
            self.ours.setdefault(recorded["keys"]["sid"], ours["keys"]["sid"])

    def translated(self, data: Any) -> Any:
        text = json.dumps(data)
        for recorded, ours in self.ours.items():
            text = text.replace(recorded, ours)
        return json.loads(text)


def masked(answer: Any) -> Any:
    """The answer without what no two accounts share: cookies, ids of lists, times."""
    if not isinstance(answer, dict):
        return answer
    hidden = {**answer, **{name: "*" for name in ("list_id", "create_time") if name in answer}}
    if "keys" in hidden:
        hidden["keys"] = {**hidden["keys"], "cookie": len(hidden["keys"]["cookie"])}
    if hidden.get("lists"):
        hidden["lists"] = dict.fromkeys(hidden["lists"], "*")
    return hidden


@pytest.fixture
def replayed(bench):
    """Each recorded exchange next to the fake's status, answer and headers."""
    here = bench(utc_offset_hours=-7)
    told = exchanges()
    email, sid = KNOWN_BEFORE
    here.vendor.clock.set(parsedate_to_datetime(told[0]["date"]).timestamp())
    ltv = next(each["reply"]["vars"]["ltv"] for each in told if "ltv" in (each["reply"].get("vars") or {}))
    here.vendor.seed({"users": [{"id": email, "sid": sid, "vars": {"ltv": ltv}}]})
    sids, pairs = Sids(), []
    for each in told:
        here.vendor.clock.set(parsedate_to_datetime(each["date"]).timestamp())
        fields = here.fields(sids.translated(each["json"]))
        status, answer, headers = here.send(each["method"], each["endpoint"].strip("/"), fields)
        sids.learn(each["reply"], answer)
        pairs.append((each, sids.translated(each["reply"]), status, answer, headers))
    return pairs


def test_every_status_is_the_recorded_one(replayed):
    assert len(replayed) == 60
    assert [status for *_, status, _, _ in replayed] == [each["status"] for each, *_ in replayed]


def test_every_answer_is_the_recorded_one_but_for_ids_dates_and_cookies(replayed):
    assert [masked(answer) for *_, answer, _ in replayed] == [masked(reply) for _, reply, *_ in replayed]


def test_the_three_headers_of_the_limit_are_the_recorded_ones(replayed):
    names = ("limit", "remaining", "reset")
    ours = [{name: headers[f"x-rate-limit-{name}"] for name in names} for *_, headers in replayed]
    assert ours == [each["rate_limit"] for each, *_ in replayed]


def test_dates_are_those_of_the_accounts_zone(replayed):
    (recorded, ours) = next((reply, answer) for _, reply, _, answer, _ in replayed if "create_time" in reply)
    assert ours["create_time"] == recorded["create_time"]
