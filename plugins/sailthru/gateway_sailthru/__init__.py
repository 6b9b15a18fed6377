"""The hooks of Sailthru: what mParticle says, as calls of Sailthru's API."""

from __future__ import annotations

from gateway.sdk import (
    AttributeChange,
    Audience,
    Batch,
    Call,
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
from gateway_sailthru import audiences, bulk, calls, erasures, events, identities, merging, profiles
from gateway_sailthru.replies import judge
from gateway_sailthru.settings import SailthruSettings
from gateway_sailthru.signing import signed
from gateway_sailthru.sizes import bounded

OLDEST_HOURS = 14 * 24.0
STEPS = {
    "event": events.on_sent,
    identities.LOOK_UP: identities.on_looked_up,
    identities.MOVE: identities.on_moved,
    erasures.LOOK_UP: erasures.on_looked_up,
    erasures.DELETE: erasures.on_deleted,
    bulk.BEGUN: bulk.on_begun,
    bulk.ASKED: bulk.on_asked,
}


@hookimpl
def destination() -> Destination:
    """What this plugin is."""
    return Destination(
        title="Sailthru",
        description="Profiles, events and audiences of mParticle as users, events and lists of Sailthru.",
        settings=SailthruSettings,
        base_url=lambda settings: settings.base_url,
        identities=("email", "customer_id"),
        platforms=("ios", "android", "tvos", "web", "out_of_band"),
        event_types=(
            "session_start",
            "session_end",
            "custom_event",
            "commerce_event",
            "screen_view",
            "application_state_transition",
            "push_message",
            "user_attribute_change",
            "user_identity_change",
        ),
        defaults=Defaults(new_data_points=True, login_identities=(), max_age_hours=OLDEST_HOURS),
        rates=calls.rates,
        rate_headers=calls.rate_headers,
        pools=bulk.pools,
    )


@hookimpl
def on_identity(
    changes: tuple[IdentityChange, ...], user: User, batch: Batch, memory: Memory, settings: SailthruSettings
) -> Plan:
    """E-mail addresses gained and changed."""
    planned = identities.plan(changes, user, batch, memory, settings)
    return erasures.since(batch, memory, planned, time_ms=erasures.told_ms(changes, batch))


@hookimpl
def on_attributes(
    changes: tuple[AttributeChange, ...], user: User, batch: Batch, memory: Memory, settings: SailthruSettings
) -> Plan:
    """Attributes set and removed, or a profile that Sailthru does not have yet."""
    planned = bounded(profiles.plan(changes, user, batch, memory, settings))
    return erasures.since(batch, memory, planned, time_ms=erasures.told_ms(changes, batch))


@hookimpl
def on_event(event: Event, user: User, batch: Batch, memory: Memory, settings: SailthruSettings) -> Plan:
    """Something the user did."""
    return erasures.since(batch, memory, bounded(events.plan(event, user, settings)), time_ms=event.time_ms)


@hookimpl
def on_session(session: Session, user: User, batch: Batch, memory: Memory, settings: SailthruSettings) -> Plan:
    """A session started or ended."""
    planned = bounded(events.plan_session(session, user, settings))
    return erasures.since(batch, memory, planned, time_ms=session.time_ms)


@hookimpl
def on_audience(audience: Audience, memory: Memory, settings: SailthruSettings) -> Plan:
    """An audience came, changed its name or went."""
    return audiences.plan(audience, memory, settings)


@hookimpl
def on_membership(membership: Membership, user: User, batch: Batch, memory: Memory, settings: SailthruSettings) -> Plan:
    """The user entered or left an audience."""
    return erasures.since(batch, memory, bounded(audiences.plan_membership(membership, user, memory, settings)))


@hookimpl
def on_erasure(erasure: Erasure, user: User, batch: Batch, memory: Memory, settings: SailthruSettings) -> Plan:
    """The user asked to be forgotten."""
    return erasures.plan(erasure, user, batch, memory, settings)


@hookimpl
def coalesce(calls: tuple[Call, ...], settings: SailthruSettings) -> list[Call]:
    """Several calls wait together: of one user, or memberships of many."""
    is_pooled = any(call.lane != calls[0].lane for call in calls)
    return list(bulk.gathered(calls, settings) if is_pooled else merging.merged(calls))


@hookimpl
def sign(call: Call, settings: SailthruSettings) -> Call:
    """A call is about to be sent."""
    return signed(call, settings)


@hookimpl
def on_reply(call: Call, reply: Reply, settings: SailthruSettings) -> Verdict | Plan:
    """A reply came: the next step where there is one, else what it means."""
    step = STEPS.get(call.memo["step"] if call.memo else call.path)
    return (step or judge)(call, reply, settings)
