"""The packages say what they need, and development has the versions of all of it."""

import ast
import re
import sys
import tomllib
from importlib.metadata import distribution
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


PACKAGES = {"": "gateway", "plugins/sessionm": "gateway_sessionm", "plugins/sailthru": "gateway_sailthru"}
NAMES = {
    "prometheus_client": "prometheus-client",
    "pydantic_settings": "pydantic-settings",
    "pydantic_core": "pydantic",  # which pins it
}
OPTIONAL = {"asyncpg", "uvloop"}


def imported(root):
    """Return the top-level packages that the modules below a directory import, without Python's own."""
    trees = [ast.parse(path.read_text()) for path in root.rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"__future__"}


@pytest.mark.parametrize(("directory", "package"), PACKAGES.items(), ids=PACKAGES.values())
def test_a_package_declares_whatever_it_imports(directory, package):
    project = tomllib.loads((ROOT / directory / "pyproject.toml").read_text())["project"]
    declared = {name_of(one) for one in project["dependencies"]} | OPTIONAL
    used = {NAMES.get(name, name) for name in imported(ROOT / directory / package)} - {package}
    assert {"mparticle-gateway" if name == "gateway" else name for name in used} - declared == set()


@pytest.mark.parametrize("directory", PACKAGES)
def test_a_package_has_its_licence_and_says_for_whom_it_is(directory):
    project = tomllib.loads((ROOT / directory / "pyproject.toml").read_text())["project"]
    assert (project["license"], project["license-files"]) == ("MIT", ["LICENSE"])
    assert (ROOT / directory / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    assert {"Typing :: Typed", "Programming Language :: Python :: 3.11"} <= set(project["classifiers"])
    assert (ROOT / directory / (PACKAGES[directory]) / "py.typed").exists()


@pytest.mark.parametrize("directory", PACKAGES)
def test_the_built_metadata_has_the_licence_the_classifiers_and_the_dependencies(directory):
    project = tomllib.loads((ROOT / directory / "pyproject.toml").read_text())["project"]
    built = distribution(project["name"])
    (licence,) = (file for file in built.files if file.name == "LICENSE")
    assert built.metadata["License-Expression"] == "MIT"
    assert licence.read_text() == (ROOT / "LICENSE").read_text()
    assert set(built.metadata.get_all("Classifier")) == set(project["classifiers"])
    required = {name_of(one) for one in built.requires if "extra ==" not in one}
    assert required == {name_of(one) for one in project["dependencies"]}, "install the package again"


def test_the_lock_file_names_no_index():
    assert not re.search(r"https?://|--", (ROOT / "constraints.txt").read_text())
