"""The hooks of SessionM: mParticle's facts as calls of SessionM's API."""

from __future__ import annotations

from gateway.sdk import (
    AttributeChange,
    Batch,
    Call,
    ConsentChange,
    Defaults,
    Destination,
    Event,
    Membership,
    Memory,
    Plan,
    Reply,
    Skip,
    User,
    Verdict,
    hookimpl,
)
from gateway_sessionm.audiences import plan_membership
from gateway_sessionm.calls import get_base_url, get_rates
from gateway_sessionm.consents import plan_consents
from gateway_sessionm.erasures import plan_erasure
from gateway_sessionm.events import plan_event
from gateway_sessionm.follow_ups import follow_up
from gateway_sessionm.identities import plan_identities
from gateway_sessionm.merging import merge_calls
from gateway_sessionm.profiles import plan_attributes
from gateway_sessionm.reasons import REASONS
from gateway_sessionm.settings import SessionMSettings
from gateway_sessionm.signing import sign_call
from gateway_sessionm.user_keys import CUSTOMER_ID


@hookimpl
def destination() -> Destination:
    """Declare SessionM as a destination."""
    return Destination(
        title="SessionM",
        description="Customer loyalty: profiles, and the events that customers earn by.",
        settings=SessionMSettings,
        base_url=get_base_url,
        platforms=(
            "ios",
            "android",
            "web",
            "tvos",
            "roku",
            "alexa",
            "smart_tv",
            "fire_tv",
            "xbox",
            "out_of_band",
        ),
        event_types=("custom_event", "screen_view", "user_attribute_change", "user_identity_change"),
        defaults=Defaults(new_data_points=False, login_identities=(CUSTOMER_ID,)),
        rates=get_rates,
        reasons=REASONS,
        reply_timeout_s=10.0,
    )


@hookimpl
def on_identity(user: User, memory: Memory, settings: SessionMSettings) -> Plan:
    """Write the e-mail address, and complete SessionM's list of the user's ids."""
    return plan_identities(user, memory, settings)


@hookimpl
def on_attributes(changes: tuple[AttributeChange, ...], user: User, settings: SessionMSettings) -> Plan:
    """Write the whole profile."""
    return plan_attributes(changes, user, settings)


@hookimpl
def on_consent(changes: tuple[ConsentChange, ...], user: User, settings: SessionMSettings) -> Plan:
    """Write whether the user has opted in."""
    return plan_consents(changes, user, settings)


@hookimpl
def on_event(event: Event, user: User, batch: Batch, settings: SessionMSettings) -> Plan:
    """Post a custom event or a screen view."""
    return plan_event(event, user, batch, settings)


@hookimpl
def on_session() -> Plan:
    """Skip sessions, which SessionM does not take."""
    return Skip(reason="unsupported_event_type")


@hookimpl
def on_audience() -> Plan:
    """Skip audiences themselves: SessionM has no such thing, only their members are sent."""
    return Skip(reason="no_audiences")


@hookimpl
def on_membership(membership: Membership, user: User, settings: SessionMSettings) -> Plan:
    """Write whether the user is a member of the audience."""
    return plan_membership(membership, user, settings)


@hookimpl
def on_erasure(user: User, settings: SessionMSettings) -> Plan:
    """Delete the customer."""
    return plan_erasure(user, settings)


@hookimpl
def coalesce(calls: tuple[Call, ...]) -> list[Call]:
    """Merge the profile writes that wait for a user."""
    return merge_calls(calls)


@hookimpl
def sign(call: Call, settings: SessionMSettings) -> Call:
    """Add the credentials to a call that is about to be sent."""
    return sign_call(call, settings)


@hookimpl
def on_reply(call: Call, reply: Reply, settings: SessionMSettings) -> Verdict | Plan:
    """Judge a reply, or make the next call of the same delivery."""
    return follow_up(call, reply, settings)
