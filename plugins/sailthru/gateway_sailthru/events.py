"""Events: mParticle's events and sessions as events that Lifecycle Optimizer flows can start from."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.sdk import JSON, Call, CustomEvent, Event, ProductAction, Session, Skip, User
from gateway_sailthru import calls, purchases
from gateway_sailthru.event_types import EVENT_TYPES, PREFIX
from gateway_sailthru.names import RESERVED_EVENTS
from gateway_sailthru.settings import SailthruSettings
from gateway_sailthru.user_keys import find_email
from gateway_sailthru.values import make_vars

SAILTHRU_EVENTS = frozenset(
    {
        "EMAIL_SUBSCRIBE",
        "EMAIL_UNSUBSCRIBE",
        "EMAIL_CLICK",
        "EMAIL_OPEN",
        "BLAST_SEND",
        "TRIGGERED_SEND",
        "EMAIL_BOUNCE",
        "EMAIL_COMPLAINT",
    }
)
"""The events that Sailthru's own feed puts into mParticle."""


def plan_event(event: Event, user: User, settings: SailthruSettings) -> Iterator[Call | Skip]:
    """Send an event of a selected type; send a purchase as the settings say."""
    event_type, describe = EVENT_TYPES.get(type(event), (None, None))
    if describe is None:
        yield Skip(reason="not_an_app_event")
        return
    if event_type not in settings.app_events:
        yield Skip(reason="kind_not_selected", setting="app_events")
        return
    if settings.skip_sailthru_events and _comes_from_sailthru(event):
        yield Skip(reason="loop", setting="skip_sailthru_events")
        return
    email = find_email(user)
    if isinstance(email, Skip):
        yield email
        return
    ways = {"event"}
    skips: list[Skip] = []
    if isinstance(event, ProductAction) and event.action == "purchase":
        ways = {"event", "purchase"} if settings.purchases == "both" else {settings.purchases}
        if "purchase" in ways:
            sold, skips = purchases.build_purchase(event, email, settings)
            yield sold if isinstance(sold, Call) or ways == {"purchase"} else Skip(reason=sold.reason, what="purchase")
            yield from dict.fromkeys(skips)
    if "event" in ways:
        name, facts = describe(event)
        yield from (part for part in _send(event, name, facts, email, settings) if part not in skips)


def plan_session(session: Session, user: User, settings: SailthruSettings) -> Iterator[Call | Skip]:
    """Send the start or the end of a session."""
    email = find_email(user)
    if isinstance(email, Skip):
        yield email
        return
    facts = {"session_id": session.session_id, "session_length_ms": session.length_ms}
    yield from _send(session, "mp_session_start" if session.started else "mp_session_end", facts, email, settings)


def _comes_from_sailthru(event: Event) -> bool:
    return isinstance(event, CustomEvent) and event.custom_type == "other" and event.name in SAILTHRU_EVENTS


def _send(
    event: Event, name: str, facts: dict[str, JSON], email: str, settings: SailthruSettings
) -> Iterator[Call | Skip]:
    if not name:
        yield Skip(reason="no_name")
        return
    if name in RESERVED_EVENTS:
        if settings.reserved_event_names == "skip":
            yield Skip(reason="reserved_name", setting="reserved_event_names")
            return
        name = f"{PREFIX}{name}"
    facts = {fact: value for fact, value in facts.items() if value not in (None, "", [])}
    if settings.time_var and event.time_ms is not None:
        facts[settings.time_var] = event.time_ms // 1000
    attributes, skips = make_vars(event.attributes, settings, taken=facts)
    yield calls.send_event(email, name, attributes | facts)
    yield from skips
