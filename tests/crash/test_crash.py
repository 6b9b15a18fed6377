"""The harness itself: it finds what it is there to find, draws the same schedule twice, and passes every failpoint."""

import json
from contextlib import closing

import pytest
from crash.checks import balanced, disordered, leaked, repeated
from crash.engines import Sqlite
from crash.failpoints import POINTS, Fuse
from crash.gateways import Nursery
from crash.running import run
from crash.schedules import draw, points
from crash.vendors import Credentials, Sent

BUGS = {
    "answers_before_storing": ("accept.before_commit", "was never"),
    "records_at_the_end_only": ("settle.before_commit", "the order of user"),
    "counts_twice": ("claimed", "received, but"),
    "logs_credentials": ("claimed", "a secret was found"),
    "forgets_the_order": ("claimed", "the order of user"),
    "swallows_other_content": ("answer.after", "has 0 words"),
    "fails_as_a_group": ("answer.after", "was answered 400"),
}
"""Where each begins to show, and as what."""
TRIES = 12  # of ten schedules, six to ten show it


def test_a_schedule_drawn_again_is_the_same(engine):
    assert draw(engine, 6, 17) == draw(engine, 6, 17) != draw(engine, 7, 17)


def test_as_many_schedules_as_there_are_points_begin_with_each(engine):
    names = points(engine)
    assert [draw(engine, 6, number).crashes[0][0] for number in range(len(names))] == names


def test_a_fuse_burns_at_the_nth_pass_and_then_goes_on_to_the_next_crash(tmp_path):
    fuse = Fuse(tmp_path, [("claimed", 2), ("answer.before", 1)])
    assert [fuse.burns(point) for point in ("answer.before", "claimed", "send.after", "claimed")] == [
        False,
        False,
        False,
        True,
    ]
    fuse.write("claimed", "dispatch", 1)
    later = Fuse(tmp_path, fuse.crashes)
    for one in (fuse, later):
        assert (one.burns("claimed"), one.burns("answer.before")) == (False, True)
    fuse.write("answer.before", "ingest", 2)
    assert [fuse.burns(point) for point in POINTS] == [False] * len(POINTS)


def test_what_is_out_of_balance_or_goes_back_is_seen():
    fine = {"email": (5, 2, 1, 1, 1)}
    assert list(balanced({}, fine)) == []
    assert list(balanced(fine, {"email": (6, 2, 1, 1, 1)})) == ["email: 6 received, but 2 + 1 + 1 and 1 in flight"]
    assert list(balanced(fine, {"email": (5, 1, 1, 1, 2)})) == [
        "email: counts went back from (5, 2, 1, 1, 1) to (5, 1, 1, 1, 2)"
    ]


def test_an_id_used_for_other_content_is_posted_again_and_expected_under_another():
    messages = [message for number in range(20) for message in draw("sqlite", 6, number).messages]
    again = [message for message in messages if json.loads(message.body)["id"] != message.id]
    assert len(again) > 10
    assert all(message.id.startswith(json.loads(message.body)["id"] + ".") for message in again)


def sent(*keys, well=True):
    return [Sent(int(key[1]), key, well) for key in keys]


def test_a_lane_out_of_order_is_seen_and_another_lanes_events_in_between_are_not():
    assert list(disordered("email", sent("k1-00-0", "k2-00-0", "k1-00-0", "k1-00-1", "k2-01-0"))) == []
    assert list(disordered("email", sent("k1-00-1", "k1-00-0"))) == [
        "email: the order of user 1 was broken: k1-00-1 k1-00-0"
    ]


def test_only_what_was_answered_well_counts_as_sent_again():
    again = sent("k1-00-0", "k1-00-0", "k1-00-0")
    assert repeated([*sent("k1-00-0", "k2-00-0", well=False), *again]) == {1: 2}
    assert repeated([*again, *sent("k1-00-0", well=False), *again]) == {1: 5}


def test_secrets_are_found_in_any_piece_and_users_in_the_log():
    given = Credentials()
    secrets = given.secrets()
    assert list(leaked(secrets, [b"nothing", b"here"], b"nor here")) == []
    assert list(leaked(secrets, [b"", b"x" + given.secret.encode()], b"")) == [f"a secret was found: {given.secret!r}"]
    assert list(leaked(secrets, [b"u7@example.com"], b"u7@example.com")) == [
        "something of a user's is in the log: '@example.com'"
    ]


def first_with(point, *, seed=1):
    """The first schedule whose first crash is at a point."""
    return draw("sqlite", seed, points("sqlite").index(point))


@pytest.fixture
def nursery(request):
    with closing(Nursery(getattr(request, "param", None))) as made:
        yield made


def test_a_schedule_from_beginning_to_end(nursery, tmp_path):
    result = run(first_with("vendor.everything"), Sqlite(), nursery, tmp_path)
    assert (result.problems, result.crashed[:1]) == ([], ["vendor.everything"])
    assert result.looks > 0


@pytest.mark.crash
@pytest.mark.parametrize("nursery", BUGS, indirect=True)
def test_a_planted_bug_is_found(nursery, tmp_path, request):
    point, problem = BUGS[request.node.callspec.params["nursery"]]
    names, found = points("sqlite"), []
    for number in range(names.index(point), TRIES * len(names), len(names)):
        directory = tmp_path / str(number)
        directory.mkdir()
        found += run(draw("sqlite", 1, number), Sqlite(), nursery, directory, most_s=5).problems
        if any(problem in line for line in found):
            return
    pytest.fail(f"not found: {problem}; only {found}")
