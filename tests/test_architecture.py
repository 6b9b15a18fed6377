"""The shape of the house: imports point down only, rooms stay small, and walls stand where they should."""

import ast
import os
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from statistics import median

import pytest
from floors import FLOORS

ROOT = Path(__file__).parent.parent
MODULES = sorted(path for path in (ROOT / "gateway").rglob("*.py"))
PLUGIN_MODULES = sorted((ROOT / "plugins").glob("*/gateway_*/**/*.py"))

ONLY_HERE = {
    "httpx": ("gateway.deliver",),
    "aiohttp": ("gateway.deliver",),
    "starlette": ("gateway.admin", "gateway.ingest", "gateway.testing"),
    "hypercorn": ("gateway.ingest", "gateway.testing"),
    "sqlite3": ("gateway.journal",),
    "asyncpg": ("gateway.journal",),
    "cryptography": ("gateway.sealing",),
    "click": ("gateway.cli",),
    "rich": ("gateway.cli",),
    "tomlkit": ("gateway.cli",),
}


def name_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def floor(module):
    parts = module.split(".")
    places = [".".join(parts[:length]) for length in range(len(parts), 1, -1)]
    return next((FLOORS[place] for place in places if place in FLOORS), FLOORS["gateway.__init__"])


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_down_only(path):
    module = name_of(path)
    own = floor(module if module != "gateway.__init__" else "gateway.__init__")
    up = [wanted for wanted in imports(path) if wanted.startswith("gateway.") and floor(wanted) > own]
    assert up == []


def package(module):
    """The package below ``gateway`` that a module belongs to: ``journal`` for ``gateway.journal.sqlite.lanes``."""
    return module.split(".")[1]


def test_no_packages_import_each_other_in_a_cycle():
    arrows = {package(name_of(path)): set() for path in MODULES}
    for path in MODULES:
        wanted = {package(name) for name in imports(path) if name.startswith("gateway.")} & arrows.keys()
        arrows[package(name_of(path))] |= wanted - {package(name_of(path))}
    TopologicalSorter(arrows).prepare()  # raises CycleError and names the cycle


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_has_a_floor(path):
    module = name_of(path)
    assert any(module == place or module.startswith(f"{place}.") for place in FLOORS)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_library_is_known_only_where_it_belongs(path):
    module = name_of(path)
    strays = {
        wanted.split(".")[0]
        for wanted in imports(path)
        if not module.startswith(ONLY_HERE.get(wanted.split(".")[0], "gateway"))
    }
    assert strays == set()


@pytest.mark.parametrize("path", PLUGIN_MODULES, ids=name_of)
def test_a_plugin_knows_the_sdk_alone_and_its_fake_the_test_kit(path):
    allowed = ("gateway.sdk", "gateway.testing") if "fake" in path.parts or path.stem == "fake" else ("gateway.sdk",)
    strays = [wanted for wanted in imports(path) if wanted.startswith("gateway.") and not wanted.startswith(allowed)]
    assert strays == []


@pytest.mark.parametrize("path", [*MODULES, *PLUGIN_MODULES], ids=name_of)
def test_no_room_is_too_large(path):
    text = path.read_text()
    functions = [
        node for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    long = [node.name for node in functions if (node.end_lineno or 0) - node.lineno + 1 > 50]
    assert (len(text.splitlines()) <= 400, long) == (True, [])


def test_functions_are_short():
    lengths = [
        (node.end_lineno or 0) - node.lineno + 1
        for path in [*MODULES, *PLUGIN_MODULES]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    assert median(lengths) < 10
    assert sorted(lengths)[int(len(lengths) * 0.9)] <= 30


@pytest.mark.process
@pytest.mark.parametrize(
    ("room", "heavy"),
    [
        (
            "gateway.sdk",
            ("starlette", "httpx", "hypercorn", "structlog", "aiohttp", "sqlite3", "asyncio", "rich", "click"),
        ),
        ("gateway.ingest.role", ("httpx", "aiohttp", "asyncpg", "gateway.dispatch.dispatcher", "cryptography")),
        ("gateway.dispatch.role", ("starlette", "hypercorn", "asyncpg", "gateway.ingest.app", "cryptography")),
    ],
)
def test_a_room_brings_nothing_heavy_that_it_has_no_use_for(room, heavy):
    program = f"import sys, {room}; print([name for name in {heavy} if name in sys.modules])"
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=unmeasured)
    assert done.stdout.strip() == "[]"


def test_the_sdk_lists_all_that_is_public():
    from gateway import sdk

    public = {name for name in vars(sdk) if not name.startswith("_")}
    rooms = {"calls", "consents", "destination", "events", "hooks", "model"}
    assert sorted(public - rooms) == sorted(sdk.__all__)
