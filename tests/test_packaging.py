"""The packages say what they need, and development has the versions of all of it."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def name_of(requirement):
    return re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower().replace("_", "-").replace(".", "-")


def requirements():
    """Return the name of every direct requirement, of each extra and each dependency group too."""
    listed = [PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"].values()]
    groups = [[one for one in group if isinstance(one, str)] for group in PROJECT["dependency-groups"].values()]
    return sorted({name_of(one) for group in (*listed, *groups) for one in group})


@pytest.mark.parametrize("name", requirements())
def test_the_lock_file_pins_every_requirement(name):
    pinned = {name_of(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    assert name in pinned, "run: nox -s lock"


def test_the_lock_file_names_no_index():
    assert not re.search(r"https?://|--", (ROOT / "constraints.txt").read_text())
