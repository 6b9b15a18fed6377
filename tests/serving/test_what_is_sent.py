"""What is sent, end to end: posted in both dialects, and told alike by the plugin, the ledger and the preview."""

import json
import os
from contextlib import ExitStack

import pytest
from click.testing import CliRunner
from support import witness
from support.cases import CASES

from gateway.cli import main
from gateway.testing import FakeVendor, running
from gateway.testing.vendor import Answer

CONFIG = """
[ingress]
bind = "127.0.0.1:0"
authorization = ["Token test"]
[journal]
url = "sqlite:///{directory}/gateway.db"
"""
CONNECTION = """
[connections.{name}]
plugin = "{plugin}"
settings = {{ url = "{url}", name = "{name}" }}
{config}
"""
DIALECTS = ("firehose", "events")


class Partner(FakeVendor):
    """Takes everything. ``told`` is what each connection was sent, in order."""

    def __init__(self):
        super().__init__()
        self.told = {}

    def answer(self, request):
        self.told.setdefault(request.path.strip("/"), []).append(json.loads(request.body))
        return Answer(status=204)


def posts(dialect):
    """The messages of all cases that the dialect can say: connection, id, document."""
    for number, case in enumerate(CASES):
        id = f"m-{number}-{dialect}"
        if dialect == "firehose":
            yield f"case{number}", id, case.said.firehose(id)
        elif case.said.is_of_events:
            yield f"case{number}", id, case.said.batch(id)


def run(*words):
    done = CliRunner().invoke(main, list(words))
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def setting(cause, name):
    return cause.removeprefix(f"connections.{name}.").replace("filter.new_data_points", "all")


def line(fact, told, name):
    """What is said of something that is not sent, as the cases say it."""
    more = f" +{told['more']}" if told.get("more") else ""
    what = f"- {' '.join(told['names'])}{more}" if told.get("names") else told["reason"]
    return f"{fact} {what} {setting(told['cause'], name)}"


def ledger(row, name):
    """What the ledger tells of all that was not sent."""
    for fact in row["facts"]:
        assert fact["word"] in ("delivered", "skipped"), fact
        if fact["word"] == "skipped":
            yield line(fact["fact"], {"reason": fact["reason"], "cause": fact["cause"]}, name)
        yield from (line(fact["fact"], off, name) for off in fact["kept_back"])


@pytest.fixture
def engine():
    return "sqlite"


@pytest.fixture(scope="module")
def standing(tmp_path_factory):
    """Where the gateway for all cases is kept, and what became of everything that was posted to it."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        directory = tmp_path_factory.mktemp("witnesses")
        witness.install(directory)
        patch.syspath_prepend(directory)
        patch.setenv("PYTHONPATH", os.pathsep.join((str(directory), os.environ.get("PYTHONPATH", ""))))
        yield {"directory": directory, "stack": stack}


@pytest.fixture
def served(standing, gateway):
    """All cases, posted: what each connection was asked, by dialect and connection."""
    if "asked" not in standing:
        partner = Partner()
        url = standing["stack"].enter_context(running(partner))
        made = type(gateway)(standing["directory"], url)
        connections = (
            CONNECTION.format(name=f"case{number}", plugin=case.plugin, url=url, config=case.config).replace(
                "connections.NAME", f"connections.case{number}"
            )
            for number, case in enumerate(CASES)
        )
        made.config.write_text(CONFIG.format(directory=standing["directory"]) + "".join(connections))
        made.role = "all"
        made.start_as_it_is()
        standing["stack"].callback(made.kill_all)
        standing["asked"] = {dialect: serve(made, partner, dialect) for dialect in DIALECTS}
        standing["config"] = str(made.config)
    return standing


def serve(gateway, partner, dialect):
    """Post what a dialect can say, and wait for the end of it."""
    partner.told = {}
    before = gateway.facts()
    for name, _, document in posts(dialect):
        status, answer = gateway.post(document, path=f"/mparticle/{name}")
        assert status in (200, 202), answer

    def is_done():
        now = gateway.facts()
        names = [name for name, *_ in posts(dialect)]
        received = all(now.get((name, "received"), 0) > before.get((name, "received"), 0) for name in names)
        return received and all(now.get((name, "in_flight")) == 0 for name in names)

    gateway.wait(is_done, seconds=60)
    return partner.told


def test_there_are_enough_cases_and_no_two_are_the_same():
    assert len({(case.said, case.config, case.plugin) for case in map(hashable, CASES)}) == len(CASES) >= 60


def hashable(case):
    return type(case)(case.name, repr(case.said), case.config, case.asked, case.told, case.plugin)


@pytest.mark.parametrize(
    ("dialect", "name"),
    [
        pytest.param(dialect, name, id=f"{CASES[int(name.removeprefix('case'))].name}-{dialect}")
        for dialect in DIALECTS
        for name, *_ in posts(dialect)
    ],
)
def test_exactly_that_is_sent_and_the_rest_is_explained(served, tmp_path, name, dialect):
    case = CASES[int(name.removeprefix("case"))]
    ((id, document),) = [(id, document) for one, id, document in posts(dialect) if one == name]
    assert sorted(served["asked"][dialect].get(name, [])) == sorted(case.asked)

    (row,) = run("explain", id, "-c", served["config"], "--json")
    assert sorted(ledger(row, name)) == sorted(case.told)

    file = tmp_path / "message.json"
    file.write_text(json.dumps(document))
    shown = run("preview", str(file), "-c", served["config"], "--connection", name, "--json")
    assert sorted(one["json"] for one in shown if one["kind"] == "call") == sorted(case.asked)
    assert sorted(line(one["what"], one, name) for one in shown if one["kind"] != "call") == sorted(case.told)
