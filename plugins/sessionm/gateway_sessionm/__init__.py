"""A destination plugin of mparticle-gateway for SessionM."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator

from msgspec.structs import replace

from gateway.sdk import (
    AttributeChange,
    Batch,
    Call,
    Defaults,
    Destination,
    Event,
    Memory,
    Plan,
    Remember,
    Reply,
    Skip,
    User,
    Verdict,
    hookimpl,
)
from gateway_sessionm.errand import Errand, Step, erase, send, write_profile
from gateway_sessionm.events import event_of, sendable
from gateway_sessionm.identities import CUSTOMER, KNOWN, address_of, erasable, identities_of, is_confirmed
from gateway_sessionm.profile import profile_of, removals
from gateway_sessionm.resolve import judge
from gateway_sessionm.settings import SessionMSettings, base_url, rates
from gateway_sessionm.waiting import folded


@hookimpl
def destination() -> Destination:
    """Say what SessionM takes."""
    return Destination(
        title="SessionM",
        description="Customer loyalty: profiles, and the events that customers earn by.",
        settings=SessionMSettings,
        base_url=base_url,
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
        defaults=Defaults(new_data_points=False, login_identities=(CUSTOMER,)),
        rates=rates,
        reply_timeout_s=10.0,
    )


@hookimpl
def on_identity(user: User, memory: Memory, settings: SessionMSettings) -> Iterator[Call | Skip | Remember]:
    """Write the e-mail, and have SessionM's list of ids checked unless it is known to be complete."""
    mpid = address_of(user)
    if isinstance(mpid, Skip):
        yield mpid
        return
    identities = identities_of(user, settings.identity_types)
    yield from identities.skips
    unconfirmed = not is_confirmed(mpid, identities.identifiers, memory)
    if identities.email is None and not unconfirmed:
        yield Skip(reason="already_known" if identities.identifiers else "nothing_to_send")
        return
    if unconfirmed:
        yield from (Skip(reason="not_looked_under", what=type) for type in identities.unlooked)
    yield write_profile(
        Errand(
            step=Step.UPDATE,
            mpid=mpid,
            identifiers=identities.identifiers,
            unconfirmed=unconfirmed,
            user={} if identities.email is None else {"email": identities.email},
        )
    )


@hookimpl
def on_attributes(
    changes: tuple[AttributeChange, ...], user: User, settings: SessionMSettings
) -> Iterator[Call | Skip | Remember]:
    """Write the whole profile as mParticle has it."""
    mpid = address_of(user)
    if isinstance(mpid, Skip):
        yield mpid
        return
    body, skips = profile_of(user.attributes, settings.user_tag_value)
    yield from skips
    yield from removals(user, changes)
    if not body:
        yield Skip(reason="nothing_to_send")
        return
    known = identities_of(user, settings.identity_types)
    yield write_profile(
        Errand(step=Step.UPDATE, mpid=mpid, identifiers=known.identifiers, email=known.email, user=body)
    )


@hookimpl
def on_event(event: Event, user: User, batch: Batch, settings: SessionMSettings) -> Iterator[Call | Skip | Remember]:
    """Post a custom event or a screen view."""
    happening, mpid = sendable(event, batch), address_of(user)
    if isinstance(happening, Skip):
        yield happening
        return
    if isinstance(mpid, Skip):
        yield mpid
        return
    events, skips = event_of(happening, batch, settings.event_mappings)
    yield from skips
    known = identities_of(user, settings.identity_types)
    yield send(
        Errand(step=Step.SEND, mpid=mpid, identifiers=known.identifiers, email=known.email, events=events),
    )


@hookimpl
def on_session() -> Skip:
    """Pass by: a session is no event of SessionM's."""
    return Skip(reason="unsupported_event_type")


@hookimpl
def on_erasure(user: User, settings: SessionMSettings) -> Iterator[Call | Skip | Remember]:
    """Delete the customer."""
    external_ids = erasable(user, settings.erasure_identities)
    if isinstance(external_ids, Skip):
        yield external_ids
        return
    yield Remember(key=KNOWN)
    yield from map(erase, external_ids)


@hookimpl
def coalesce(calls: tuple[Call, ...]) -> list[Call]:
    """Make one call of the profile writes that wait for a user."""
    return folded(calls)


@hookimpl
def sign(call: Call, settings: SessionMSettings) -> Call:
    """Add Basic authentication with key and secret."""
    pair = f"{settings.api_key.get_secret_value()}:{settings.api_secret.get_secret_value()}"
    authorization = f"Basic {b64encode(pair.encode()).decode()}"
    return replace(call, headers={**call.headers, "Accept": "application/json", "Authorization": authorization})


@hookimpl
def on_reply(call: Call, reply: Reply, settings: SessionMSettings) -> Verdict | Plan:
    """Judge a reply by its body, and find or create a user whom SessionM does not know by MPID."""
    return judge(call, reply, settings)
