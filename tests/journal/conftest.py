import itertools

import pytest
from support.journal_words import ref
from support.journals import memory_settings, open_journal, prepare

from gateway.journal.types import Entry, ErasureRequest, hash128, hash_lane
from gateway.settings import JournalSettings


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def engine(request):
    """The engine that keeps the journal; the one in memory is what the others are compared with."""
    return request.param


@pytest.fixture
def new_settings(engine, request, tmp_path):
    """Makes ``[journal]`` sections, each of a journal that has yet to be made."""
    numbers = itertools.count()
    if engine == "memory":
        return lambda: memory_settings(f"{tmp_path}/{next(numbers)}")
    if engine == "sqlite":
        return lambda: JournalSettings(url=f"sqlite:///{tmp_path}/journal{next(numbers)}.db")
    server = request.getfixturevalue("server")
    return lambda: JournalSettings(url=server.url(server.new_database()))


@pytest.fixture
def settings(new_settings):
    return new_settings()


@pytest.fixture
async def journal(settings, anyio_backend):
    await prepare(settings)
    opened = await open_journal(settings)
    assert await opened.take_over()
    yield opened
    await opened.close()


@pytest.fixture
def make_entry():
    def make(name, *, user="ann", facts=1, scope=None, received_ms=1_000, refs=(), erases=False, wishes=(), salt=b""):
        return Entry(
            dedupe=hash128(name),
            user=hash_lane(user, salt),
            message=name,
            part=0,
            dialect="firehose",
            received_ms=received_ms,
            facts=facts,
            refs=tuple(ref(id, salt) for id in refs),
            body=name.encode(),
            scope=scope,
            wish=ErasureRequest(names=tuple(ref(name, salt) for name in wishes), before_ms=5_000)
            if erases or wishes
            else None,
        )

    return make
