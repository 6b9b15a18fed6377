"""The hooks of Sailthru: mParticle's facts as calls of Sailthru's API."""

from __future__ import annotations

from gateway.sdk import (
    AttributeChange,
    Audience,
    Batch,
    Call,
    ConsentChange,
    Defaults,
    Destination,
    Erasure,
    Event,
    IdentityChange,
    Membership,
    Memory,
    Plan,
    Reply,
    Session,
    User,
    Verdict,
    hookimpl,
)
from gateway_sailthru.audiences import plan_audience, plan_membership
from gateway_sailthru.bulk import get_pools, merge_pool
from gateway_sailthru.calls import get_base_url, get_rate_headers, get_rates
from gateway_sailthru.consents import plan_consents
from gateway_sailthru.erasures import find_time_of_last_event, plan_erasure, skip_if_erased
from gateway_sailthru.events import plan_event, plan_session
from gateway_sailthru.follow_ups import follow_up
from gateway_sailthru.identities import plan_identities
from gateway_sailthru.merging import merge_calls
from gateway_sailthru.profiles import plan_attributes
from gateway_sailthru.reasons import REASONS
from gateway_sailthru.settings import SailthruSettings
from gateway_sailthru.signing import sign_call
from gateway_sailthru.sizes import skip_too_large

MAX_AGE_HOURS = 14 * 24.0


@hookimpl
def destination() -> Destination:
    """Declare Sailthru as a destination."""
    return Destination(
        title="Sailthru",
        description="Profiles, events and audiences of mParticle as users, events and lists of Sailthru.",
        settings=SailthruSettings,
        base_url=get_base_url,
        identities=("email", "customer_id"),
        platforms=("ios", "android", "tvos", "web", "out_of_band"),
        event_types=(
            "session_start",
            "session_end",
            "custom_event",
            "commerce_event",
            "screen_view",
            "attribution",
            "application_state_transition",
            "push_message",
            "user_attribute_change",
            "user_identity_change",
        ),
        defaults=Defaults(
            new_data_points=True,
            login_identities=(),
            max_age_hours=MAX_AGE_HOURS,
            no_replayed=True,  # it would start e-mail flows anew
            no_historical=True,
        ),
        rates=get_rates,
        rate_headers=get_rate_headers,
        pools=get_pools,
        reasons=REASONS,
    )


@hookimpl
def on_identity(
    changes: tuple[IdentityChange, ...], user: User, batch: Batch, memory: Memory, settings: SailthruSettings
) -> Plan:
    """Create the profile of a new e-mail address, and move the profile of a changed one."""
    planned = plan_identities(changes, user, batch, memory, settings)
    return skip_if_erased(batch, memory, planned, time_ms=find_time_of_last_event(changes, batch))


@hookimpl
def on_attributes(
    changes: tuple[AttributeChange, ...], user: User, batch: Batch, memory: Memory, settings: SailthruSettings
) -> Plan:
    """Write the attributes set and removed, or a profile that Sailthru does not have yet."""
    planned = skip_too_large(plan_attributes(changes, user, batch, memory, settings))
    return skip_if_erased(batch, memory, planned, time_ms=find_time_of_last_event(changes, batch))


@hookimpl
def on_consent(
    changes: tuple[ConsentChange, ...], user: User, batch: Batch, memory: Memory, settings: SailthruSettings
) -> Plan:
    """Write the user's decisions about e-mail and tracking."""
    return skip_if_erased(batch, memory, plan_consents(changes, user, settings))


@hookimpl
def on_event(event: Event, user: User, batch: Batch, memory: Memory, settings: SailthruSettings) -> Plan:
    """Send an event."""
    return skip_if_erased(batch, memory, skip_too_large(plan_event(event, user, settings)), time_ms=event.time_ms)


@hookimpl
def on_session(session: Session, user: User, batch: Batch, memory: Memory, settings: SailthruSettings) -> Plan:
    """Send the start or the end of a session."""
    return skip_if_erased(batch, memory, skip_too_large(plan_session(session, user, settings)), time_ms=session.time_ms)


@hookimpl
def on_audience(audience: Audience, memory: Memory, settings: SailthruSettings) -> Plan:
    """Create, keep or delete the audience's list."""
    return plan_audience(audience, memory, settings)


@hookimpl
def on_membership(membership: Membership, user: User, batch: Batch, memory: Memory, settings: SailthruSettings) -> Plan:
    """Add the user to the audience's list, or remove them."""
    return skip_if_erased(batch, memory, skip_too_large(plan_membership(membership, user, memory, settings)))


@hookimpl
def on_erasure(erasure: Erasure, user: User, batch: Batch, memory: Memory, settings: SailthruSettings) -> Plan:
    """Delete the user's profiles."""
    return plan_erasure(erasure, user, batch, memory, settings)


@hookimpl
def coalesce(calls: tuple[Call, ...], settings: SailthruSettings) -> list[Call]:
    """Merge the updates that wait for one user, or the memberships of many users."""
    is_pooled = any(call.lane != calls[0].lane for call in calls)
    return list(merge_pool(calls, settings) if is_pooled else merge_calls(calls))


@hookimpl
def sign(call: Call, settings: SailthruSettings) -> Call:
    """Add the credentials and the signature to a call that is about to be sent."""
    return sign_call(call, settings)


@hookimpl
def on_reply(call: Call, reply: Reply, settings: SailthruSettings) -> Verdict | Plan:
    """Judge a reply, or make the next call of the same delivery."""
    return follow_up(call, reply, settings)
