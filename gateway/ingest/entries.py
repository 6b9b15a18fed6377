"""Entries: the parts of a post as the journal stores them."""

from __future__ import annotations

from hashlib import blake2b

from msgspec.structs import replace

from gateway.clock import now_ms
from gateway.journal.types import Entry, ErasureRequest, hash128, hash_lane, hash_ref
from gateway.mparticle.parts import AskedErasure, Part
from gateway.mparticle.posts import Post, read


def read_entries(body: bytes, only: str | None, salt: bytes) -> tuple[Post, list[Entry]]:
    """Read a post, and return it with an entry for each of its parts. Raises Malformed.

    ``only`` is the one connection that the post is for, None for all; ``salt`` is the journal's.
    """
    post, received_ms = read(body), now_ms()
    return post, [entry_of(part, post.dialect, received_ms, only, salt) for part in post.parts]


def entry_of(part: Part, dialect: str, received_ms: int, only: str | None, salt: bytes) -> Entry:
    """Return the entry of a part of a post."""
    return Entry(
        dedupe=hash128(part.dedupe if only is None else f"{only}\0{part.dedupe}"),
        user=hash_lane(part.user_key, salt),
        message=part.message,
        part=part.number,
        dialect=dialect,
        received_ms=received_ms,
        facts=part.facts,
        refs=tuple([hash_ref(ref, salt) for ref in part.refs]),
        body=part.body,
        scope=only,
        wish=None if part.wish is None else _wish(part.wish, received_ms, salt),
    )


def _wish(wished: AskedErasure, received_ms: int, salt: bytes) -> ErasureRequest:
    """Return an erasure request as the journal keeps it; none reaches beyond the moment at which it came."""
    asked_ms = received_ms if wished.asked_ms is None else min(wished.asked_ms, received_ms)
    return ErasureRequest(names=tuple([hash_ref(name, salt) for name in wished.names]), before_ms=asked_ms)


def of_account(entry: Entry, account: str) -> Entry:
    """Return the entry of a customer's message: an id that two customers use names two messages."""
    dedupe = hash128(f"{account}\0{entry.dedupe.hex()}") if account else entry.dedupe
    return replace(entry, scope=None, dedupe=dedupe)


def under_own_id(entry: Entry, salt: bytes) -> Entry:
    """Return an entry under an id made of its own and its content, for an id that was used for other content before.

    Both ids find it, and calls made for it are not those of the other batch. The same content gets the same id.
    """
    content = blake2b(entry.body, digest_size=16).hexdigest()
    message = f"{entry.message}.{content}"
    dedupe = hash128(f"{entry.dedupe.hex()}.{content}")
    return replace(entry, message=message, dedupe=dedupe, refs=(*entry.refs, hash_ref(message, salt)))
