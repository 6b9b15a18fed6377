"""Work of users who asked to be forgotten: known for such when it is claimed, in whatever lane it waits."""

from functools import partial

import pytest
from support.journal_words import BOTH, claim, finish, ref, settle

from gateway.journal.types import ErasedBatch, Memo, Outcome, Receipt, Tombstone, hash_lane
from gateway.journal.wait_reasons import RETRY, WaitReason

pytestmark = pytest.mark.anyio

NOTHING = Receipt(documents=0, memories=0, touched=())


@pytest.fixture
def make_entry(make_entry, journal):
    """Entries whose ids are hashed as the journal itself hashes names."""
    return partial(make_entry, salt=journal.salt)


def lane_of(journal, user):
    """The hash of the user whose lane it is."""
    return hash_lane(user, journal.salt)


async def found(journal, id):
    """The one batch of an id."""
    (batch,) = await journal.find([ref(id, journal.salt)])
    return batch


async def finish_all(journal, connection="loyalty", **fields):
    for lane in await claim(journal, connection):
        await journal.settle(finish(lane, *lane.items, release=True, **fields))


async def test_what_waits_before_an_erasure_is_known_not_to_be_sent(journal, make_entry):
    for name, erases in (("m1", False), ("m2", True), ("m3", False)):
        await journal.accept([make_entry(name, erases=erases)], BOTH)
    (lane,) = await claim(journal)
    assert [(item.message, item.seq <= lane.erased_seq) for item in lane.items] == [
        ("m1", True),
        ("m2", True),
        ("m3", False),
    ]


async def test_an_erasure_concerns_its_own_lane_and_connection_alone(journal, make_entry):
    await journal.accept([make_entry("m1", user="ann"), make_entry("m2", user="bob")], BOTH)
    await journal.accept([make_entry("m3", user="ann", erases=True, scope="email")], BOTH)
    lanes = {(lane.connection, lane.user): lane for name in BOTH for lane in await claim(journal, name)}
    erasure = lanes["email", lane_of(journal, "ann")].items[-1]
    assert {key: lane.erased_seq for key, lane in lanes.items()} == {
        ("loyalty", lane_of(journal, "ann")): 0,
        ("loyalty", lane_of(journal, "bob")): 0,
        ("email", lane_of(journal, "ann")): erasure.seq,
        ("email", lane_of(journal, "bob")): 0,
    }


async def test_an_erasure_does_not_wait_for_what_will_not_be_sent(journal, make_entry):
    await journal.accept([make_entry("m1")], BOTH)
    (lane,) = await claim(journal)
    await journal.settle(settle(lane, release=True, due_ms=999_999, reason=WaitReason(RETRY, "timeout")))
    assert await claim(journal) == []
    await journal.accept([make_entry("m2", erases=True)], BOTH)
    (lane,) = await claim(journal)
    assert [item.message for item in lane.items] == ["m1", "m2"]


async def test_a_repeated_erasure_changes_nothing(journal, make_entry):
    await journal.accept([make_entry("m1", erases=True)], BOTH)
    (lane,) = await claim(journal)
    await journal.settle(finish(lane, *lane.items, release=True))
    await journal.accept([make_entry("m2")], BOTH)
    await journal.accept([make_entry("m1", erases=True)], BOTH)
    (lane,) = await claim(journal)
    assert (lane.items[0].message, lane.erased_seq) == ("m2", 0)


async def test_once_a_user_is_erased_what_arrived_meanwhile_is_claimed_as_it_is(journal, make_entry):
    await journal.accept([make_entry("m1", erases=True)], BOTH)
    (lane,) = await claim(journal)
    await journal.accept([make_entry("m2")], BOTH)
    await journal.settle(finish(lane, *lane.items, is_wish=True, release=True))
    (lane,) = await claim(journal)
    assert [(item.message, item.seq <= lane.erased_seq) for item in lane.items] == [("m2", False)]


async def test_an_erasure_waits_for_the_users_other_lanes_whose_work_is_not_sent(journal, make_entry):
    await journal.accept([make_entry("m1", user="mpid:7", refs=["email:ann@example.com"])], BOTH)
    await journal.accept([make_entry("m2", user="mpid:8", refs=["email:bob@example.com"])], BOTH)
    await journal.accept([make_entry("m3", user="email:ann@example.com", refs=["m3"], erases=True)], BOTH)
    seq = (await found(journal, "m3")).seq
    assert await journal.erase("loyalty", ["email:ann@example.com"], everywhere=True, seq=seq) is False
    lanes = {lane.user: lane for lane in await claim(journal)}
    assert {user: lane.erased_seq for user, lane in lanes.items()} == {
        lane_of(journal, "mpid:7"): seq - 1,
        lane_of(journal, "mpid:8"): 0,
        lane_of(journal, "email:ann@example.com"): seq,
    }
    ann = lanes[lane_of(journal, "mpid:7")]
    await journal.settle(finish(ann, *ann.items, release=True))
    assert await journal.erase("loyalty", ["email:ann@example.com"], everywhere=True, seq=seq) is True


async def test_an_erasure_does_not_wait_for_what_the_user_did_later(journal, make_entry):
    await journal.accept([make_entry("m1", user="a", refs=["m1"], erases=True)], BOTH)
    seq = (await found(journal, "m1")).seq
    await journal.accept([make_entry("m2", user="b", refs=["email:ann@example.com"])], BOTH)
    assert await journal.erase("loyalty", ["email:ann@example.com"], everywhere=True, seq=seq) is True
    assert {lane.erased_seq for lane in await claim(journal) if lane.user == lane_of(journal, "b")} == {0}


async def test_lanes_can_be_named_themselves(journal, make_entry):
    await journal.accept([make_entry("m1", user="mpid:7"), make_entry("m2", user="mpid:8")], BOTH)
    await journal.accept([make_entry("m3", user="email:ann@example.com", refs=["m3"], erases=True)], BOTH)
    seq = (await found(journal, "m3")).seq
    assert await journal.erase("loyalty", ["mpid:7", "mpid:9"], everywhere=False, seq=seq) is False
    lanes = {lane.user: lane.erased_seq for lane in await claim(journal)}
    assert (lanes[lane_of(journal, "mpid:7")], lanes[lane_of(journal, "mpid:8")]) == (seq - 1, 0)
    assert await journal.erase("loyalty", ["mpid:9"], everywhere=False, seq=seq) is True


async def test_what_was_kept_of_a_user_is_removed_with_the_erasure_and_a_receipt_tells_of_it(journal, make_entry):
    await journal.accept([make_entry("m1", user="mpid:7", refs=["m1", "email:ann@example.com"])], BOTH)
    await journal.accept([make_entry("m2", user="mpid:7", refs=["m2", "email:ann@example.com"])], BOTH)
    await journal.accept([make_entry("m3", user="mpid:8", refs=["m3", "email:bob@example.com"])], BOTH)
    await finish_all(journal)
    for lane in await claim(journal, "email", items=1):
        await journal.settle(finish(lane, *lane.items, release=True))
    await journal.accept([make_entry("m4", user="email:ann@example.com", refs=["m4"], erases=True)], BOTH)
    seq = (await found(journal, "m4")).seq
    assert await journal.erase("loyalty", ["email:ann@example.com"], everywhere=True, seq=seq) is True
    assert [(await found(journal, f"m{n}")).body for n in (1, 2, 3)] == [b"", b"m2", b"m3"]  # email has yet to send m2
    (_, receipt) = [sighting.receipt for sighting in (await found(journal, "m4")).sightings]
    touched = (
        ErasedBatch(message="m1", part=0, withheld=False, removed=True),
        ErasedBatch(message="m2", part=0, withheld=False, removed=False),
    )
    assert receipt == Receipt(documents=1, memories=0, touched=touched)
    assert await journal.erase("email", ["email:ann@example.com"], everywhere=True, seq=seq) is False
    (lane,) = [lane for lane in await claim(journal, "email") if lane.user == lane_of(journal, "mpid:7")]
    withheld = (Outcome("identities", "skipped", "erased"),)
    await journal.settle(finish(lane, *lane.items, outcomes=withheld, release=True))
    assert await journal.erase("email", ["email:ann@example.com"], everywhere=True, seq=seq) is True
    assert [(await found(journal, f"m{n}")).body for n in (1, 2, 3)] == [b"", b"", b"m3"]
    receipt = (await found(journal, "m4")).sightings[0].receipt
    assert [(one.message, one.withheld, one.removed) for one in receipt.touched] == [
        ("m1", False, True),
        ("m2", True, True),
    ]
    first = (await found(journal, "m4")).sightings[1].receipt
    assert (first.documents, [one.removed for one in first.touched]) == (1, [True, True])


async def test_an_erasure_looked_at_again_keeps_its_receipt(journal, make_entry):
    await journal.accept([make_entry("m1", user="mpid:7", refs=["m1", "mpid:7"])], ("loyalty",))
    await finish_all(journal)
    await journal.accept([make_entry("m2", user="mpid:7", refs=["m2", "mpid:7"], erases=True)], ("loyalty",))
    seq = (await found(journal, "m2")).seq
    for _ in range(2):
        assert await journal.erase("loyalty", ["mpid:7"], everywhere=False, seq=seq) is True
        assert (await found(journal, "m2")).sightings[0].receipt.documents == 1


async def test_documents_of_others_who_share_an_address_or_of_other_connections_stay(journal, make_entry):
    await journal.accept([make_entry("m1", user="mpid:8", refs=["m1", "email:ann@example.com"])], ("loyalty",))
    await journal.accept([make_entry("m2", user="email:ann@example.com", refs=["email:ann@example.com"])], ("email",))
    await finish_all(journal)
    await finish_all(journal, "email")
    await journal.accept([make_entry("m3", user="mpid:7", refs=["m3"], erases=True)], ("loyalty",))
    seq = (await found(journal, "m3")).seq
    names = ["mpid:7", "email:ann@example.com"]
    assert await journal.erase("loyalty", names, everywhere=False, seq=seq) is True
    assert [one.body for one in await journal.find([ref("email:ann@example.com", journal.salt)])] == [b"m1", b"m2"]
    assert (await found(journal, "m3")).sightings[0].receipt == NOTHING


async def test_what_a_plugin_remembered_is_forgotten_in_all_the_users_lanes_and_nobody_elses(journal, make_entry):
    users = ("mpid:7", "email:ann@example.com", "mpid:8")
    for connection in BOTH:
        for name in users:
            await journal.accept([make_entry(f"{connection}-{name}", user=name, refs=[name])], (connection,))
        for lane in await claim(journal, connection):
            memos = (Memo(key="seen", value=1), Memo(key="list", value="Gold", shared=True))
            await journal.settle(finish(lane, *lane.items, memos=memos, release=True))
    await journal.accept([make_entry("wish", user="mpid:7", refs=["wish"], erases=True)], BOTH)
    seq = (await found(journal, "wish")).seq
    names = ["mpid:7", "email:ann@example.com"]
    assert await journal.erase("loyalty", names, everywhere=False, seq=seq)
    (lane,) = await claim(journal)
    await journal.settle(finish(lane, *lane.items, is_wish=True, memos=(Memo(key="gone", value=2),), release=True))
    for name in users:
        await journal.accept([make_entry(f"later-{name}", user=name)], BOTH)
    kept = {name: {lane.user: lane.memory for lane in await claim(journal, name)} for name in BOTH}
    assert kept["loyalty"] == {
        lane_of(journal, "mpid:7"): {"gone": 2},
        lane_of(journal, users[1]): {},
        lane_of(journal, "mpid:8"): {"seen": 1},
    }
    assert set(map(str, kept["email"].values())) == {"{'seen': 1}"}
    assert await journal.shared_memory("loyalty") == {"list": "Gold"}
    assert (await found(journal, "wish")).sightings[0].receipt.memories == 2


async def test_a_wish_is_known_on_its_connections_and_reaches_as_far_as_the_latest(journal, make_entry):
    name, other = ref("mpid:7", journal.salt), ref("mpid:8", journal.salt)
    await journal.accept([make_entry("m1", user="mpid:7", wishes=["mpid:7"])], BOTH)
    await journal.accept([make_entry("m2", user="mpid:8", wishes=["mpid:8"], scope="email")], BOTH)
    known = Tombstone(before_ms=5_000, is_under_way=True)
    assert [await journal.tombstone(each, [other, name]) for each in (*BOTH, "none")] == [known, known, None]
    assert [await journal.tombstone(each, [other]) for each in BOTH] == [None, known]
    assert {lane.wishes for lane in await claim(journal)} == {True}
    await finish_all(journal, "email")
    await journal.prune(before_ms=0, dead_before_ms=1_000, after_seq=0, limit=9)
    assert await journal.tombstone("email", [other]) == Tombstone(before_ms=5_000, is_under_way=False)
    await journal.prune(before_ms=0, dead_before_ms=1_001, after_seq=0, limit=9)
    assert await journal.tombstone("email", [other]) is None


async def test_an_erasure_is_under_way_until_the_newest_one_of_any_of_the_names_is_finished(journal, make_entry):
    names = [ref(name, journal.salt) for name in ("email:ann@example.com", "mpid:7")]
    for number, user in enumerate(("ann", "bob")):
        asked = make_entry(f"m{number}", user=user, wishes=["email:ann@example.com"], scope="loyalty")
        await journal.accept([asked], BOTH)
    for is_under_way in (True, False):
        (lane,) = await claim(journal, lanes=1)
        await journal.settle(finish(lane, *lane.items, is_wish=True, release=True))
        assert await journal.tombstone("loyalty", names) == Tombstone(before_ms=5_000, is_under_way=is_under_way)
        assert await journal.tombstone("loyalty", names[1:]) is None


async def test_erasures_are_listed_the_newest_ones_last(journal, make_entry):
    await journal.accept([make_entry("m1", user="ann", refs=["m1"], wishes=["mpid:7"])], BOTH)
    await journal.accept([make_entry("m2", user="ann")], BOTH)
    await journal.accept([make_entry("m3", user="bob", refs=["m3"], erases=True)], BOTH)
    nameless = await found(journal, "m3")
    assert await journal.erase("loyalty", [], everywhere=True, seq=nameless.seq)
    listed = await journal.erasures(limit=9)
    assert [one.message for one in listed] == ["m1", "m3"]
    assert [one.message for one in await journal.erasures(limit=1)] == ["m3"]
    assert [one.connection for one in listed[0].sightings] == sorted(BOTH)


async def test_whose_document_is_not_to_be_kept_has_it_removed_with_the_last_connection(journal, make_entry):
    await journal.accept([make_entry("m1", refs=["m1"])], BOTH)
    await finish_all(journal, "loyalty", unkept=True)
    assert (await found(journal, "m1")).body == b"m1"
    await finish_all(journal, "email", unkept=True)
    assert (await found(journal, "m1")).body == b""
