"""Driver of a plan: make its calls to a fake vendor over a real socket, one by one, without a gateway."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec

from gateway.deliver import verdicts
from gateway.plan import sort_answer
from gateway.plugins.connections import Connection
from gateway.sdk import Call, Reply, Verdict, delivered

MAX_FOLLOW_UPS = 8


def drive(
    connection: Connection, calls: Iterable[Call], *, wait: Callable[[float], object] | None = None
) -> list[Verdict]:
    """Sign, send and judge each call with its follow-ups, in order; return a verdict for each.

    Nothing is retried: a retry verdict is returned as it is. Delayed calls are made at once, after ``wait`` (for
    example ``fake.clock.advance``) was called with the seconds. Raises ValueError if the server is not on loopback.
    """
    return [_drive_call(connection, call, wait) for call in calls]


def _drive_call(connection: Connection, call: Call, wait: Callable[[float], object] | None, depth: int = 0) -> Verdict:
    if call.after_s and wait is not None:
        wait(call.after_s)
    reply = send(connection, call)
    answer: Any = None
    if "on_reply" in connection.plugin.hooks:
        answer = connection.plugin.hooks["on_reply"](call=call, reply=reply, settings=connection.settings)
    if answer is None:
        return verdicts.default_verdict(reply)
    if isinstance(answer, Verdict):
        return answer
    if depth == MAX_FOLLOW_UPS:
        raise RuntimeError("the plugin's follow-up calls do not end")
    last = delivered()
    for follow_up in sort_answer(answer).calls:
        last = _drive_call(connection, follow_up, wait, depth + 1)
        if last.word != "delivered":
            break
    return last


def send(connection: Connection, call: Call) -> Reply:
    """Sign a call, send it over a connection of its own, and return the reply."""
    if "sign" in connection.plugin.hooks:
        call = connection.plugin.hooks["sign"](call=call, settings=connection.settings)
    base = urlsplit(connection.base_url)
    if base.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise ValueError(f"only a server on loopback may be called, not {base.hostname!r}")
    query = f"?{urlencode(call.params)}" if call.params else ""
    body, headers = _content(call)
    wire = HTTPConnection(base.hostname, base.port, timeout=10)
    try:
        wire.request(call.method, f"{base.path}/{call.path}{query}", body=body, headers=headers)
        answer = wire.getresponse()
        return Reply(
            status=answer.status,
            headers={name.lower(): value for name, value in answer.getheaders()},
            body=answer.read(),
            at_ms=int(time.time() * 1000),
        )
    except (OSError, HTTPException) as error:
        return Reply(status=None, failure="connect" if isinstance(error, ConnectionRefusedError) else "closed")
    finally:
        wire.close()


def _content(call: Call) -> tuple[bytes | None, dict[str, str]]:
    if call.file is not None:
        boundary = "gateway-testing-boundary"
        fields = "".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in (call.form or {}).items()
        )
        file = call.file
        head = (
            f"--{boundary}\r\nContent-Disposition: form-data; "
            f'name="{file.field}"; filename="{file.name}"\r\nContent-Type: {file.type}\r\n\r\n'
        )
        body = fields.encode() + head.encode() + file.content + f"\r\n--{boundary}--\r\n".encode()
        return body, {"Content-Type": f"multipart/form-data; boundary={boundary}", **call.headers}
    if call.form is not None:
        return urlencode(call.form).encode(), {"Content-Type": "application/x-www-form-urlencoded", **call.headers}
    if call.json is not None:
        return msgspec.json.encode(call.json), {"Content-Type": "application/json", **call.headers}
    return None, dict(call.headers)
