"""Events as Events batches spell them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from gateway.mparticle import commerce, names
from gateway.mparticle.event_common import CHANGES, Common, EventFacts, Reader, add_event, read_location, read_payload
from gateway.mparticle.fields import (
    Fields,
    Unreadable,
    copy_field,
    drop_nulls,
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
    token,
    within,
    word,
)
from gateway.mparticle.identities import read_record
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


class EventDataHead(msgspec.Struct):
    """The ids that an event's data name."""

    event_id: Any = None
    message_id: Any = None
    source_message_id: Any = None


class BatchEventHead(msgspec.Struct):
    """An event's head: its type and ids, and nothing else of it."""

    event_type: Any = None
    message_id: Any = None
    data: EventDataHead | None = None

    @property
    def type(self) -> Any:
        """Its type, as Firehose would call the field."""
        return self.event_type

    @property
    def ids(self) -> tuple[Any, ...]:
        """The ids it goes by, its own first."""
        data = self.data or EventDataHead()
        return tuple(id for id in (self._own_id(data), data.source_message_id) if not is_no_id(id))

    def _own_id(self, data: EventDataHead) -> Any:
        return (data.message_id or self.message_id) if is_no_id(data.event_id) else data.event_id


head = msgspec.json.Decoder(BatchEventHead).decode


def read_event(raw: msgspec.Raw, index: int, batch: Batch) -> EventFacts:
    """One entry of ``events``. Raises Unreadable."""
    fields = open_object(raw)
    type = required(word(fields, "event_type"), "event_type")
    data = mapping(fields, "data")
    if fields:
        data = {**fields, **data}
    return within(lambda found: _read_facts(type, found, index, batch), data, "data")


def _read_facts(type: str, fields: Fields, index: int, batch: Batch) -> EventFacts:
    if type in CHANGES:
        common = _read_common(fields, index, batch)
        read_changes = _read_attribute_change if type == "user_attribute_change" else _read_identity_changes
        changes = read_changes(fields, common["time_ms"])
        return add_event(changes, OtherEvent(**common, type=type, details=fields))
    read = READERS.get(type)
    whole = {} if read or type in names.PLAIN_EVENTS else dict(fields)
    common = _read_common(fields, index, batch)
    if read is not None:
        return (_add_attribution(read(common, fields), batch.attribution),)
    if type in names.PLAIN_EVENTS:
        return (OtherEvent(**common, type=type, details=fields),)
    return (UnknownEvent(**common, type=type, details=whole),)


def _read_common(fields: Fields, index: int, batch: Batch) -> Common:
    return {
        "id": _read_own_id(fields) or f"{batch.id}:{index}",
        "source_id": known_id(text(fields, "source_message_id")),
        "time_ms": time(fields, "timestamp_unixtime_ms"),
        "session_id": identifier(fields, "session_id"),
        "session_uuid": text(fields, "session_uuid"),
        "location": inner(fields, "location", read_location),
        "attributes": mapping(fields, "custom_attributes"),
        "custom_flags": mapping(fields, "custom_flags"),
    }


def _read_own_id(fields: Fields) -> str | None:
    id = identifier(fields, "event_id")
    return known_id(token(fields, "message_id")) if is_no_id(id) else id


def _add_attribution(event: Event, info: Fields) -> Event:
    """Read an attribution, with the fields that only its batch has."""
    if not info or not isinstance(event, Attribution):
        return event
    said = {name: value for name, value in info.items() if type(value) is str}
    return msgspec.structs.replace(
        event,
        partner=said.get("service_provider"),
        publisher=event.publisher or said.get("publisher"),
        campaign=event.campaign or said.get("campaign"),
    )


def _read_attribute_change(fields: Fields, time_ms: int | None) -> tuple[AttributeChange, ...]:
    """Read an attribute that was set (a tag, if the new value is null) or deleted."""
    removed = flag(fields, "deleted") or False
    new, old = drop_nulls(fields.pop("new", None)), drop_nulls(fields.pop("old", None))
    change = AttributeChange(
        name=required(text(fields, "user_attribute_name"), "user_attribute_name"),
        value=None if removed else new,
        removed=removed,
        old=old,
        is_new=flag(fields, "is_new_attribute"),
        time_ms=time_ms,
    )
    return (change,)


def _read_identity_changes(fields: Fields, time_ms: int | None) -> tuple[IdentityChange, ...]:
    """Read an identity that was gained, lost or changed; if its type changed, one lost and one gained."""
    old, new = inner(fields, "old", read_record), inner(fields, "new", read_record)
    if old and new and old.type != new.type:
        return (_make_identity_change(old, None, time_ms), _make_identity_change(None, new, time_ms))
    return (_make_identity_change(old, new, time_ms),) if old or new else ()


def _make_identity_change(old: Identity | None, new: Identity | None, time_ms: int | None) -> IdentityChange:
    type = next(identity.type for identity in (new, old) if identity)
    return IdentityChange(type=type, old=old, new=new, time_ms=time_ms)


def _read_session_start(common: Common, fields: Fields) -> Event:
    return Session(**common, type="session_start", started=True, details=fields)


def _read_session_end(common: Common, fields: Fields) -> Event:
    length_ms = integer(fields, "session_duration_ms")
    return Session(**common, type="session_end", started=False, length_ms=length_ms, details=fields)


def _read_custom_event(common: Common, fields: Fields) -> Event:
    name = text(fields, "event_name") or ""
    custom_type = word(fields, "custom_event_type")
    if custom_type == "attribution":
        said = {key.lower(): value for key, value in common["attributes"].items() if type(value) is str}
        publisher, campaign = said.get("publisher"), said.get("campaign")
        return Attribution(
            **common, type="custom_event", name=name, publisher=publisher, campaign=campaign, details=fields
        )
    return CustomEvent(**common, type="custom_event", name=name, custom_type=custom_type, details=fields)


def _read_screen_view(common: Common, fields: Fields) -> Event:
    return ScreenView(**common, type="screen_view", name=text(fields, "screen_name") or "", details=fields)


def _read_crash_report(common: Common, fields: Fields) -> Event:
    return ErrorReport(
        **common,
        type="crash_report",
        message=text(fields, "message"),
        is_crash=not flag(fields, "exception_handled"),
        stack_trace=text(fields, "stack_trace"),
        breadcrumbs=tuple(items(fields, "breadcrumbs")),
        details=fields,
    )


def _read_opt_out(common: Common, fields: Fields) -> Event:
    opted_out = required(flag(fields, "is_opted_out"), "is_opted_out")
    return OptOut(**common, type="opt_out", opted_out=opted_out, details=fields)


def _read_push_registration(common: Common, fields: Fields) -> Event:
    return PushRegistration(
        **common,
        type="push_registration",
        registered=required(flag(fields, "register"), "register"),
        token=required(text(fields, "registration_token"), "registration_token"),
        details=fields,
    )


def _read_push_message(common: Common, fields: Fields) -> Event:
    action = required(word(fields, "push_message_type"), "push_message_type")
    return PushMessage(
        **common,
        type="push_message",
        action="opened" if action == "action" else action,
        payload=read_payload(fields, "push_notification_payload"),
        message=text(fields, "message"),
        token=text(fields, "push_message_token"),
        network=text(fields, "network"),
        details=fields,
    )


def _read_application_state_transition(common: Common, fields: Fields) -> Event:
    """Firehose's six states: the first start after an install or an upgrade is that; the flags stay in the details."""
    type = "application_state_transition"
    transition = required(word(fields, "application_transition_type"), "application_transition_type")
    state = transition.removeprefix("application_")
    if state == "initialized":
        installed = flag(copy_field(fields, "is_first_run"), "is_first_run")
        upgraded = flag(copy_field(fields, "is_upgrade"), "is_upgrade")
        state = "install" if installed else "upgrade" if upgraded else "initialize"
    return AppState(**common, type=type, state=state, launch_referral=text(fields, "launch_referral"), details=fields)


def _read_commerce_event(common: Common, fields: Fields) -> Event:
    """Read a commerce event of the kind whose member is filled; further filled members stay in the details."""
    if fields.get("product_action"):
        code = text(fields, "currency_code")
        return _read_member(
            fields, "product_action", lambda found: commerce.read_product_action(common, found, fields, code)
        )
    if fields.get("promotion_action"):
        return _read_member(
            fields, "promotion_action", lambda found: commerce.read_promotion_action(common, found, fields)
        )
    if fields.get("product_impressions"):
        return commerce.read_impression(common, fields, "product_impressions")
    raise Unreadable("neither a product_action nor a promotion_action nor product_impressions")


def _read_member(fields: Fields, name: str, read: Callable[[Fields], Event]) -> Event:
    """Read the event in a member; its further fields stay in the details, under the member's name."""
    found = mapping(fields, name)
    event = within(read, found, name)
    if found:
        fields[name] = found
    return event


READERS: dict[str, Reader] = {
    "session_start": _read_session_start,
    "session_end": _read_session_end,
    "custom_event": _read_custom_event,
    "screen_view": _read_screen_view,
    "crash_report": _read_crash_report,
    "opt_out": _read_opt_out,
    "push_registration": _read_push_registration,
    "push_message": _read_push_message,
    "application_state_transition": _read_application_state_transition,
    "commerce_event": _read_commerce_event,
}
