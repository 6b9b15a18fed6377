"""Fuzzing: a short run has no problem, and what is planted is found."""

import sqlite3

import pytest
from fuzz import targets
from fuzz.__main__ import TARGETS, Tally, chunks, report
from fuzz.targets import try_one
from hypercorn.protocol.h11 import H11Protocol

from gateway.ingest import endpoint
from gateway.ingest.protocol import EndpointProtocol
from gateway.journal.sqlite import file, journal
from gateway_sailthru import replies


@pytest.fixture
def trying(tmp_path, request):
    """Try inputs of a target: gives the problem of each that has one, at most one problem."""
    opened = []

    def try_inputs(name, inputs):
        target = TARGETS[name](tmp_path / str(len(opened)))
        opened.append(target)
        problems = (problem for number in range(inputs) for _, problem in [try_one(target, 1, number)] if problem)
        return next(problems, None)

    yield try_inputs
    for target in opened:
        target.close()


@pytest.mark.parametrize(
    ("name", "inputs"), [("bodies", 150), ("replies", 500), ("heads", 300), ("wires", 100), ("journals", 60)]
)
def test_a_short_run_has_no_problem(trying, name, inputs):
    assert trying(name, inputs) is None


def raises_for_large_numbers(monkeypatch):
    read = endpoint.read_entries

    def read_badly(body, *more):
        if b"9" * 40 in body:
            raise RuntimeError("planted")
        return read(body, *more)

    monkeypatch.setattr(endpoint, "read_entries", read_badly)


def loops_over_brackets(monkeypatch):
    read = endpoint.read_entries

    def read_for_ever(body, *more):
        while b"[[" in body:
            pass
        return read(body, *more)

    monkeypatch.setattr(targets, "HANG_S", 0.5)
    monkeypatch.setattr(endpoint, "read_entries", read_for_ever)


def trusts_the_error_code(monkeypatch):
    monkeypatch.setattr(replies, "_read_code", lambda body: int(body.get("error", 0)))


def answers_head_with_a_body(monkeypatch):
    async def forget(self, request):
        self._is_head = False
        if request.http_version not in (b"1.0", b"1.1"):
            await self._send_error_response(505)
        else:
            await H11Protocol._create_stream(self, request)

    monkeypatch.setattr(EndpointProtocol, "_create_stream", forget)


def forgets_bytes_that_are_no_text(monkeypatch):
    for module in (file, journal):
        monkeypatch.setattr(module, "STORAGE_ERRORS", (sqlite3.Error,))


def finds_nothing(monkeypatch):
    async def find(*_, **__):
        return []

    monkeypatch.setattr(journal.SqliteJournal, "find", find)


@pytest.mark.parametrize(
    ("name", "plant", "inputs", "problem"),
    [
        ("bodies", raises_for_large_numbers, 2_000, "the answer is 503"),
        ("bodies", loops_over_brackets, 2_000, "it took more than 0.5 seconds"),
        ("replies", trusts_the_error_code, 2_000, "on_reply: "),
        ("heads", answers_head_with_a_body, 2_000, "the server did not handle LocalProtocolError"),
        ("journals", forgets_bytes_that_are_no_text, 1_000, "UnicodeDecodeError"),
        ("journals", finds_nothing, 10, "a good entry is not found"),
    ],
)
def test_what_is_planted_is_found(trying, monkeypatch, name, plant, inputs, problem):
    plant(monkeypatch)
    found = trying(name, inputs)
    assert found is not None
    assert problem in found


def test_inputs_are_the_same_for_the_same_seed():
    first, again, other = (targets.random_of(seed, "bodies", 5).random() for seed in (1, 1, 2))
    assert first == again != other


def test_every_input_is_shared_out_once():
    planned = list(chunks(2_000, list(TARGETS)))
    numbers = {name: [n for target, chunk in planned if target == name for n in chunk] for name in TARGETS}
    assert {name: len(of) for name, of in numbers.items()} == {
        "bodies": 1_000,
        "replies": 800,
        "heads": 120,
        "wires": 60,
        "journals": 20,
    }
    assert all(sorted(of) == list(range(len(of))) for of in numbers.values())


def test_a_report_says_how_to_repeat_a_problem():
    tally = Tally()
    tally.outcomes.update({"200": 4, "": 1})
    tally.problems[3] = "the answer is 503"
    assert report({"bodies": tally}, 7, 1.0).splitlines() == [
        "seed 7: 5 inputs, 1 problems, 1 s",
        "",
        "| target | inputs | problems | most frequent outcomes |",
        "| --- | ---: | ---: | --- |",
        "| bodies | 5 | 1 | 200 4, closed 1 |",
        "",
        "bodies 3: the answer is 503",
        "  again: nox -s fuzz -- --seed 7 --target bodies --only 3",
    ]
