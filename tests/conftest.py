"""Fixtures and rules for every test."""

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from support.postgres_server import postgres_server

settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")  # what a test asserts is never speed


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="session")
def server():
    """A PostgreSQL server, for all tests that want one."""
    with postgres_server() as running:
        yield running


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def engine(request):
    """The engine that keeps the journal."""
    return request.param


PROCESS_EVENTS = frozenset({"subprocess.Popen", "os.posix_spawn", "os.fork", "os.forkpty", "os.system"})
PROCESS_DIRECTORIES = tuple(Path(__file__).parent / name for name in ("serving", "crash"))
unmarked: list[str] = []
"""The test that runs now, unless it is marked `process`."""


def pytest_collection_modifyitems(items):
    for item in items:
        if any(item.path.is_relative_to(directory) for directory in PROCESS_DIRECTORIES):
            item.add_marker("process")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    if item.get_closest_marker("process") is None and item.get_closest_marker("postgres") is None:
        unmarked.append(item.nodeid)
    try:
        return (yield)
    finally:
        unmarked.clear()


def refuse_process(event, _arguments):
    """Fail the test that runs now if it starts a process and is not marked for it."""
    if unmarked and event in PROCESS_EVENTS:
        pytest.fail(f"{unmarked[-1]} starts a process ({event}): mark it with `process`")


sys.addaudithook(refuse_process)
