"""Bodies of posts: read, stored, answered, and planned by both plugins."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from fuzz.gateways import AUTHORIZATION, DOCUMENTS, Ingest, Loop, Planning
from fuzz.mutations import damage, make_value, mutate, write
from fuzz.targets import Finding

EXPECTED = frozenset({200, 202, 400, 413, 415})
ANSWER_S = 10.0
INNOCENT = {"type": "event_processing_request", "mpid": "-77", "user_attributes": {"plan": "gold"}}
Headers = list[tuple[bytes, bytes]]


def make_body(random: Random) -> tuple[bytes, Headers]:
    """Return a body with its headers: mostly a document with strange values, sometimes with damaged bytes."""
    kind = random.random()
    document = make_value(random) if kind < 0.02 else mutate(random, random.choice(DOCUMENTS))
    if kind > 0.95 and isinstance(document, dict):
        document = [document, *(mutate(random, random.choice(DOCUMENTS)) for _ in range(random.randrange(4)))]
    body = write(random, document)
    if random.random() < 0.15:
        body = damage(random, body)
    packing = random.random()
    if packing < 0.9:
        return body, []
    packed = gzip.compress(body, 1) if packing < 0.96 else zlib.compress(body, 1)
    if random.random() < 0.3:
        packed = damage(random, packed)
    return packed, [(b"content-encoding", random.choice((b"gzip", b"deflate", b"identity", b"br", b"gzip, gzip")))]


async def post(application: Any, body: bytes, headers: Headers, path: str = "/mparticle") -> tuple[int, bytes]:
    """Post a body to the application. Return the status and the answer's body."""
    sent: list[Any] = []
    incoming = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        return incoming.pop() if incoming else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "root_path": "",
        "query_string": b"",
        "headers": [(b"authorization", AUTHORIZATION), *headers],
    }
    async with asyncio.timeout(ANSWER_S):
        await application(scope, receive, send)
    return sent[0]["status"], sent[1]["body"]


class Bodies:
    """The endpoint, in process. One input in eight is posted together with another client's good message."""

    name = "bodies"
    weight = 500

    def __init__(self, directory: Path) -> None:
        self._loop = Loop()
        self._ingest = Ingest(directory / self.name)
        self._planning = Planning()
        self._tried = 0

    def try_input(self, random: Random) -> str:
        """Post one body. Raises Finding."""
        body, headers = make_body(random)
        self._tried += 1
        innocent = {**INNOCENT, "id": str(self._tried)} if random.random() < 0.125 else None
        status, answer = self._loop.run(self._post(body, headers, innocent))
        if status not in EXPECTED:
            raise Finding(f"the answer is {status}: {answer[:300]!r}")
        msgspec.json.decode(answer or b"null")
        accepted = list(self._ingest.journal.accepted)
        calls = sum(map(self._planning.plan, accepted))
        return f"{status}" if not accepted else f"{status} {'with' if calls else 'without'} calls"

    async def _post(self, body: bytes, headers: Headers, innocent: Any) -> tuple[int, bytes]:
        application = await self._ingest.application()
        if innocent is None:
            return await post(application, body, headers)
        given, beside = await asyncio.gather(
            post(application, body, headers), post(application, msgspec.json.encode(innocent), [])
        )
        if beside[0] not in (200, 202):
            raise Finding(f"the good message of another client was answered {beside[0]}: {beside[1][:300]!r}")
        return given

    def close(self) -> None:
        """Close the journal and the loop."""
        self._loop.run(self._ingest.close())
        self._loop.close()
