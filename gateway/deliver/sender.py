"""Sending: sign one call, send it, and return the reply as a value."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any, TypeAlias

import httpx
import msgspec

from gateway import __version__
from gateway.plan import InvalidPlan, PluginFault, check_call, make_fault
from gateway.plugins.connections import Connection
from gateway.plugins.watchdog import HookTimeout
from gateway.sdk import Call, Reply

PartnerTransport: TypeAlias = httpx.AsyncBaseTransport
"""The port through which requests leave the gateway."""
USER_AGENT = f"mparticle-gateway/{__version__}"
NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
FAILURES: tuple[tuple[type[httpx.RequestError], str], ...] = (
    (httpx.ConnectTimeout, "connect_timeout"),
    (httpx.ConnectError, "connect"),
    (httpx.PoolTimeout, "no_descriptors"),
    (httpx.TimeoutException, "timeout"),
    (httpx.RemoteProtocolError, "garbage"),
    (httpx.DecodingError, "garbage"),
    (httpx.UnsupportedProtocol, "bad_url"),
)
PLAIN = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2}){1,8192}")
"""A path that needs no encoding, of at most 8192 characters."""

parse_url = lru_cache(64)(httpx.URL)
"""Parse the base URL of a connection; cached, as parsing takes httpx longer than the rest of a request."""


def make_request(connection: Connection, call: Call) -> httpx.Request:
    """Return the HTTP request of a signed call."""
    headers = {"user-agent": USER_AGENT, "accept": "application/json", **call.headers}
    content = None
    if call.json is not None:
        content = msgspec.json.encode(call.json)
        headers.setdefault("content-type", "application/json")
    files = {call.file.field: (call.file.name, call.file.content, call.file.type)} if call.file else None
    made = httpx.Request(
        call.method,
        **_address(connection.base_url, call),
        headers=headers,
        content=content,
        data=dict(call.form) if call.form is not None else None,
        files=files,
    )
    made.read()
    return made


def _address(base_url: str, call: Call) -> dict[str, Any]:
    """Return a request's URL as arguments; a plain path as httpx's extension ``target``, so that no URL is parsed."""
    if not call.path:
        return {"url": base_url, "params": dict(call.params) or None}
    if call.params or not PLAIN.fullmatch(call.path):
        return {"url": f"{base_url}/{call.path}", "params": dict(call.params) or None}
    base = parse_url(base_url)
    return {"url": base, "extensions": {"target": b"%b/%b" % (base.raw_path.rstrip(b"/"), call.path.encode())}}


def sign(connection: Connection, call: Call) -> Call:
    """Return the call with its credentials. Raises PluginFault."""
    hook = connection.plugin.hooks.get("sign")
    if hook is None:
        return call
    try:
        signed = hook(call=call, settings=connection.settings)
    except Exception as error:
        raise make_fault(connection, "sign", error) from error
    if not isinstance(signed, Call):
        raise make_fault(connection, "sign", InvalidPlan(f"expected a Call, got {type(signed).__name__}"))
    return signed


def build_request(connection: Connection, call: Call, guard: AbstractContextManager[None]) -> httpx.Request:
    """Return the signed request of a call. Raises PluginFault if it cannot be built."""
    try:
        with guard:
            return make_request(connection, check_call(sign(connection, call)))
    except (PluginFault, HookTimeout):
        raise
    except Exception as error:
        raise make_fault(connection, "request", error) from error


class Sender:
    """Sender of one connection's calls. ``guard`` limits the time that its plugin may take to sign one."""

    def __init__(
        self,
        connection: Connection,
        transport: PartnerTransport,
        *,
        now_ms: Callable[[], int],
        guard: AbstractContextManager[None],
    ) -> None:
        self._connection = connection
        self._transport = transport
        self._now_ms = now_ms
        self._guard = guard

    async def send(self, call: Call, *, attempt: int) -> Reply:
        """Sign and send a call; return every reply and failure as a Reply. Raises PluginFault if it cannot be built."""
        wire = self._build_request(call)
        try:
            answer = await self._transport.handle_async_request(wire)
        except httpx.RequestError as error:
            failure = next((name for kind, name in FAILURES if isinstance(error, kind)), "closed")
            sent = not isinstance(error, NEVER_SENT)
            return Reply(status=None, failure=failure, sent=sent, at_ms=self._now_ms(), attempt=attempt)
        return Reply(
            status=answer.status_code,
            headers={name.lower(): value for name, value in answer.headers.items()},
            body=answer.content,
            at_ms=self._now_ms(),
            attempt=attempt,
        )

    def _build_request(self, call: Call) -> httpx.Request:
        try:
            return build_request(self._connection, call, self._guard)
        except HookTimeout:  # perhaps the machine stalled: try once more
            pass
        try:
            return build_request(self._connection, call, self._guard)
        except HookTimeout as error:
            raise make_fault(self._connection, "sign", error) from error

    async def close(self) -> None:
        """Close every network connection."""
        await self._transport.aclose()
