"""Failpoints: the named moments at which a process of the gateway kills itself, and how that is arranged.

Nothing of this is in the gateway. ``install`` wraps functions of it at their seams, from the outside, in the
processes that ``crash.nursery`` starts; a seam that is gone is an error. A process that passes a moment says so to its
``Fuse``. A fuse is laid along the crashes that a schedule wants, one after another: each is a point and how many
times it is passed before the process dies there, by SIGKILL, in whatever thread that is. The crashes that have been are
lines of the file ``crashes``, written just before; so the next process, and those that live on, know which comes next.

Points of the role ``outside`` are no places in the code: there the harness kills from the outside, while the vendor
has a call in hand.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SQLITE, POSTGRES = "sqlite", "postgresql"
BOTH = (SQLITE, POSTGRES)


@dataclass(frozen=True, slots=True)
class Point:
    """A moment: in which role, after how many passes at the most it is tried, on which engines."""

    role: str
    most_hits: int
    what: str
    engines: tuple[str, ...] = BOTH


POINTS = {
    "accept.before_commit": Point("ingest", 8, "a post is about to be stored"),
    "accept.under_way": Point("ingest", 8, "the statement that stores it is under way"),
    "accept.after_commit": Point("ingest", 8, "it is stored, and the result is not known yet"),
    "answer.before": Point("ingest", 8, "it is stored, and the answer is about to be sent"),
    "answer.after": Point("ingest", 8, "the answer has been sent"),
    "takeover.before": Point("dispatch", 1, "a dispatcher is about to take over the journal"),
    "takeover.after": Point("dispatch", 1, "a dispatcher has just taken over"),
    "claim.before_commit": Point("dispatch", 3, "lanes are being claimed"),
    "claim.after_commit": Point("dispatch", 3, "lanes have been claimed, and the result is not known yet"),
    "claimed": Point("dispatch", 6, "a claimed lane is about to be planned"),
    "send.before": Point("dispatch", 12, "a call is about to be sent"),
    "send.after": Point("dispatch", 12, "the vendor has answered 200, and nothing is recorded yet"),
    "settle.before_commit": Point("dispatch", 8, "outcomes are being recorded"),
    "settle.under_way": Point("dispatch", 8, "the statements that record them are being sent", (POSTGRES,)),
    "settle.after_commit": Point("dispatch", 8, "they are recorded, and the result is not known yet"),
    "prune.before_commit": Point("dispatch", 2, "old, finished batches are being removed"),
    "prune.after_commit": Point("dispatch", 2, "they have been removed"),
    "index.before_commit": Point("dispatch", 2, "ids are being added to the index"),
    "index.after_commit": Point("dispatch", 2, "ids have been added to the index"),
    "checkpoint.before": Point("any", 2, "the write-ahead log is about to be checkpointed", (SQLITE,)),
    "checkpoint.after": Point("any", 2, "the write-ahead log has been checkpointed", (SQLITE,)),
    "migrate.before": Point("supervisor", 1, "a journal is about to be created or migrated"),
    "migrate.statement": Point("supervisor", 3, "it is being migrated"),
    "migrate.before_commit": Point("supervisor", 1, "it has been migrated, without a commit"),
    "migrate.after_commit": Point("supervisor", 1, "it has been migrated"),
    "supervisor.started": Point("supervisor", 2, "the supervisor has just started a process"),
    "vendor.dispatch": Point("outside", 12, "the vendor handles a call: the dispatcher is killed"),
    "vendor.supervisor": Point("outside", 12, "the vendor handles a call: the supervisor is killed"),
    "vendor.everything": Point("outside", 12, "the vendor handles a call: all processes are killed at once"),
}


@dataclass(slots=True)
class Fuse:
    """Where to die next: ``crashes`` lists (point, hits). Safe to use from any thread."""

    directory: Path
    crashes: list[tuple[str, int]]
    burnt: int = 0
    left: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._advance()

    @property
    def record(self) -> Path:
        """The file with a line for each crash that has been."""
        return self.directory / "crashes"

    def past(self) -> list[dict[str, Any]]:
        """The crashes that have been: point, role and process."""
        if not self.record.exists():
            return []
        return [json.loads(line) for line in self.record.read_text().splitlines()]

    def reached(self, point: str, role: str = "") -> None:
        """This process passes a point; if it is to die there, this does not return."""
        if self.burns(point):
            self.write(point, role, os.getpid())
            os.kill(os.getpid(), signal.SIGKILL)

    def burns(self, point: str) -> bool:
        """Whether this pass of the point is the one at which somebody is to die."""
        if all(point != planned for planned, _ in self.crashes):
            return False
        with self.lock:
            if len(self.past()) != self.burnt:
                self._advance()
            if self.burnt >= len(self.crashes) or self.crashes[self.burnt][0] != point:
                return False
            self.left -= 1
            return self.left == 0

    def write(self, point: str, role: str, pid: int) -> None:
        """Put a crash on record; it is in the file, whatever becomes of the process."""
        line = json.dumps({"point": point, "role": role, "pid": pid}) + "\n"
        descriptor = os.open(self.record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, line.encode())
        os.close(descriptor)

    def _advance(self) -> None:
        self.burnt = len(self.past())
        self.left = self.crashes[self.burnt][1] if self.burnt < len(self.crashes) else 0


Names = Callable[..., Iterable[str]]
STEPS = 100  # of SQLite's own, from one look to the next


@dataclass(slots=True)
class Hooks:
    """Wraps the gateway's functions. ``fuse`` is that of the process, set when it has been forked."""

    fuse: Fuse | None = None
    role: str = ""

    def pass_(self, points: Iterable[str]) -> None:
        """This process passes these points."""
        if self.fuse is not None:
            for point in points:
                self.fuse.reached(point, self.role)

    def around(self, owner: str, name: str, *, before: Names | None = None, after: Names | None = None) -> None:
        """Wrap ``owner.name``, a function of a module or of one of its classes.

        ``before`` makes the points that are passed before it runs of its arguments, ``after`` of its result and these.
        """
        module, _, attribute = owner.partition(":")
        place = getattr(import_module(module), attribute) if attribute else import_module(module)
        inner = getattr(place, name)

        @wraps(inner)
        def call(*given: Any, **named: Any) -> Any:
            self.pass_(before(*given, **named) if before else ())
            result = inner(*given, **named)
            self.pass_(after(result, *given, **named) if after else ())
            return result

        @wraps(inner)
        async def call_async(*given: Any, **named: Any) -> Any:
            self.pass_(before(*given, **named) if before else ())
            result = await inner(*given, **named)
            self.pass_(after(result, *given, **named) if after else ())
            return result

        setattr(place, name, call_async if inspect.iscoroutinefunction(inner) else call)

    def under_way(self, owner: str, name: str, point: str) -> None:
        """Die while a coroutine function first waits for the network: what it sent is on its way."""

        def soon(*_: Any, **__: Any) -> Iterable[str]:
            asyncio.get_running_loop().call_soon(self.pass_, (point,))
            return ()

        self.around(owner, name, before=soon)


HOOKS = Hooks()


def always(*points: str) -> Names:
    """These points, whatever the arguments are."""
    return lambda *_, **__: points


def install() -> None:
    """Wrap every seam, and make waits of seconds waits of milliseconds."""
    around = HOOKS.around
    around("gateway.ingest.endpoint", "make_answer", before=always("answer.before"))
    around("gateway.ingest.endpoint:Endpoint", "__call__", after=always("answer.after"))
    around("gateway.dispatch.dispatcher:Dispatcher", "_work", before=always("claimed"))
    around(
        "gateway.deliver.transport:Transport",
        "handle_async_request",
        before=always("send.before"),
        after=lambda reply, *_: ("send.after",) if reply.status_code == 200 else (),
    )
    around("gateway.dispatch.role", "take_over", before=always("takeover.before"), after=always("takeover.after"))
    _install_sqlite()
    if find_spec("asyncpg"):
        _install_postgres()
    _shorten_waits()


def _install_sqlite() -> None:
    around = HOOKS.around
    around(
        "gateway.journal.sqlite.transactions",
        "carry_out",
        after=lambda ends, _, done: _steps(done, ends, "before_commit"),
    )
    around("gateway.journal.sqlite.accept", "store_new", before=_storing, after=_stored)
    around(
        "gateway.journal.sqlite.journal:SqliteJournal",
        "_transact",
        after=lambda ends, _, done: _steps(done, ends, "after_commit"),
    )
    around("gateway.journal.sqlite.refs", "put", after=always("index.before_commit"))
    around("gateway.journal.sqlite.indexing", "index", after=lambda done, *_: ("index.after_commit",) if done else ())
    around(
        "gateway.journal.sqlite.file", "prepare", before=always("migrate.before"), after=always("migrate.after_commit")
    )
    around(
        "gateway.journal.sqlite.checkpoint:Checkpointer",
        "_truncated",
        before=always("checkpoint.before"),
        after=always("checkpoint.after"),
    )
    schema = import_module("gateway.journal.sqlite.schema")
    statements = schema._statements

    def stepwise(script: str) -> Iterable[str]:
        for statement in statements(script):
            yield statement  # and it has been executed when this goes on
            HOOKS.pass_(("migrate.statement",))
        if script == schema.MIGRATIONS[-1]:
            HOOKS.pass_(("migrate.before_commit",))

    schema._statements = stepwise


def _storing(database: Any, operations: Sequence[Any]) -> Iterable[str]:
    """New posts are stored by one statement: a process can die before it, or after so many of its steps."""
    if {type(operation).__name__ for operation in operations} != {"Accept"}:
        return ()
    database.set_progress_handler(lambda: HOOKS.pass_(("accept.under_way",)), STEPS)
    return ["accept.before_commit" for _ in operations]


def _stored(_: Any, database: Any, __: Any) -> Iterable[str]:
    database.set_progress_handler(None, 0)
    return ()


def _steps(operations: Iterable[Any], ends: Iterable[Any], when: str) -> Iterable[str]:
    """What is in a transaction: ``accept.before_commit`` and the like. A claim that found nothing is none."""
    for operation, end in zip(operations, ends, strict=True):
        kind = type(operation).__name__.lower()
        if kind in ("accept", "settle", "prune") or (kind == "claim" and end):
            yield f"{kind}.{when}"


def _install_postgres() -> None:
    around, under_way, home = HOOKS.around, HOOKS.under_way, "gateway.journal.postgres"
    around(f"{home}.accept", "_store", before=always("accept.before_commit"), after=always("accept.after_commit"))
    under_way(f"{home}.accept", "_store", "accept.under_way")
    around(f"{home}.settle", "settle", after=always("settle.before_commit"))
    under_way(f"{home}.settle", "settle", "settle.under_way")
    around(f"{home}.claim", "claim", after=lambda lanes, *_, **__: ("claim.before_commit",) if lanes else ())
    around(
        f"{home}.journal:PostgresJournal",
        "_transact",
        after=lambda ends, _, __, done: _steps(done, ends, "after_commit"),
    )
    around(f"{home}.erase", "forget", after=always("prune.before_commit"))
    around(f"{home}.prune", "prune", after=always("prune.after_commit"))
    around(f"{home}.indexing", "shelve", after=lambda done, *_: ("index.after_commit",) if done else ())
    around(f"{home}.indexing", "laid_out", after=always("index.before_commit"))
    around(f"{home}.schema", "migrate", before=always("migrate.before"), after=always("migrate.after_commit"))
    around("asyncpg.connection:Connection", "execute", after=_noted)


def _noted(_: Any, __: Any, statement: str, *___: Any, **____: Any) -> Iterable[str]:
    """A migration notes each version that it has made; after the last one it commits."""
    if statement.lstrip().startswith("INSERT INTO journal_versions"):
        return ("migrate.before_commit",)
    return (
        ("migrate.statement",) if statement.lstrip().startswith(("CREATE TABLE", "ALTER TABLE", "CREATE SEQ")) else ()
    )


SHORT = {
    "gateway.deliver.gates": {"FIRST_REST_S": 0.02, "MAX_REST_S": 0.1, "POLL_INTERVAL_S": 0.02},
    "gateway.dispatch.barriers": {"MIN_WAIT_MS": 20},
    "gateway.dispatch.dispatcher": {"IDLE_S": 0.1, "TROUBLE_S": 0.05},
    "gateway.dispatch.role": {"PRUNE_EVERY_S": 0.1, "PRUNE_PAUSE_S": 0.01},
    "gateway.journal.sqlite.indexing": {"EVERY_S": 0.02},
    "gateway.process.supervisor": {"FIRST_REST_S": 0.01, "MAX_REST_S": 0.1},
}
"""Rests between one thing and the next, by module. Who is waited for is given as long as ever, but for vendors."""
SHORT_POSTGRES = {
    "gateway.journal.postgres.indexing": {"EVERY_S": 0.02},
    "gateway.journal.postgres.link": {"AFTER_FAILURE_S": 0.02},
}
REPLY_S = 1.5
IDS_A_RUN = 6
LOG_BYTES = 64 << 10


def _shorten_waits() -> None:
    for name, values in (SHORT | SHORT_POSTGRES if find_spec("asyncpg") else SHORT).items():
        module = import_module(name)
        for constant, value in values.items():
            getattr(module, constant)  # an error where there is none
            setattr(module, constant, value)
    transport = import_module("gateway.deliver.transport").Transport
    begin = transport.__init__

    def impatient(self: Any, **options: Any) -> None:
        begin(self, **options | {"connect_timeout_s": REPLY_S / 2, "reply_timeout_s": REPLY_S / 2})

    transport.__init__ = impatient
    import_module("gateway.journal.sqlite.indexing").Indexer.__init__.__defaults__ = (IDS_A_RUN,)
    if find_spec("asyncpg"):
        import_module("gateway.journal.postgres.indexing").keep_shelving.__defaults__ = (IDS_A_RUN,)
    checkpoint = import_module("gateway.journal.sqlite.checkpoint")
    often = checkpoint.CheckpointLimits(
        every_s=0.02, worth_folding_bytes=LOG_BYTES // 2, too_long_bytes=LOG_BYTES, after_failure_s=0.02
    )
    checkpoint.Checkpointer.__init__.__defaults__ = (often,)
