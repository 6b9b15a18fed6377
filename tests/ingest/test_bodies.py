"""Bodies: read and inflated, never beyond a bound."""

import asyncio
import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ingest.bodies import Allowance, Body, BodyRefused, BodyTimer, ClientGone, inflate

pytestmark = pytest.mark.anyio
MOST = 1_000


def receiving(*chunks, gone=False):
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages.append({"type": "http.disconnect"} if gone else {"type": "http.request", "body": b"", "more_body": False})
    taken = iter(messages)

    async def receive():
        return next(taken)

    return receive


async def read(*chunks, headers=(), allowance=None, **how):
    with Body(headers, MOST, allowance or Allowance(10_000)) as body:
        return await body.read(receiving(*chunks, **how), BodyTimer(5.0))


async def test_chunks_are_joined():
    assert await read(b"ab", b"", b"c") == b"abc"


@pytest.mark.parametrize("encoding", [b"gzip", b"x-gzip", b"GZIP "])
async def test_gzip_is_inflated(encoding):
    assert await read(gzip.compress(b"hello"), headers=[(b"content-encoding", encoding)]) == b"hello"


async def test_deflate_is_inflated():
    assert await read(zlib.compress(b"hello"), headers=[(b"content-encoding", b"deflate")]) == b"hello"


async def test_all_members_of_a_gzip_file_are_inflated():
    members = b"".join(gzip.compress(one) for one in (b"hel", b"", b"lo"))
    assert await read(members[:30], members[30:], headers=[(b"content-encoding", b"gzip")]) == b"hello"


@given(st.lists(st.binary(max_size=60_000), min_size=1, max_size=5))
def test_members_are_inflated_wherever_they_begin(texts):
    body = b"".join(gzip.compress(text, compresslevel=0) for text in texts)
    assert inflate(body, 300_000) == b"".join(texts)


PACKED = gzip.compress(b"hello")


@pytest.mark.parametrize(
    ("chunks", "headers", "status"),
    [
        ([b"x" * 1_001], [], 413),
        ([b"x" * 600, b"x" * 600], [], 413),
        ([], [(b"content-length", b"1001")], 413),
        ([gzip.compress(b"x" * 1_001)], [(b"content-encoding", b"gzip")], 413),
        ([b"hello"], [(b"content-encoding", b"gzip")], 400),
        ([PACKED[:-4]], [(b"content-encoding", b"gzip")], 400),
        ([PACKED + b"more"], [(b"content-encoding", b"gzip")], 400),
        ([PACKED + PACKED[:-4]], [(b"content-encoding", b"gzip")], 400),
        ([PACKED + b"hello"], [(b"content-encoding", b"gzip")], 400),
        ([b""], [(b"content-encoding", b"gzip")], 400),
        ([gzip.compress(b"x" * 600) * 2], [(b"content-encoding", b"gzip")], 413),
        ([b"hello"], [(b"content-encoding", b"br")], 415),
    ],
)
async def test_what_cannot_be_taken_is_refused(chunks, headers, status):
    with pytest.raises(BodyRefused) as refused:
        await read(*chunks, headers=headers)
    assert refused.value.status == status


async def test_a_declared_length_is_believed_before_anything_is_read():
    with Body([(b"content-length", b"104857600")], MOST, Allowance(10_000)) as body, pytest.raises(BodyRefused):
        await body.read(None, BodyTimer(5.0))


async def test_a_bomb_is_refused_before_it_is_inflated():
    bomb = gzip.compress(b"\0" * 900_000)
    assert len(bomb) < MOST
    allowance = Allowance(10_000)
    with pytest.raises(BodyRefused) as refused:
        await read(bomb, headers=[(b"content-encoding", b"gzip")], allowance=allowance)
    assert refused.value.status == 413


async def test_a_client_that_goes_away_is_told_from_one_that_ends():
    with pytest.raises(ClientGone):
        await read(b"ab", gone=True)


async def test_what_is_in_hand_is_bounded_and_given_back():
    allowance = Allowance(1_500)
    with Body([], MOST, allowance) as first:
        await first.read(receiving(b"x" * 1_000), BodyTimer(5.0))
        with pytest.raises(BodyRefused) as refused:
            await read(b"x" * 1_000, allowance=allowance)
        assert refused.value.status == 503
    assert await read(b"x" * 1_000, allowance=allowance) == b"x" * 1_000


async def test_a_body_that_keeps_dripping_is_too_slow():
    async def drips():
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b"x", "more_body": True}

    allowance = Allowance(10_000)
    with Body((), MOST, allowance) as body, pytest.raises(BodyRefused) as refused:
        await body.read(drips, BodyTimer(0.05))
    assert (refused.value.status, refused.value.problem) == (408, "the body did not arrive within 0.05 seconds")
    allowance.take(10_000)


async def test_each_body_has_its_own_time_whichever_others_are_being_read():
    patience = BodyTimer(0.08)

    async def one(seconds):
        await asyncio.sleep(seconds / 2)

        async def receive():
            await asyncio.sleep(seconds)
            return {"type": "http.request", "body": b"x"}

        with Body((), MOST, Allowance(10)) as body:
            return await body.read(receive, patience)

    async def outcome(seconds):
        try:
            return await one(seconds)
        except BodyRefused as refused:
            return refused.status

    times = [0.2, 0.0, 0.04, 0.12, 0.02]
    for _ in range(2):
        assert await asyncio.gather(*map(outcome, times)) == [408, b"x", b"x", 408, b"x"]


async def test_whoever_is_stopped_from_outside_is_stopped():
    patience = BodyTimer(0.05)

    async def never():
        await asyncio.sleep(5)

    async def reading():
        with Body((), MOST, Allowance(10)) as body:
            await body.read(never, patience)

    task = asyncio.create_task(reading())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.06)  # nobody is left to be late
    assert asyncio.current_task().cancelling() == 0


def raw_deflate(text):
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(text) + packer.flush()


PLAIN = b'{"a": 1}'
GZIPPED, ZLIBBED = gzip.compress(PLAIN, mtime=0), zlib.compress(PLAIN)


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (GZIPPED, b""),
        (GZIPPED, b"identity"),
        (GZIPPED, b"deflate"),
        (GZIPPED, b"br"),
        (ZLIBBED, b""),
        (ZLIBBED, b"gzip"),
        (PLAIN, b"gzip"),
        (PLAIN, b"deflate"),
        (PLAIN, b"br"),
        (raw_deflate(PLAIN), b"deflate"),
    ],
)
async def test_the_first_bytes_of_a_body_say_how_it_is_encoded_whatever_the_header_says(body, encoding):
    assert await read(body, headers=[(b"content-encoding", encoding)]) == PLAIN
