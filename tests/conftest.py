import pytest
from support.postgres_server import postgres_server


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
