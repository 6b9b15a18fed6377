"""The application: one endpoint that mParticle posts to, and three that operators ask."""

from __future__ import annotations

import asyncio
import dataclasses
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router

from gateway.admin import metrics
from gateway.clock import now_ms
from gateway.ingest.accounts import Reception, Visit
from gateway.ingest.auth import Doorkeeper
from gateway.ingest.bodies import Allowance, Body, Gone, Patience, Refused
from gateway.ingest.entries import of_account, read_entries, under_own_id
from gateway.journal.backlog import Backlog
from gateway.journal.port import Journal
from gateway.journal.types import Entry, JournalRejected, JournalUnavailable
from gateway.log import logger
from gateway.mparticle.firehose.answers import answer
from gateway.mparticle.json import Malformed, TooMuch
from gateway.mparticle.posts import Post
from gateway.mparticle.registration import registration
from gateway.plugins.connections import Connection, HostedConnection, describe_plugin
from gateway.settings import Ingress

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

LARGE_BYTES = 65_536
STRANGERS_BODY_BYTES = 65_536
REGISTRATION = "module_registration_request"
LATER = {503: b"5"}
FULL_S = b"30"
LOOK_EVERY_S = 10.0
SHOWN_IDS = 10
MAX_ID_CHARS = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the endpoint says: a status and a JSON body."""

    status: int
    body: bytes
    later: bytes = b""


def problem(status: int, text: str, where: str | None = None) -> Said:
    """An answer that says what is wrong, and where."""
    return Said(status=status, body=msgspec.json.encode({"error": text, **({"where": where} if where else {})}))


class Endpoint:
    """Takes what mParticle posts: authenticates, reads, stores durably, answers. An ASGI application.

    Whatever is wrong on our own side is answered 503, which mParticle repeats; what is answered with another 4xx than
    408 and 429 is lost for good.
    """

    def __init__(  # noqa: PLR0913  # as many as an application is made of
        self,
        ingress: Ingress,
        journal: Journal,
        connections: Mapping[str, Connection | HostedConnection],
        configured: frozenset[str],
        reception: Reception | None = None,
        pressure: Callable[[], str] = lambda: "",
    ) -> None:
        self._doorkeeper = Doorkeeper(ingress)
        self._most = ingress.max_body_bytes
        self._patience = Patience(ingress.read_timeout_s)
        self._allowance = Allowance(ingress.max_waiting_bytes)
        self._journal = journal
        self._connections = connections
        self._configured = tuple(sorted(configured))
        self._reception = reception
        self._pressure = pressure
        self._aside = ThreadPoolExecutor(max_workers=1, thread_name_prefix="large-bodies")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = time.perf_counter()
        try:
            said = await self._answer(scope, receive)
        except Refused as refused:
            logger.warning("post refused", status=refused.status, problem=refused.problem)
            said = problem(refused.status, refused.problem)
        except JournalUnavailable as error:
            logger.error("journal unavailable", problem=str(error))
            said = problem(503, "the message cannot be stored now; try again")
        except JournalRejected as error:
            logger.error("post refused", status=400, problem=str(error))
            said = problem(400, "the message holds a value that cannot be stored")
        except Gone:
            return
        except Exception as error:  # noqa: BLE001  # a fault of ours, which must not cost mParticle's data
            logger.error("post failed", kind=type(error).__name__, at=places(error))
            said = problem(503, "the gateway failed; try again")
        metrics.answered(said.status, time.perf_counter() - started)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(said.body))]
        if said.status in LATER:
            headers.append((b"retry-after", said.later or LATER[said.status]))
        await send({"type": "http.response.start", "status": said.status, "headers": headers})
        await send({"type": "http.response.body", "body": said.body})

    async def _answer(self, scope: Scope, receive: Receive) -> Said:
        admitted = self._doorkeeper.admits(scope["headers"])
        most = self._most if admitted else min(self._most, STRANGERS_BODY_BYTES)
        with Body(scope["headers"], most, self._allowance) as incoming:
            only = scope["path_params"].get("connection")
            try:
                body = await incoming.read(receive, self._patience)
                post, entries = await self._taken(body, only)
            except (Malformed, Refused) as error:
                if not admitted:
                    return _unknown()
                if isinstance(error, Refused):
                    raise
                status = 413 if isinstance(error, TooMuch) else 400
                logger.warning("post refused", status=status, problem=error.problem, where=error.where)
                return problem(status, error.problem, error.where)
            if only is not None and only not in self._configured:
                logger.warning("post refused", status=503, problem="no connection of that name is configured")
                return problem(503, f"no connection named {only!r} is configured")
            if post.kind == REGISTRATION:
                return self._register(post, only)
            if not admitted:
                return _unknown()
            visit = Visit(connections=self._configured)
            if self._reception is not None:
                visit = await self._reception.receive(post, body, only, now_ms())
                entries = [of_account(entry, visit.account) for entry in entries]
            return await self._take_in(post, entries, visit)

    async def _taken(self, body: bytes, only: str | None) -> tuple[Post, list[Entry]]:
        """What ``read_entries`` makes of a body; of a large one, in a thread, lest others wait for their answers."""
        if len(body) <= LARGE_BYTES:
            return read_entries(body, only, self._journal.salt)
        return await asyncio.get_running_loop().run_in_executor(
            self._aside, read_entries, body, only, self._journal.salt
        )

    async def _take_in(self, post: Post, entries: list[Entry], visit: Visit) -> Said:
        """Store a message durably, then answer it."""
        if not self._configured:
            return problem(503, "no connection is configured")
        if entries and self._pressure():
            return dataclasses.replace(problem(503, f"{self._pressure()}; try again later"), later=FULL_S)
        new = await self._journal.accept(entries, visit.connections, visit.sealed) if entries or visit.sealed else 0
        if new < len(entries):
            new += await self._store_conflicting(entries, visit)
        metrics.accepted(post.kind, len(entries), new)
        ids = [post.id] if post.id else post.accepted[:SHOWN_IDS]
        logger.info("accepted", kind=post.kind, ids=ids, batches=len(entries), repeated=len(entries) - new)
        status, body = answer(post, now_ms(), suspended=visit.suspended)
        return Said(status=status, body=body)

    async def _store_conflicting(self, entries: list[Entry], visit: Visit) -> int:
        """Store, under ids of their own, batches whose id was used for other content. Return how many were new."""
        conflicting = await self._journal.conflicting(entries)
        if not conflicting:
            return 0
        renamed = [under_own_id(entry, self._journal.salt) for entry in conflicting]
        new = await self._journal.accept(renamed, visit.connections)
        if new:
            metrics.conflicted(new)
            ids = [
                {"id": entry.message[:MAX_ID_CHARS], "stored_as": other.message[-MAX_ID_CHARS:]}
                for entry, other in zip(conflicting, renamed, strict=True)
            ]
            logger.warning("message id used for other content", batches=new, ids=ids[:SHOWN_IDS])
        return new

    def _register(self, post: Post, only: str | None) -> Said:
        """Say what this gateway, or one of its connections, is; mParticle asks before it has any credentials."""
        chosen = [
            self._connections[name] for name in self._configured if name in self._connections and only in (None, name)
        ]
        if not chosen:
            return problem(503, "no connection can be registered; see the gateway's log")
        document = registration([describe_plugin(one) for one in chosen], request_id=post.id, now_ms=now_ms())
        return Said(status=200, body=msgspec.json.encode(document))


def _unknown() -> Said:
    logger.warning("post refused", status=401, problem="the Authorization header is none that is accepted")
    return problem(401, "the Authorization header is missing or is not one that is accepted here")


def places(error: Exception) -> list[str]:
    """Where an exception came from, its innermost places last; nothing of what it says, which may be a user's."""
    frames = traceback.extract_tb(error.__traceback__, limit=-5)
    return [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]


class Waits:
    """What waits, looked at no more often than every so many seconds: it takes a second where a million lanes do."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._looked = float("-inf")
        self._backlog: list[Backlog] = []
        self._turn = asyncio.Lock()

    async def now(self) -> list[Backlog]:
        """What waits now, or waited a little ago."""
        async with self._turn:
            if time.monotonic() - self._looked > LOOK_EVERY_S:
                self._backlog = await self._journal.backlog()
                self._looked = time.monotonic()
            return self._backlog


def create(  # noqa: PLR0913  # an application is made of as much
    ingress: Ingress,
    journal: Journal,
    connections: Mapping[str, Connection | HostedConnection],
    *,
    configured: frozenset[str],
    problems: tuple[str, ...] = (),
    reception: Reception | None = None,
    pressure: Callable[[], str] = lambda: "",
) -> Router:
    """The application, a router of Starlette's; of its middleware, the endpoint does itself what it needs.

    ``connections`` are those that can be used; ``configured`` names all, for which work is kept whether they
    can be used now or not; ``problems`` says what keeps the others from it. ``reception`` is there where some of them
    have their settings from customers' accounts. ``pressure`` says what keeps any more from being
    taken now, or nothing.
    """
    endpoint = Endpoint(ingress, journal, connections, configured, reception, pressure)

    waits = Waits(journal)

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        try:
            await journal.ping()
        except JournalUnavailable as error:
            logger.error("journal unavailable", problem=str(error))
            return JSONResponse({"status": "unavailable", "problems": ["the journal cannot be written"]}, 503)
        return JSONResponse({"status": "ready", "problems": [*problems, *filter(None, [pressure()])]})

    async def metricsz(_: Request) -> Response:
        backlog = await waits.now()
        return Response(metrics.render(await journal.counts(), backlog, now_ms()), media_type=metrics.CONTENT_TYPE)

    posting = ("/mparticle", "/mparticle/", "/mparticle/{connection}", "/mparticle/{connection}/")
    return Router(
        [
            *(Route(path, endpoint, methods=["POST"]) for path in posting),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metricsz),
        ],
        redirect_slashes=False,  # mParticle loses what is answered with a redirect
    )
