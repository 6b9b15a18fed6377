"""Builders of facts with realistic values, each of which a test may set."""

from __future__ import annotations

from typing import Any

from gateway.sdk import (
    JSON,
    Batch,
    CustomEvent,
    Event,
    Identity,
    Membership,
    ScreenView,
    Session,
    User,
)

EVENT_ID = "5b7a3f0e-0000-4000-8000-000000000001"
TIME_MS = 1_714_565_696_789  # 2024-05-01 12:14:56.789 UTC


def identity(type: str, value: str, **fields: Any) -> Identity:
    """Return a raw identity."""
    return Identity(type=type, value=value, **fields)


def user(
    mpid: str | None = "7346244611012968789",
    *,
    attributes: dict[str, JSON] | None = None,
    removed: tuple[str, ...] = (),
    **identities: str,
) -> User:
    """Return a user with raw identities given as keywords: ``user(email="jo@example.com", customer_id="c-1")``."""
    return User(
        mpid=mpid,
        identities=tuple(identity(type, value) for type, value in identities.items()),
        attributes=attributes or {},
        removed_attributes=removed,
    )


def custom_event(name: str = "Reward Claimed", **fields: Any) -> CustomEvent:
    """Return a custom event, by default without attributes."""
    return CustomEvent(**{"id": EVENT_ID, "type": "custom_event", "time_ms": TIME_MS, "name": name, **fields})


def screen_view(name: str = "Home", **fields: Any) -> ScreenView:
    """Return a screen view."""
    return ScreenView(**{"id": EVENT_ID, "type": "screen_view", "time_ms": TIME_MS, "name": name, **fields})


def session(*, started: bool = True, **fields: Any) -> Session:
    """Return the start of a session, or its end."""
    type = "session_start" if started else "session_end"
    return Session(**{"id": EVENT_ID, "type": type, "time_ms": TIME_MS, "started": started, **fields})


def membership(audience: str = "Gold", action: str = "add", **fields: Any) -> Membership:
    """Return a membership of an audience: ``add``, ``delete`` or ``attribute_update``."""
    return Membership(**{"audience_id": "1234", "audience_name": audience, "action": action, **fields})


def batch(*events: Event, user: User | None = None, **fields: Any) -> Batch:
    """Return a batch of these events from a Firehose message; by default its user has just an MPID."""
    base: dict[str, Any] = {
        "id": "b3d9def7-0000-4000-8000-00000000cafe",
        "dialect": "firehose",
        "received_ms": TIME_MS,
        "environment": "production",
        "user": User(mpid="7346244611012968789") if user is None else user,
        "events": events,
    }
    return Batch(**{**base, **fields})
