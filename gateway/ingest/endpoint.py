"""The endpoint: admit a post, read it, route it to its connections, store it durably, answer."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from gateway.admin import metrics
from gateway.clock import now_ms
from gateway.ingest.accounts import AccountRouter, Routing
from gateway.ingest.auth import Authenticator
from gateway.ingest.bodies import Allowance, Body, BodyRefused, BodyTimer, ClientGone
from gateway.ingest.entries import of_account, read_entries, under_own_id
from gateway.journal.port import Journal
from gateway.journal.types import Entry, JournalRejected, JournalUnavailable
from gateway.log import logger
from gateway.mparticle.firehose.answers import make_answer
from gateway.mparticle.json import Malformed, Oversized
from gateway.mparticle.posts import Post, read_registration_id
from gateway.mparticle.registration import make_registration
from gateway.plugins.connections import Connection, HostedConnection, describe_plugin
from gateway.settings import IngressSettings

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

LARGE_BYTES = 65_536
MAX_STRANGER_BYTES = 4_096
MAX_WAITING_STRANGER_BYTES = 1_048_576
REGISTRATION = "module_registration_request"
RETRY_AFTER_S = {503: b"5"}
RETRY_AFTER_FULL_S = b"30"
MAX_LOGGED_IDS = 10
MAX_LOGGED_CHARS = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """An HTTP answer: a status, a JSON body, and seconds until a retry where the status's own are not right."""

    status: int
    body: bytes
    retry_after_s: bytes = b""


def problem(status: int, text: str, where: str | None = None, *, retry_after_s: bytes = b"") -> HttpAnswer:
    """Return an answer that says what is wrong, and where."""
    body = msgspec.json.encode({"error": text, **({"where": where} if where else {})})
    return HttpAnswer(status=status, body=body, retry_after_s=retry_after_s)


class Endpoint:
    """Takes what mParticle posts. An ASGI application.

    A fault of the gateway itself is answered 503, which mParticle retries. mParticle loses for good what is answered
    with a 4xx other than 408 and 429.
    """

    def __init__(  # noqa: PLR0913  # it is made of as much
        self,
        ingress: IngressSettings,
        journal: Journal,
        connections: Mapping[str, Connection | HostedConnection],
        configured: frozenset[str],
        router: AccountRouter | None = None,
        backpressure: Callable[[], str] = lambda: "",
    ) -> None:
        self._authenticator = Authenticator(ingress)
        self._max_bytes = ingress.max_body_bytes
        self._patience = BodyTimer(ingress.read_timeout_s)
        self._allowance = Allowance(ingress.max_waiting_bytes)
        self._stranger_allowance = Allowance(MAX_WAITING_STRANGER_BYTES)
        self._journal = journal
        self._connections = connections
        self._configured = tuple(sorted(configured))
        self._router = router
        self._backpressure = backpressure
        self._large_bodies = ThreadPoolExecutor(max_workers=1, thread_name_prefix="large-bodies")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = time.perf_counter()
        try:
            answer = await self._answer(scope, receive)
        except BodyRefused as refused:
            answer = _refuse(refused.status, refused.problem)
        except Malformed as error:
            answer = _refuse(413 if isinstance(error, Oversized) else 400, error.problem, error.where)
        except JournalRejected as error:
            answer = _refuse(400, f"the message holds a value that {error}")
        except JournalUnavailable as error:
            logger.error("journal unavailable", problem=str(error))
            answer = problem(503, "the message cannot be stored now; try again")
        except ClientGone:
            return
        except Exception as error:  # noqa: BLE001  # a fault of ours, which must not cost mParticle's data
            logger.error("post failed", kind=type(error).__name__, at=places(error))
            answer = problem(503, "the gateway failed; try again")
        metrics.count_answer(answer.status, time.perf_counter() - started)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer.body))]
        if answer.status in RETRY_AFTER_S:
            headers.append((b"retry-after", answer.retry_after_s or RETRY_AFTER_S[answer.status]))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, scope: Scope, receive: Receive) -> HttpAnswer:
        path_params = scope.get("path_params")  # there are none where no route has this path
        only = None if path_params is None else path_params.get("connection")
        if not self._authenticator.is_authorized(scope["headers"]):
            return await self._answer_stranger(scope, receive, only)
        with Body(scope["headers"], self._max_bytes, self._allowance) as incoming:
            body = await incoming.read(receive, self._patience)
            if path_params is None:
                return _refuse(
                    503, f"nothing listens at the path {scope['path'][:MAX_LOGGED_CHARS]}: post to /mparticle"
                )
            post, entries = await self._read(body, only)
            metrics.count_reading(is_usual=post.is_usual)
            if only is not None and only not in self._configured:
                return _refuse(503, f"no connection named {only[:MAX_LOGGED_CHARS]!r} is configured")
            if post.kind == REGISTRATION:
                return self._register(post.id, only)
            routing, entries = await self._route(post, entries, only)
            return await self._store(post, entries, routing)

    async def _answer_stranger(self, scope: Scope, receive: Receive, only: str | None) -> HttpAnswer:
        """Answer a post without credentials: a registration, or 401 whatever it holds and wherever it was posted."""
        body = b""
        with Body((), MAX_STRANGER_BYTES, self._stranger_allowance) as incoming:
            try:
                body = await incoming.read_as_it_is(receive, self._patience)
            except BodyRefused:
                return _refuse(401, UNAUTHORIZED)
        is_known = "path_params" in scope and (only is None or only in self._connections)
        id = read_registration_id(body) if is_known else None
        return _refuse(401, UNAUTHORIZED) if id is None else self._register(id or None, only)

    async def _read(self, body: bytes, only: str | None) -> tuple[Post, list[Entry]]:
        """Read a post. A large one is read in a thread, so that others do not wait for their answers meanwhile."""
        salt = self._journal.salt
        if len(body) <= LARGE_BYTES:
            return read_entries(body, only, salt)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._large_bodies, read_entries, body, only, salt)

    async def _route(self, post: Post, entries: list[Entry], only: str | None) -> tuple[Routing, list[Entry]]:
        """Return the connections that a post is for, and its entries as they are stored for these."""
        if self._router is None:
            return Routing(connections=self._configured), entries
        routing = await self._router.route(post, only, now_ms())
        return routing, [of_account(entry, routing.account) for entry in entries]

    async def _store(self, post: Post, entries: list[Entry], routing: Routing) -> HttpAnswer:
        """Store a message durably, then answer it."""
        if not self._configured:
            return problem(503, "no connection is configured")
        if entries and (reason := self._backpressure()):
            return problem(503, f"{reason}; try again later", retry_after_s=RETRY_AFTER_FULL_S)
        new = 0
        if entries or routing.sealed:
            new = await self._journal.accept(entries, routing.connections, routing.sealed)
        if new < len(entries):
            new += await self._store_conflicting(entries, routing)
        metrics.count_batches(post.kind, len(entries), new)
        ids = [id[:MAX_LOGGED_CHARS] for id in ([post.id] if post.id else post.accepted[:MAX_LOGGED_IDS])]
        logger.info("accepted", kind=post.kind, ids=ids, batches=len(entries), repeated=len(entries) - new)
        status, body = make_answer(post, now_ms(), suspended=routing.suspended)
        return HttpAnswer(status=status, body=body)

    async def _store_conflicting(self, entries: list[Entry], routing: Routing) -> int:
        """Store, under ids of their own, batches whose id was used for other content. Return how many were new."""
        conflicting = await self._journal.conflicting(entries)
        if not conflicting:
            return 0
        renamed = [under_own_id(entry, self._journal.salt) for entry in conflicting]
        new = await self._journal.accept(renamed, routing.connections)
        if new:
            metrics.count_conflicts(new)
            ids = [
                {"id": entry.message[:MAX_LOGGED_CHARS], "stored_as": other.message[-MAX_LOGGED_CHARS:]}
                for entry, other in zip(conflicting, renamed, strict=True)
            ]
            logger.warning("message id used for other content", batches=new, ids=ids[:MAX_LOGGED_IDS])
        return new

    def _register(self, id: str | None, only: str | None) -> HttpAnswer:
        """Answer what this gateway, or one of its connections, is; mParticle asks before it has any credentials."""
        chosen = [
            self._connections[name] for name in self._configured if name in self._connections and only in (None, name)
        ]
        if not chosen:
            return problem(503, "no connection can be registered; see the gateway's log")
        document = make_registration([describe_plugin(one) for one in chosen], request_id=id, now_ms=now_ms())
        return HttpAnswer(status=200, body=msgspec.json.encode(document))


UNAUTHORIZED = "the Authorization header is missing or is not one that is accepted here"


def _refuse(status: int, text: str, where: str | None = None) -> HttpAnswer:
    """Return an answer that says what is wrong, and write the same to the log."""
    logger.warning("post refused", status=status, problem=text, **({"where": where} if where else {}))
    return problem(status, text, where)


def places(error: Exception) -> list[str]:
    """Return where an exception came from, the innermost place last; never its text, which may hold a user's data."""
    frames = traceback.extract_tb(error.__traceback__, limit=-5)
    return [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
