"""The catalog of data points in the journal: added up, and bounded."""

import asyncio

from msgspec.structs import replace

from gateway.journal import types
from gateway.journal.types import DataPoint

SIGNUP = DataPoint("loyalty", "ios", "events", "Signup", "", "", 1_000, 2_000, 3)
PLAN = DataPoint("loyalty", "ios", "events", "Signup", "plan", "string", 1_000, 2_000, 2)


async def test_what_is_noted_again_is_added_to_what_is_known(journal):
    await journal.note([SIGNUP, PLAN])
    await journal.note(
        [replace(SIGNUP, first_ms=500, last_ms=600, times=1), replace(PLAN, type="number", last_ms=9_000)]
    )
    assert await journal.data_points() == [
        replace(SIGNUP, first_ms=500, times=4),
        replace(PLAN, type="number", last_ms=9_000, times=4),
    ]


async def test_connections_inputs_and_odd_names_are_kept_apart(journal):
    points = [
        SIGNUP,
        replace(SIGNUP, connection="email"),
        replace(SIGNUP, input="web"),
        replace(SIGNUP, name="signup"),
        replace(SIGNUP, name=""),
        replace(SIGNUP, name="1"),
        replace(SIGNUP, name="'\"\\ имя 🎁"),
        replace(SIGNUP, kind="screens"),
    ]
    await journal.note(points)
    assert sorted(map(str, await journal.data_points())) == sorted(map(str, points))


async def test_notes_that_share_a_commit_all_count(journal):
    await asyncio.gather(*(journal.note([SIGNUP]) for _ in range(3)))
    assert await journal.data_points() == [replace(SIGNUP, times=9)]


async def test_a_name_is_forgotten_wherever_it_is(journal):
    kept = [replace(SIGNUP, name="Other", connection="email"), replace(PLAN, name="Other", attribute="x")]
    forgotten = [replace(SIGNUP, name="jo"), replace(PLAN, name="jo"), replace(PLAN, name="Other", attribute="jo")]
    await journal.note([*kept, *forgotten])
    assert [await journal.forget_data_points(name) for name in ("jo", "jo")] == [3, 0]
    assert sorted(map(str, await journal.data_points())) == sorted(map(str, kept))


async def test_beyond_the_bound_those_seen_longest_ago_are_forgotten(journal, monkeypatch):
    monkeypatch.setattr(types, "MAX_DATA_POINTS", 3)
    await journal.note([replace(SIGNUP, name=f"{number}", last_ms=2_000 + number) for number in range(5)])
    assert [point.name for point in await journal.data_points()] == ["2", "3", "4"]
    await journal.note([replace(SIGNUP, name="2", last_ms=9_000), replace(SIGNUP, name="new", last_ms=9_001)])
    assert [point.name for point in await journal.data_points()] == ["2", "4", "new"]
