"""Answers: the responses to mParticle once everything that it posted is stored."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from gateway.mparticle.json import encode
from gateway.mparticle.posts import Post

FIREHOSE_VERSION = "3.2.0"

SUSPEND = "suspend_subscription"
SUSPENDED_BY = frozenset({"event_processing_request", "audience_membership_change_request"})
"""The messages whose answer may suspend a subscription; that to events has the member only if it does."""
TYPED: dict[str, dict[str, Any]] = {
    "event_processing_request": {},
    "audience_subscription_request": {"audience_subscription_settings": {}},
    "audience_membership_change_request": {SUSPEND: False},
    "dsr_processing_request": {},
}
"""The Firehose messages that have an answer of their own kind, and what it says besides its envelope."""


def make_answer(post: Post, now_ms: int, *, suspended: bool = False) -> tuple[int, bytes]:
    """Return the status and JSON body that accept a post: the typed response to Firehose, else the accepted ids.

    ``suspended`` asks mParticle to forward no more until the customer has mended the settings. A request
    for registration is answered by ``make_registration``.
    """
    if post.kind in TYPED:
        said = {name: suspended if name == SUSPEND else value for name, value in TYPED[post.kind].items()}
        if suspended and post.kind in SUSPENDED_BY:
            said[SUSPEND] = True
        return 200, encode({**make_envelope(post.kind, post.id, now_ms), **said})
    return 202, encode({"accepted": post.accepted})


def make_envelope(kind: str, request_id: str | None, now_ms: int) -> dict[str, Any]:
    """Return the members that every response to a message of this kind begins with, under the id of its request."""
    return {
        "type": f"{kind.removesuffix('_request')}_response",
        "id": request_id or str(uuid4()),
        "timestamp_ms": now_ms,
        "firehose_version": FIREHOSE_VERSION,
    }
