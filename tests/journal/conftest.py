import pytest
from support.journal_words import ref

from gateway.journal.port import Entry, Wish, hash64, hash128
from gateway.journal.sqlite import SqliteJournal, prepare


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/journal.db"


@pytest.fixture
async def journal(url, anyio_backend):
    prepare(url)
    opened = SqliteJournal(url)
    assert opened.take_over()
    yield opened
    await opened.close()


@pytest.fixture
def make_entry():
    def make(name, *, user="ann", facts=1, scope=None, received_ms=1_000, refs=(), erases=False, wishes=(), salt=b""):
        return Entry(
            dedupe=hash128(name),
            user=hash64(user),
            message=name,
            part=0,
            dialect="firehose",
            received_ms=received_ms,
            facts=facts,
            refs=tuple(ref(id, salt) for id in refs),
            body=name.encode(),
            scope=scope,
            wish=Wish(names=tuple(ref(name, salt) for name in wishes), before_ms=5_000) if erases or wishes else None,
        )

    return make
