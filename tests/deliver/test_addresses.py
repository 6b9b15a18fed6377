"""Where a call goes on the wire: what httpx would make of its URL, byte for byte."""

import asyncio
from types import SimpleNamespace

import httpx
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from gateway.deliver.sender import make_request
from gateway.deliver.transport import Transport
from gateway.plan import InvalidPlan, check_call
from gateway.sdk import Call, path

pytestmark = pytest.mark.anyio
SEGMENTS = st.text(min_size=1).filter(lambda text: text not in (".", ".."))  # which ``path`` refuses
BASES = ["http://127.0.0.1:1", "https://api.example.com", "https://example.com/a/base", "http://[::1]:8080/x"]


def target(base, call):
    """The target of the request line, and the server it goes to."""
    made = make_request(SimpleNamespace(base_url=base), call)
    return made.extensions.get("target", made.url.raw_path), made.url.netloc, made.headers["host"]


def by_httpx(base, call):
    """The same by httpx alone."""
    made = httpx.Request(call.method, f"{base}/{call.path}", params=dict(call.params) or None)
    return made.url.raw_path, made.url.netloc, made.headers["host"]


@given(st.sampled_from(BASES), st.lists(SEGMENTS, min_size=1, max_size=3))
def test_a_path_of_quoted_segments_is_sent_as_httpx_would(base, segments):
    call = Call(method="GET", path=path(*segments))
    assert target(base, call) == by_httpx(base, call)


@given(st.sampled_from(BASES), st.text(st.characters(exclude_characters="?#\\", exclude_categories=["Cc", "Cs"])))
def test_so_is_whatever_else_a_path_may_be(base, text):
    call = Call(method="GET", path=f"x{text}")
    try:
        check_call(call)
    except InvalidPlan:
        reject()  # is never sent
    assert target(base, call) == by_httpx(base, call)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (Call(method="GET", path="users/a%2Fb;c=1"), b"GET /base/users/a%2Fb;c=1 HTTP/1.1"),
        (Call(method="GET", path="users/ä b%zz"), b"GET /base/users/%C3%A4%20b%zz HTTP/1.1"),
        (Call(method="POST", path=""), b"POST /base HTTP/1.1"),
        (Call(method="GET", path="", params={"n": "1"}), b"GET /base?n=1 HTTP/1.1"),
        (Call(method="GET", path="users", params={"id": "é&", "n": "1"}), b"GET /base/users?id=%C3%A9%26&n=1 HTTP/1.1"),
    ],
)
async def test_the_wire_has_it_so(call, expected):
    lines = []

    async def answer(reader, writer):
        lines.append((await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0])
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    transport = Transport(connect_timeout_s=1, reply_timeout_s=1)
    base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/base"
    await transport.handle_async_request(make_request(SimpleNamespace(base_url=base), call))
    await transport.aclose()
    server.close()
    assert lines == [expected]
