"""Events as Firehose messages spell them."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

import msgspec

from gateway.mparticle import commerce
from gateway.mparticle.event_common import CHANGES, Common, EventFacts, Reader, add_event, read_location, read_payload
from gateway.mparticle.fields import (
    Fields,
    Unreadable,
    attributes,
    flag,
    identifier,
    inner,
    integer,
    is_no_id,
    items,
    known_id,
    mapping,
    required,
    text,
    time,
    word,
)
from gateway.mparticle.identities import Identities, read_list
from gateway.mparticle.messages import open_object
from gateway.sdk import (
    AppState,
    AttributeChange,
    Attribution,
    Batch,
    CustomEvent,
    ErrorReport,
    Event,
    Identity,
    IdentityChange,
    OptOut,
    OtherEvent,
    PushMessage,
    PushRegistration,
    ScreenView,
    Session,
    UnknownEvent,
)


class FirehoseEventHead(msgspec.Struct):
    """An event's head: its type and ids, and nothing else of it."""

    type: Any = None
    id: Any = None
    source_id: Any = None

    @property
    def ids(self) -> tuple[Any, ...]:
        """The ids it goes by, its own first."""
        return tuple(id for id in (self.id, self.source_id) if not is_no_id(id))


head = msgspec.json.Decoder(FirehoseEventHead).decode


def read_event(raw: msgspec.Raw, index: int, batch: Batch) -> EventFacts:
    """One entry of ``events``. Raises Unreadable."""
    fields = open_object(raw)
    type = required(word(fields, "type"), "type")
    if type in CHANGES:
        common = _read_common(fields, index, batch)
        read_changes = _read_attribute_changes if type == "user_attribute_change" else _read_identity_changes
        changes = read_changes(fields, common["time_ms"])
        return add_event(changes, OtherEvent(**common, type=type, details=fields))
    read = READERS.get(type)
    if read is None:
        details = {**fields, "type": type}
        return (UnknownEvent(**_read_common(fields, index, batch), type=type, details=details),)
    return (read(_read_common(fields, index, batch), fields),)


def _read_common(fields: Fields, index: int, batch: Batch) -> Common:
    return {
        "id": known_id(text(fields, "id")) or f"{batch.id}:{index}",
        "source_id": known_id(text(fields, "source_id")),
        "time_ms": time(fields, "timestamp_ms"),
        "session_id": identifier(fields, "session_id"),
        "location": inner(fields, "location", read_location),
        "attributes": mapping(fields, "attributes"),
        "custom_flags": mapping(fields, "custom_flags"),
    }


def _read_attribute_changes(fields: Fields, time_ms: int | None) -> tuple[AttributeChange, ...]:
    """Read the attributes lost, then those set; a name in both was set again."""
    added, removed = attributes(fields, "added"), attributes(fields, "removed")
    return (
        *(
            AttributeChange(name=name, removed=True, old=old, time_ms=time_ms)
            for name, old in removed.items()
            if name not in added
        ),
        *(
            AttributeChange(name=name, value=value, old=removed.get(name), time_ms=time_ms)
            for name, value in added.items()
        ),
    )


def _read_identity_changes(fields: Fields, time_ms: int | None) -> tuple[IdentityChange, ...]:
    """Read the identities lost, then those changed or gained: of each type, the first lost became the first gained."""
    added, removed = _group_by_type(read_list(fields, "added")), _group_by_type(read_list(fields, "removed"))
    changes = [
        IdentityChange(type=type, old=old, new=new, time_ms=time_ms)
        for type in {**removed, **added}
        for old, new in zip_longest(removed.get(type, ()), added.get(type, ()))
    ]
    return tuple(sorted(changes, key=lambda change: change.new is not None))


def _group_by_type(identities: Identities) -> dict[str, list[Identity]]:
    found: dict[str, list[Identity]] = {}
    for identity in identities:
        found.setdefault(identity.type, []).append(identity)
    return found


def _read_session_start(common: Common, fields: Fields) -> Event:
    return Session(**common, type="session_start", started=True, details=fields)


def _read_session_end(common: Common, fields: Fields) -> Event:
    length_ms = integer(fields, "session_length_ms")
    return Session(**common, type="session_end", started=False, length_ms=length_ms, details=fields)


def _read_custom_event(common: Common, fields: Fields) -> Event:
    return CustomEvent(
        **common,
        type="custom_event",
        name=text(fields, "name") or "",
        custom_type=word(fields, "custom_event_type"),
        details=fields,
    )


def _read_screen_view(common: Common, fields: Fields) -> Event:
    return ScreenView(**common, type="screen_view", name=text(fields, "screen_name") or "", details=fields)


def _read_error(common: Common, fields: Fields) -> Event:
    return ErrorReport(
        **common,
        type="crash_report",
        message=text(fields, "message"),
        is_crash=flag(fields, "is_crash") or False,
        stack_trace=text(fields, "stack_trace"),
        breadcrumbs=tuple(items(fields, "breadcrumbs")),
        details=fields,
    )


def _read_privacy_setting_change(common: Common, fields: Fields) -> Event:
    """Read an opt-out, the only privacy setting that is known; return None for another."""
    setting = word(fields, "setting")
    if setting not in (None, "app_data_collection"):
        return UnknownEvent(**common, type="privacy_setting_change", details={**fields, "setting": setting})
    is_enabled = required(flag(fields, "is_enabled"), "is_enabled")
    return OptOut(**common, type="opt_out", opted_out=not is_enabled, details=fields)


def _read_push_subscription(common: Common, fields: Fields) -> Event:
    action = required(word(fields, "action"), "action")
    if action not in ("subscribe", "unsubscribe"):
        raise Unreadable("expected subscribe or unsubscribe, got another string", "action")
    return PushRegistration(
        **common,
        type="push_registration",
        registered=action == "subscribe",
        token=required(text(fields, "token"), "token"),
        details=fields,
    )


def _read_push_message_receipt(common: Common, fields: Fields) -> Event:
    content = read_payload(fields, "payload")
    return PushMessage(**common, type="push_message", action="received", payload=content, details=fields)


def _read_push_message_open(common: Common, fields: Fields) -> Event:
    content = read_payload(fields, "payload")
    return PushMessage(**common, type="push_message", action="opened", payload=content, details=fields)


def _read_application_state_transition(common: Common, fields: Fields) -> Event:
    return AppState(
        **common,
        type="application_state_transition",
        state=required(word(fields, "application_state"), "application_state"),
        launch_referral=text(fields, "launch_referral"),
        referral_application=text(fields, "referral_application"),
        launch_parameters=text(fields, "launch_parameters"),
        source_package=text(fields, "source_package"),
        details=fields,
    )


def _read_product_action(common: Common, fields: Fields) -> Event:
    return commerce.read_product_action(common, fields, details=fields, currency_code=text(fields, "currency_code"))


def _read_promotion_action(common: Common, fields: Fields) -> Event:
    return commerce.read_promotion_action(common, fields, details=fields)


def _read_impression(common: Common, fields: Fields) -> Event:
    return commerce.read_impression(common, fields, "impressions")


def _read_attribution(common: Common, fields: Fields) -> Event:
    return Attribution(
        **common,
        type="custom_event",
        name=text(fields, "name"),
        partner=text(fields, "partner_name"),
        publisher=text(fields, "publisher_name"),
        campaign=text(fields, "campaign_name"),
        details=fields,
    )


READERS: dict[str, Reader] = {
    "session_start": _read_session_start,
    "session_end": _read_session_end,
    "custom_event": _read_custom_event,
    "screen_view": _read_screen_view,
    "error": _read_error,
    "privacy_setting_change": _read_privacy_setting_change,
    "push_subscription": _read_push_subscription,
    "push_message_receipt": _read_push_message_receipt,
    "push_message_open": _read_push_message_open,
    "application_state_transition": _read_application_state_transition,
    "product_action": _read_product_action,
    "promotion_action": _read_promotion_action,
    "impression": _read_impression,
    "attribution": _read_attribution,
}
