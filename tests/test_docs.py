"""The documentation is true: what is made from the code is as the code is, and what it shows runs."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest
from written import PAGES, written

from gateway import sdk
from gateway.admin import metrics
from gateway.journal.backlog import Backlog
from gateway.testing import custom_event

ROOT = Path(__file__).parent.parent
DOCS = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *ROOT.glob("plugins/*/README.md"),
]


def blocks(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_parts_made_from_the_code_are_up_to_date(page):
    assert page.read_text() == written(page.read_text()), "run: python tests/written.py"


@pytest.mark.process
def test_the_smallest_plugin_works_as_the_guide_tests_it(tmp_path):
    module, _, test = blocks(ROOT / "docs" / "plugins.md", "python")
    (tmp_path / "gateway_postcards.py").write_text(module)
    (tmp_path / "test_postcards.py").write_text(test)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path / "test_postcards.py")],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 passed" in done.stdout, done.stdout


def test_kinds_of_events_are_told_apart_as_the_guide_does_it():
    shown = {}
    exec(blocks(ROOT / "docs" / "plugins.md", "python")[1], shown)
    assert shown["describe"](custom_event("Signup", attributes={"plan": "gold"})) == {"name": "Signup", "plan": "gold"}
    bought = sdk.ProductAction(id="e-1", type="commerce_event", action="purchase", products=(sdk.Product(id="p-1"),))
    assert shown["describe"](bought) == {"name": "purchase", "total": None, "items": ["p-1"]}
    assert shown["describe"](msgspec.structs.replace(bought, action="refund")) == sdk.Skip(
        reason="unsupported_event_type"
    )


def told_fields(text):
    """Every class that a page's tables tell the fields of: its name, its fields, their defaults if these are told.

    A class has a table headed ``field of`` it, or a row in one headed ``class``.
    """
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        head, _, *rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()]
        if head[0] == "class":
            yield from ((row[0].strip("`"), re.findall(r"\w+", row[1]), None) for row in rows)
        elif found := re.fullmatch(r"field of `(\w+)`", head[0]):
            names = [name for row in rows for name in re.findall(r"\w+", row[0])]
            yield found[1], names, [row[1] for row in rows] if head[1] == "default" else None


def default(field):
    """The default of a field of a struct as the tables show it."""
    if field.required:
        return "required"
    if field.default is msgspec.NODEFAULT:
        return f"`{field.default_factory()!r}`"
    is_struct = isinstance(field.default, msgspec.Struct)
    return f"`{type(field.default).__name__}()`" if is_struct else f"`{field.default!r}`".replace("'", '"')


def test_the_plugin_guide_has_every_field_of_every_class_that_a_plugin_meets():
    told = list(told_fields((ROOT / "docs" / "plugins.md").read_text()))
    kinds = {
        name: kind for name, kind in vars(sdk).items() if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    }
    assert sorted(name for name, *_ in told) == sorted(kinds)
    for name, names, defaults in told:
        inherited = getattr(kinds[name].__base__, "__struct_fields__", ())
        own = [field for field in msgspec.structs.fields(kinds[name]) if field.name not in inherited]
        assert names == [field.name for field in own], name
        assert defaults in (None, [default(field) for field in own]), name


def run(directory, script):
    bin = Path(sys.executable).parent
    env = {"PATH": f"{bin}:/usr/bin:/bin", "COLUMNS": "100"}
    done = subprocess.run(["bash", "-ec", script], cwd=directory, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.process
def test_three_events_are_turned_on_as_the_guide_does_it_and_nothing_else_leaves(tmp_path):
    page = ROOT / "docs" / "filtering.md"
    config, entries, *_ = blocks(page, "toml")
    (message,), (switching, previewing, *_) = blocks(page, "json"), blocks(page, "sh")
    (tmp_path / "gateway.toml").write_text(config)
    (tmp_path / "message.json").write_text(message)
    assert "call" not in run(tmp_path, previewing)
    assert run(tmp_path, switching).endswith("fine\n")
    assert (tmp_path / "gateway.toml").read_text() == f"{config}\n{entries}"
    lines = [line.rstrip() for line in run(tmp_path, previewing).splitlines()]
    skips = [line.rstrip() for line in blocks(page, "text")[0].splitlines()]
    assert "\n".join(lines).rstrip().endswith("\n".join(skips))
    shown = [json.loads(line) for line in run(tmp_path, f"{previewing.strip()} --json").splitlines()]
    assert [one["json"]["events"] for one in shown if one["kind"] == "call"] == [
        {"Reward Claimed": {"transaction_id": "1", "qty": "1", "context": {"tier": "gold", "shop": "Delft"}}},
        {"Card Scanned": {"transaction_id": "2", "qty": "1", "context": {"till": "7", "shop": "Delft"}}},
        {"Referral Made": {"transaction_id": "3", "qty": "1", "context": {"channel": "mail", "code": "JO-1"}}},
    ]


@pytest.mark.parametrize("page", DOCS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_toml_block_is_toml(page):
    for block in blocks(page, "toml"):
        tomllib.loads(block)


@pytest.mark.parametrize("page", DOCS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_within_the_repository_leads_somewhere(page):
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_readme_has_both_commands_on_its_first_screen():
    first_screen = "\n".join((ROOT / "README.md").read_text().splitlines()[:40])
    assert "nox -s demo" in first_screen
    assert "nox -s tests" in first_screen


def test_the_table_of_metrics_has_every_one():
    backlog = Backlog(connection="c", batches=1, oldest_ms=0, waiting=())
    text = metrics.render([], [backlog], 0).decode()
    page = (ROOT / "docs" / "operations.md").read_text()
    told = re.findall(r"^\| `(gateway_\w+)` \|", page, re.MULTILINE)
    made = re.findall(r"^# HELP (gateway_\w+) ", text, re.MULTILINE)
    assert sorted(told) == sorted({name for name in made if not name.endswith("_created")})
