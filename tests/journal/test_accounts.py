"""Customers' settings in the journal: the newest count, and what waits for better ones goes on with them."""

import msgspec
import pytest
from support.journal_words import claim, finish, settle

from gateway.journal.types import SealedSettings
from gateway.journal.wait_reasons import REFUSED, RETRY, WaitReason

pytestmark = pytest.mark.anyio

ANN = "loyalty/7"


def sealed(print_, told_ms=1_000, connection=ANN):
    return SealedSettings(
        connection=connection, print=print_, sealed=b"sealed " + print_, told_ms=told_ms, received_ms=told_ms
    )


async def test_settings_are_kept_with_a_message_and_newer_ones_take_their_place(journal, make_entry):
    assert await journal.sealed(ANN) is None
    await journal.accept([make_entry("m1")], (ANN,), [sealed(b"a")])
    assert await journal.sealed(ANN) == sealed(b"a")
    await journal.accept([make_entry("m2")], (ANN,), [sealed(b"b", 2_000)])
    await journal.accept([make_entry("m3")], (ANN,), [sealed(b"c", 1_999)])
    assert await journal.sealed(ANN) == sealed(b"b", 2_000)
    await journal.accept([], (ANN,), [sealed(b"x", connection="email/7")])
    assert await journal.all_sealed() == [sealed(b"x", connection="email/7"), sealed(b"b", 2_000)]


async def test_trouble_is_noted_of_the_settings_it_was_had_with_and_gone_with_others(journal):
    await journal.accept([], (ANN,), [sealed(b"a")])
    await journal.note_trouble(ANN, b"a", "refused")
    assert (await journal.sealed(ANN)).trouble == "refused"
    await journal.accept([], (ANN,), [sealed(b"a", 2_000)])
    assert (await journal.sealed(ANN)).trouble == "refused"
    await journal.accept([], (ANN,), [sealed(b"b", 2_000)])
    await journal.note_trouble(ANN, b"a", "refused")
    assert (await journal.sealed(ANN)).trouble == ""


async def test_the_same_settings_told_again_are_kept_for_longer_with_their_trouble(journal):
    await journal.accept([], (ANN,), [sealed(b"a")])
    await journal.note_trouble(ANN, b"a", "refused")
    await journal.accept([], (ANN,), [sealed(b"a", 3_600_999)])
    assert (await journal.sealed(ANN)).received_ms == 1_000
    await journal.accept([], (ANN,), [sealed(b"a", 3_601_000)])
    kept = await journal.sealed(ANN)
    assert (kept.received_ms, kept.trouble) == (3_601_000, "refused")


async def test_other_settings_release_what_was_refused_and_nothing_else(journal, make_entry):
    reasons = {
        "m1": (ANN, WaitReason(REFUSED, "status_401")),
        "m2": (ANN, WaitReason(RETRY, "refused: busy")),
        "m3": ("loyalty/8", WaitReason(REFUSED, "no")),
    }
    for name, (connection, reason) in reasons.items():
        await journal.accept([make_entry(name, user=name)], (connection,), [sealed(b"a", connection=connection)])
        (lane,) = await claim(journal, connection)
        await journal.settle(settle(lane, release=True, due_ms=99_000, reason=reason))
    await journal.accept([], (ANN,), [sealed(b"a")])
    assert await journal.due("loyalty", 10_000) == []
    await journal.accept([], (ANN,), [sealed(b"b")])
    assert await journal.due("loyalty", 10_000) == [(ANN, b"b")]
    (lane,) = await claim(journal, ANN)
    assert [item.message for item in lane.items] == ["m1"]


async def test_what_is_due_is_told_by_account(journal, make_entry):
    names = ("loyalty", "loyalty/8", ANN, "loyalty_two", "loyalty_two/7", "loyalt", "loyal/7")
    for number, name in enumerate(names):
        await journal.accept(
            [make_entry(name, user=str(number))], (name,), [sealed(b"a", connection=name)][: number % 2]
        )
    assert await journal.due("loyalty", 10_000) == [("loyalty", None), (ANN, None), ("loyalty/8", b"a")]
    assert await journal.due("loyalty_two", 10_000) == [("loyalty_two", b"a"), ("loyalty_two/7", None)]
    await claim(journal, ANN)
    assert await journal.due("loyalty", 10_000) == [("loyalty", None), ("loyalty/8", b"a")]
    assert await journal.due("loyalty", 500) == []
    assert await journal.due("none", 10_000) == []


async def test_settings_are_sealed_anew_only_where_they_are_still_the_same(journal):
    await journal.accept([], (ANN,), [sealed(b"a")])
    anew = msgspec.structs.replace(sealed(b"a2"), sealed=b"anew")
    await journal.reseal(b"z", anew)
    assert await journal.sealed(ANN) == sealed(b"a")
    await journal.reseal(b"a", anew)
    assert await journal.sealed(ANN) == anew


async def test_settings_of_a_customer_who_left_are_forgotten(journal, make_entry):
    await journal.accept([make_entry("m1")], (ANN,), [sealed(b"a"), sealed(b"b", connection="loyalty/8")])
    await journal.prune(before_ms=1_001, dead_before_ms=0, after_seq=0, limit=9)
    assert [one.connection for one in await journal.all_sealed()] == [ANN]
    (lane,) = await claim(journal, ANN)
    await journal.settle(finish(lane, *lane.items, release=True))
    await journal.prune(before_ms=1_001, dead_before_ms=0, after_seq=0, limit=9)
    assert await journal.all_sealed() == []
