"""The shape of the house: imports point down only, rooms stay small, and walls stand where they should."""

import ast
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(path for path in (ROOT / "gateway").rglob("*.py"))
PLUGIN_MODULES = sorted((ROOT / "plugins").glob("*/gateway_*/**/*.py"))

FLOORS = {
    "gateway.__init__": 0,
    "gateway.sdk": 0,
    "gateway.choices": 1,
    "gateway.settings": 1,
    "gateway.sources": 1,
    "gateway.wording": 1,
    "gateway.auth": 1,
    "gateway.log": 1,
    "gateway.blackbox": 1,
    "gateway.clock": 1,
    "gateway.watchdog": 1,
    "gateway.bodies": 1,
    "gateway.facts": 1,
    "gateway.lateness": 1,
    "gateway.mparticle": 1,
    "gateway.journal": 1,
    "gateway.sealing": 1,
    "gateway.destinations": 2,
    "gateway.govern": 2,
    "gateway.reception": 2,
    "gateway.rewriting": 2,
    "gateway.catalog": 3,
    "gateway.plan": 3,
    "gateway.deliver": 3,
    "gateway.pipeline": 4,
    "gateway.assembly": 4,
    "gateway.hosting": 4,
    "gateway.pressure": 4,
    "gateway.replaying": 4,
    "gateway.metrics": 5,
    "gateway.app": 5,
    "gateway.roles": 5,
    "gateway.supervisor": 5,
    "gateway.testing": 5,
    "gateway.demo": 6,
    "gateway.cli": 6,
    "gateway.__main__": 6,
}
ONLY_HERE = {
    "httpx": ("gateway.deliver",),
    "aiohttp": ("gateway.deliver",),
    "starlette": ("gateway.app", "gateway.testing"),
    "hypercorn": ("gateway.roles", "gateway.testing"),
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


@pytest.mark.parametrize(
    ("room", "heavy"),
    [
        (
            "gateway.sdk",
            ("starlette", "httpx", "hypercorn", "structlog", "aiohttp", "sqlite3", "asyncio", "rich", "click"),
        ),
        ("gateway.roles.ingest", ("httpx", "aiohttp", "asyncpg", "gateway.pipeline", "cryptography")),
        ("gateway.roles.dispatch", ("starlette", "hypercorn", "asyncpg", "gateway.app", "cryptography")),
    ],
)
def test_a_room_brings_nothing_heavy_that_it_has_no_use_for(room, heavy):
    program = f"import sys, {room}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_sdk_lists_all_that_is_public():
    from gateway import sdk

    public = {name for name in vars(sdk) if not name.startswith("_")}
    rooms = {"calls", "destination", "events", "hooks", "model"}
    assert sorted(public - rooms) == sorted(sdk.__all__)
