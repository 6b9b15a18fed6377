"""Events: what users did, as events that Lifecycle Optimizer flows can start from."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from gateway.sdk import JSON, Call, CustomEvent, Event, ProductAction, Reply, Session, Skip, User, Verdict
from gateway_sailthru import calls, purchases
from gateway_sailthru.addresses import address_of
from gateway_sailthru.kinds import KINDS, PREFIX
from gateway_sailthru.names import RESERVED_EVENTS
from gateway_sailthru.replies import is_missing, judge
from gateway_sailthru.settings import SailthruSettings
from gateway_sailthru.values import variables

AGAIN = "event:again"
FED_BY_SAILTHRU = frozenset(
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


def plan(happened: Event, user: User, settings: SailthruSettings) -> Iterator[Call | Skip]:
    """An event of a kind that is wanted, a purchase as the settings want it."""
    kind, described = KINDS.get(type(happened), (None, None))
    if described is None:
        yield Skip(reason="not_an_app_event")
        return
    if kind not in settings.app_events:
        yield Skip(reason="kind_not_selected", setting="app_events")
        return
    if settings.skip_sailthru_events and is_fed_by_sailthru(happened):
        yield Skip(reason="loop", setting="skip_sailthru_events")
        return
    email = address_of(user)
    if isinstance(email, Skip):
        yield email
        return
    ways = {"event"}
    skips: list[Skip] = []
    if isinstance(happened, ProductAction) and happened.action == "purchase":
        ways = {"event", "purchase"} if settings.purchases == "both" else {settings.purchases}
        if "purchase" in ways:
            sold, skips = purchases.purchase(happened, email, settings)
            yield sold if isinstance(sold, Call) or ways == {"purchase"} else Skip(reason=sold.reason, what="purchase")
            yield from dict.fromkeys(skips)
    if "event" in ways:
        name, facts = described(happened)
        yield from (part for part in _sent(happened, name, facts, email, settings) if part not in skips)


def plan_session(session: Session, user: User, settings: SailthruSettings) -> Iterator[Call | Skip]:
    """A session that started or ended."""
    email = address_of(user)
    if isinstance(email, Skip):
        yield email
        return
    facts = {"session_id": session.session_id, "session_length_ms": session.length_ms}
    yield from _sent(session, "mp_session_start" if session.started else "mp_session_end", facts, email, settings)


def is_fed_by_sailthru(happened: Event) -> bool:
    """Whether this is one of the events that Sailthru's own feed puts into mParticle."""
    return isinstance(happened, CustomEvent) and happened.custom_type == "other" and happened.name in FED_BY_SAILTHRU


def _sent(
    happened: Event, name: str, facts: dict[str, JSON], email: str, settings: SailthruSettings
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
    if settings.time_var and happened.time_ms is not None:
        facts[settings.time_var] = happened.time_ms // 1000
    attributes, skips = variables(happened.attributes, settings, taken=facts)
    yield calls.event(email, name, attributes | facts)
    yield from skips


def on_sent(call: Call, reply: Reply, settings: SailthruSettings) -> list[Call] | Verdict | None:
    """An event was sent: where nobody has its address, somebody shall, and then it is sent once more."""
    if is_missing(reply):
        return [calls.upsert(call.json["id"]), msgspec.structs.replace(call, memo={"step": AGAIN})]
    return judge(call, reply, settings)
