"""A dispatcher that has to wait before it may start logs the reason once, and then once a minute."""

import asyncio

import pytest
import structlog

from gateway.dispatch import role as dispatch
from gateway.journal.types import JournalUnavailable

pytestmark = pytest.mark.anyio
WAITS = ("info", "waiting for another dispatcher to end")
FAILS = ("error", "journal unavailable")
NO = (False,)


class Held:
    """A journal that gives these answers to ``take_over``, each ten seconds of its own clock after the last."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.now = 0.0

    def clock(self):
        return self.now

    async def take_over(self):
        self.now += 10.0
        answer = self.answers.pop(0)
        if isinstance(answer, str):
            raise JournalUnavailable(answer)
        return answer


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([True], []),
        ([False] * 6 + [True], [WAITS]),
        ([False] * 13 + [True], [WAITS] * 3),
        ([False, "no disk", False, "no disk", True], [WAITS, FAILS, FAILS]),
    ],
    ids=["at once", "less than a minute", "two minutes", "a journal that fails meanwhile"],
)
async def test_the_reason_of_a_wait_is_logged_once_and_then_once_a_minute(monkeypatch, answers, expected):
    monkeypatch.setattr(dispatch, "TRY_EVERY_S", 0.0)
    journal = Held(*answers)
    with structlog.testing.capture_logs() as logged:
        await asyncio.wait_for(dispatch.take_over(journal, asyncio.Event(), journal.clock), 10)
    assert [(entry["log_level"], entry["event"]) for entry in logged] == expected
    assert journal.answers == []


async def test_the_wait_ends_when_the_process_is_stopped():
    stop = asyncio.Event()
    stop.set()
    journal = Held(*NO)
    await asyncio.wait_for(dispatch.take_over(journal, stop, journal.clock), 10)
    assert journal.answers == [*NO]
