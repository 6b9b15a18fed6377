"""Journals: values that nobody posts, and files that were damaged, in SQLite."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

from fuzz.gateways import DOCUMENTS, Loop
from fuzz.mutations import SCALARS, damage
from fuzz.targets import Finding
from msgspec.structs import replace

from gateway.ingest.entries import read_entries
from gateway.journal.engines import doubts, faults, open_journal, prepare
from gateway.journal.port import Journal
from gateway.journal.types import (
    DataPoint,
    Entry,
    ErasureRequest,
    Finished,
    JournalRejected,
    JournalUnavailable,
    JournalUnusable,
    Lane,
    Memo,
    Outcome,
    Settlement,
    hash_ref,
)
from gateway.settings import JournalSettings

REFUSALS = (JournalRejected, JournalUnavailable, JournalUnusable)
CONNECTIONS = ("a", "b")
INTEGERS = (0, 1, -1, 2**31, 2**53, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**30)
TEXTS = tuple(value for value in SCALARS if isinstance(value, str))
FILES = ("gateway.db", "gateway.db-wal", "gateway.db-shm", "gateway.db-mark")


class Journals:
    """Either strange values in a good journal, or a damaged copy of one, which is then used."""

    name = "journals"
    weight = 10

    def __init__(self, directory: Path) -> None:
        self._loop = Loop()
        self._original, self._copy = directory / "original", directory / "copy"
        self._original.mkdir(parents=True)
        self._loop.run(self._fill())

    async def _fill(self) -> None:
        """Make the journal whose copies are damaged: some work done, some in hand, all in the write-ahead log."""
        journal = await _open(self._original)
        entries = [entry for document in DOCUMENTS for entry in _entries(document, journal.salt)]
        await journal.accept(entries, CONNECTIONS)
        self._good = entries[0]
        await journal.take_over()
        for lane in await journal.claim("a", now_ms=_now_ms(), lanes=5, items=3):
            await journal.settle(_settlement(lane, "delivered", None))
        self._files = {name: self._read(name) for name in FILES}
        self._journal = journal

    def _read(self, name: str) -> bytes | None:
        path = self._original / name
        return path.read_bytes() if path.exists() else None

    def try_input(self, random: Random) -> str:
        """Try strange values, or a damaged file. Raises Finding."""
        if random.random() < 0.7:
            return self._loop.run(self._try_values(random))
        return self._loop.run(self._try_file(random))

    async def _try_values(self, random: Random) -> str:
        """Store a strange entry beside a good one: only the strange one may fail."""
        strange = _make_entry(random)
        good = self._make_good(random)
        outcome = "stored"
        try:
            await self._journal.accept([strange], CONNECTIONS)
        except JournalRejected:
            outcome = "rejected"
        if await self._journal.accept([good], CONNECTIONS) != 1:
            raise Finding("a good entry is not new")
        if not await self._journal.find(good.refs):
            raise Finding("a good entry is not found")
        with suppress(JournalRejected):
            await self._journal.note([_make_point(random)])
        for lane in await self._journal.claim(random.choice(CONNECTIONS), now_ms=_now_ms(), lanes=2, items=2):
            try:
                await self._journal.settle(_settlement(lane, random.choice(TEXTS), random.choice(SCALARS)))
            except (JournalRejected, TypeError, UnicodeEncodeError):
                await self._journal.settle(_settlement(lane, "delivered", None))
        await self._journal.backlog()
        return outcome

    async def _try_file(self, random: Random) -> str:
        """Open a damaged copy and use it: it works, or says why it cannot."""
        shutil.rmtree(self._copy, ignore_errors=True)
        self._copy.mkdir()
        for name, content in self._files.items():
            if content is not None:
                (self._copy / name).write_bytes(content)
        present = [name for name, content in self._files.items() if content is not None]
        name = random.choice((*present, *present[:2]))
        content = self._files[name] or b""
        path = self._copy / name
        match random.randrange(5):
            case 0:
                path.unlink()
            case 1:
                path.write_bytes(content[: random.randrange(len(content) + 1)])
            case 2:
                path.write_bytes(b"")
            case _:
                path.write_bytes(_scatter(random, content))
        return await self._use(random)

    async def _use(self, random: Random) -> str:
        url = _settings(self._copy)
        try:
            doubts(url)
            faults(url)
            journal = await _open(self._copy)
        except REFUSALS:
            return "refused"
        try:
            return await self._use_opened(journal, random)
        except REFUSALS:
            return "unavailable"
        finally:
            with suppress(*REFUSALS):
                await journal.close()

    async def _use_opened(self, journal: Journal, random: Random) -> str:
        new = self._make_good(random)
        is_new = await journal.accept([new], CONNECTIONS) == 1
        if is_new and not await journal.find(new.refs):
            raise Finding("what was stored is not found")
        await journal.take_over()
        for lane in await journal.claim("a", now_ms=_now_ms(), lanes=10, items=3):
            await journal.settle(_settlement(lane, "delivered", None))
        await journal.backlog()
        await journal.counts()
        return "used"

    def _make_good(self, random: Random) -> Entry:
        """Return an entry like a real one, under an id of its own."""
        id = random.randbytes(16)
        return replace(self._good, dedupe=id, message=id.hex(), refs=(id[:8],))

    def close(self) -> None:
        """Close the journal."""
        self._loop.run(self._journal.close())
        self._loop.close()


def _settings(directory: Path) -> JournalSettings:
    return JournalSettings(url=f"sqlite:///{directory}/gateway.db")


async def _open(directory: Path) -> Journal:
    await prepare(_settings(directory))
    return await open_journal(_settings(directory))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _entries(document: Any, salt: bytes) -> Sequence[Entry]:
    return read_entries(json.dumps(document).encode(), None, salt)[1]


def _scatter(random: Random, content: bytes) -> bytes:
    """Return the content with damage in a few places, its length mostly the same."""
    made = bytearray(content)
    for _ in range(random.choice((1, 3, 20))):
        at = random.choice((random.randrange(len(made) + 1), random.randrange(min(len(made), 200) + 1)))
        size = random.choice((1, 4, 100, 4_096))
        made[at : at + size] = random.choice((random.randbytes(size), bytes(size)))[: len(made[at : at + size])]
    return damage(random, bytes(made)) if random.random() < 0.1 else bytes(made)


def _make_entry(random: Random) -> Entry:
    """Return an entry of any values, strange ones too."""
    message = random.choice(TEXTS)
    names = tuple(random.randbytes(random.choice((0, 8, 8, 30))) for _ in range(random.randrange(3)))
    return Entry(
        dedupe=random.randbytes(random.choice((0, 16, 16, 64))),
        user=random.choice(INTEGERS),
        message=message,
        part=random.choice((0, 1, *INTEGERS)),
        dialect=random.choice(("firehose", "events", "", "\0")),
        received_ms=random.choice((_now_ms(), *INTEGERS)),
        facts=random.choice((1, 2, *INTEGERS)),
        refs=(hash_ref(message, b""), *names),
        body=random.choice((b"{}", b"", b"\xff", b"null")),
        scope=random.choice((None, None, "a", "nobody", "\0")),
        wish=ErasureRequest(names=names, before_ms=random.choice(INTEGERS)) if random.random() < 0.2 else None,
    )


def _make_point(random: Random) -> DataPoint:
    texts = {field: random.choice(TEXTS) for field in ("connection", "input", "kind", "name", "attribute", "type")}
    return DataPoint(**texts, **{field: random.choice(INTEGERS) for field in ("first_ms", "last_ms", "times")})


def _settlement(lane: Lane, state: str, value: Any) -> Settlement:
    """Return a settlement that finishes everything in hand, with this state and this value to remember."""
    finished = tuple(
        Finished(seq=item.seq, facts=item.facts, outcomes=(Outcome(fact="f", state=state, reason=state),))
        for item in lane.items
    )
    return Settlement(
        connection=lane.connection,
        user=lane.user,
        fence=lane.fence,
        finished=finished,
        memos=(Memo(key=state, value=value),) if value is not None else (),
        release=True,
    )
