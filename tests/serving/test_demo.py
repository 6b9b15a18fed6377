"""The demo: it says that all is well only where all that had to arrive did."""

import subprocess
import sys
from dataclasses import replace

import pytest

from gateway.cli import demo
from gateway.cli.demo import StepResult
from gateway.demo.story import STORY, email, loyalty

JOINED = STORY[1]
TAKEN = {"method": "POST", "path": "/priv/v1/apps/KEY/users", "body": {"user": {"external_id": "7"}}, "status": 200}
CREATED = loyalty("POST", "users", "created", ("user/external_id", "7"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A demo that was run to its end, in a directory that was kept."""
    keep = tmp_path_factory.mktemp("demo") / "kept"
    command = [sys.executable, "-m", "gateway", "demo", "--keep", str(keep)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done, keep


def test_every_expected_call_is_seen_at_both_fakes(finished):
    done, _ = finished
    expected = sum(len(step.arrivals) for step in STORY)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{expected} of {expected} expected calls arrived." in done.stdout


def test_it_shows_progress_step_by_step(finished):
    done, _ = finished
    shown = [line for line in done.stdout.splitlines() if line.startswith("mParticle: ")]
    assert [line.partition(" ...")[0].removeprefix("mParticle: ") for line in shown] == [step.title for step in STORY]


def test_what_was_kept_explains_itself(finished):
    _, keep = finished
    command = [sys.executable, "-m", "gateway", "explain", "-c", str(keep / "gateway.toml"), "7346244611012968789"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "delivered" in done.stdout) == (0, True)


def test_a_directory_with_an_earlier_run_is_refused(finished):
    _, keep = finished
    command = [sys.executable, "-m", "gateway", "demo", "--keep", str(keep)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "holds the journal of an earlier run" in done.stderr


@pytest.mark.parametrize(
    ("entries", "good"),
    [
        ([TAKEN], True),
        ([], False),
        ([TAKEN, TAKEN], False),
        ([TAKEN, {**TAKEN, "method": "GET"}], True),
        ([{**TAKEN, "body": {"user": {"external_id": "8"}}}], False),
        ([{**TAKEN, "path": "/priv/v1/apps/KEY/users/7"}], False),
    ],
    ids=["arrived", "missing", "twice", "with a look", "somebody else", "elsewhere"],
)
def test_a_step_is_good_only_where_just_what_had_to_arrive_did(entries, good):
    told = StepResult(replace(JOINED, arrivals=(CREATED,)), JOINED.status, 0.0)
    demo._compare(told, "loyalty", entries)
    assert told.is_good is good


def test_a_wrong_answer_is_no_good_step():
    assert StepResult(replace(JOINED, arrivals=()), 503, 0.0).is_good is False


def test_an_arrival_at_one_partner_is_none_at_the_other():
    told = StepResult(replace(JOINED, arrivals=(email("POST", "users", "created"),)), JOINED.status, 0.0)
    demo._compare(told, "loyalty", [])
    assert (told.missing, told.is_good) == ([], True)


@pytest.mark.parametrize(
    ("totals", "adds_up"),
    [
        ({"loyalty": {"received": 3, "delivered": 2, "dead": 1}, "email": {"received": 1, "skipped": 1}}, True),
        ({"loyalty": {"received": 3, "delivered": 2}, "email": {"received": 1, "skipped": 1}}, False),
        ({"loyalty": {"received": 2, "delivered": 2}}, False),
    ],
)
def test_totals_add_up_only_where_every_fact_has_its_word(totals, adds_up):
    assert demo._adds_up(totals) is adds_up
