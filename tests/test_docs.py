"""The documentation is true: what is made from the code is as the code is, and what it shows runs."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from written import PAGES, written

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


def test_the_smallest_plugin_works_as_the_guide_tests_it(tmp_path):
    module, test = blocks(ROOT / "docs" / "plugins.md", "python")
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
