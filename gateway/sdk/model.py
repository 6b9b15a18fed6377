"""The facts about one user, the same in either of mParticle's dialects.

Everything here is frozen and keyword-only. Names are mParticle's own nouns, spelled as its Events
batches spell them (``customer_id``, ``other_id_2``, ``custom_event``). Types of identities and
events are open strings: something new at mParticle is data, not an error. Ids of 64 bits are
decimal strings and never pass through a float. Times are integers, milliseconds since 1970 UTC.
"""

from __future__ import annotations

import re
from typing import Any, TypeAlias
from unicodedata import category

import msgspec

from gateway.sdk.events import Event

JSON: TypeAlias = Any
"""A JSON value: ``None``, ``bool``, ``int``, ``float``, ``str``, or a list or dict of them."""

WHOLE = re.compile(r"[+-]?[0-9]{1,30}", re.ASCII)


class Identity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One identifier of a user or a device.

    ``encoding`` is ``raw``, or the hash that made the value (``md5``, ``sha1``, ``sha256``): a hashed
    value must never be used where the plain one is meant. ``since_ms`` is when mParticle first knew it.
    """

    type: str
    value: str
    encoding: str = "raw"
    since_ms: int | None = None
    created_this_batch: bool | None = None

    @property
    def is_raw(self) -> bool:
        """True if the value is the identifier itself and not a hash of it."""
        return self.encoding == "raw"

    @property
    def normal(self) -> str:
        """The value in its normal form, as mParticle's messages are read; the letters of a hash stay as they are."""
        return normalize(self.type if self.is_raw else "", self.value)

    @property
    def is_well_formed(self) -> bool:
        """True if the normal form holds no character that is unseen or has no meaning, as no address may.

        These are white space, control and format characters, the replacement character, surrogates, and code points
        for private use or for none.
        """
        return not any(map(_has_no_place, self.normal))


def normalize(type: str, value: str) -> str:
    """Return the normal form of an identity's value, by which the gateway knows a user.

    It has no white space, control and format characters at its ends, which forms and copied texts bring along unseen.
    An e-mail address is in lower case; an MPID has neither a plus sign nor leading zeros.
    """
    value = value.strip()
    if not value.isprintable():
        value = _trim(value)
    if type == "email":
        return value.lower()
    if type == "mpid" and value[:1] in ("0", "+", "-") and WHOLE.fullmatch(value):
        return str(int(value))
    return value


def _trim(value: str) -> str:
    start, end = 0, len(value)
    while start < end and _is_unseen(value[start]):
        start += 1
    while start < end and _is_unseen(value[end - 1]):
        end -= 1
    return value[start:end]


def _is_unseen(character: str) -> bool:
    return character.isspace() or category(character) in ("Cc", "Cf")


def _has_no_place(character: str) -> bool:
    if " " < character <= "~":
        return False
    code = ord(character)
    is_noncharacter = 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE
    return _is_unseen(character) or category(character) in ("Co", "Cs") or code == 0xFFFD or is_noncharacter


class IdentityChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An identifier gained (``old`` is None), lost (``new`` is None) or changed from old to new.

    ``event`` is the event that states the change, with its ids, session, location, attributes and flags.
    """

    type: str
    old: Identity | None = None
    new: Identity | None = None
    time_ms: int | None = None
    event: Event | None = None


class AttributeChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A user attribute set to ``value``, or ``removed``.

    A ``None`` value that is not ``removed`` is a *tag*: an attribute whose presence is its meaning.
    ``old`` is the value before, where mParticle says it. ``event`` is as in IdentityChange.
    """

    name: str
    value: JSON = None
    removed: bool = False
    old: JSON = None
    is_new: bool | None = None
    time_ms: int | None = None
    event: Event | None = None


class ConsentRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A user's decision about one purpose. For CCPA, ``consented`` means: opted out of sale."""

    consented: bool
    document: str | None = None
    time_ms: int | None = None
    location: str | None = None
    hardware_id: str | None = None


class Consent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A user's consent, purpose to record, for each regulation."""

    gdpr: dict[str, ConsentRecord] = {}
    ccpa: dict[str, ConsentRecord] = {}


class ConsentChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A consent given, withdrawn or changed. ``regulation`` is ``gdpr`` or ``ccpa``."""

    regulation: str
    purpose: str
    old: ConsentRecord | None = None
    new: ConsentRecord | None = None


class User(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The user a batch is about: the whole profile as mParticle sees it now, not a difference.

    ``attributes`` keeps the order in which they were posted. ``removed_attributes`` are names that
    this batch deletes.
    """

    mpid: str | None = None
    identities: tuple[Identity, ...] = ()
    partner_identities: tuple[Identity, ...] = ()
    attributes: dict[str, JSON] = {}
    removed_attributes: tuple[str, ...] = ()
    consent: Consent = Consent()

    def identity(self, type: str) -> str | None:
        """Return the first plain (not hashed), non-blank value of an identity type; None if there is none."""
        for identity in self.identities:
            if identity.type == type and identity.is_raw and identity.value.strip():
                return identity.value
        return None


class Device(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The device or server that an input ran on.

    ``platform`` is one of ios, android, web, tvos, roku, alexa, smart_tv, fire_tv, xbox, desktop,
    out_of_band (a custom feed), unknown, another word that mParticle may add, or None (none is
    named). ``details`` holds every further field as it was posted, under its own name.
    """

    platform: str | None = None
    identities: tuple[Identity, ...] = ()
    is_debug: bool | None = None
    user_agent: str | None = None
    ip: str | None = None
    sdk_version: str | None = None
    details: dict[str, JSON] = {}


class App(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The application that collected the data; ``details`` as in Device."""

    name: str | None = None
    version: str | None = None
    package: str | None = None
    details: dict[str, JSON] = {}


class Workspace(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The mParticle workspace that the data came from (Firehose ``platform_fields``)."""

    account_id: str | None = None
    account_name: str | None = None
    workspace_id: str | None = None
    workspace_name: str | None = None
    app_name: str | None = None
    app_version: str | None = None


class DataPlan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The data plan that a batch was validated against."""

    id: str | None = None
    name: str | None = None
    version: int | None = None


class Audience(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An audience was connected (``add``), renamed or reconfigured (``update``), or taken away (``remove``).

    ``settings`` are the audience's own subscription settings, names to values.
    """

    id: str
    name: str
    action: str
    description: str | None = None
    settings: dict[str, JSON] = {}
    previous_settings: dict[str, JSON] = {}


class AudienceAttribute(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A user attribute shared with an audience: set to ``value`` (scalar, list, or None for a tag) or removed."""

    name: str
    value: JSON = None
    removed: bool = False


class Membership(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The user entered (``add``) or left (``delete``) an audience, or attributes shared with it changed.

    The last is ``attribute_update``; attributes may come with an ``add`` too.
    """

    audience_id: str
    audience_name: str
    action: str
    settings: dict[str, JSON] = {}
    attributes: tuple[AudienceAttribute, ...] = ()


class Erasure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A user's request to be forgotten. ``regulation`` is gdpr, ccpa or unknown.

    ``callback_urls`` are those at which the sender of the request wants to hear of it; mParticle itself calls them.
    ``skips_waiting_period`` is true if mParticle forwarded the request without its days for a cancellation.
    """

    request_id: str
    regulation: str = "unknown"
    submitted_ms: int | None = None
    api_version: str | None = None
    group_id: str | None = None
    callback_urls: tuple[str, ...] = ()
    skips_waiting_period: bool | None = None


class Alias(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A statement that the data of ``source_mpid`` belongs to ``destination_mpid``, who is the batch's user.

    It concerns the data from ``start_ms`` to ``end_ms``, None for any.
    """

    request_id: str
    source_mpid: str
    destination_mpid: str
    start_ms: int | None = None
    end_ms: int | None = None


class Quarantined(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event, or another part of a message, that could not be read: set aside with the ``problem`` and its place.

    ``type`` is the event's type, or ``message`` for what is no event. Nothing is sent for it. If a batch
    has many, the last stands for several ``facts``.
    """

    id: str
    type: str | None = None
    problem: str
    facts: int = 1


class Batch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One user's worth of what mParticle posted, normalised.

    ``id`` is the message's id and ``part`` this user's place in it (a message may carry many users).
    ``dialect`` is ``firehose``, ``events``, ``opendsr`` or ``alias``. ``events`` are in order of time; those without a
    time stay behind the one they followed. ``environment`` is development, production or None.
    ``integration_attributes`` stay as posted: flat in Firehose, nested by module in Events batches. ``is_bare`` is true
    for a batch that states nothing with a hook of its own: it names a user or a device, and no more.

    ``replay_request_id`` and ``replay_job_id`` name the replay in which mParticle posted older data again.
    ``batch_id``, ``unique_id``, ``job_id`` and ``origin_mpid`` are as mParticle posted them.
    """

    id: str
    part: int = 0
    dialect: str
    source_id: str | None = None
    received_ms: int | None = None
    environment: str | None = None
    is_historical: bool = False
    replay_request_id: str | None = None
    replay_job_id: str | None = None
    batch_id: str | None = None
    unique_id: str | None = None
    job_id: str | None = None
    origin_mpid: str | None = None
    account_id: str | None = None
    workspace: Workspace = Workspace()
    channel: str | None = None
    input_name: str | None = None
    data_plan: DataPlan = DataPlan()
    device_stamp: str | None = None
    device: Device = Device()
    app: App = App()
    user: User = User()
    identity_changes: tuple[IdentityChange, ...] = ()
    attribute_changes: tuple[AttributeChange, ...] = ()
    consent_changes: tuple[ConsentChange, ...] = ()
    events: tuple[Event, ...] = ()
    quarantined: tuple[Quarantined, ...] = ()
    audience: Audience | None = None
    memberships: tuple[Membership, ...] = ()
    erasure: Erasure | None = None
    alias: Alias | None = None
    integration_attributes: dict[str, JSON] = {}
    attribution: dict[str, JSON] = {}
    context: dict[str, JSON] = {}
    is_bare: bool = False

    @property
    def is_replayed(self) -> bool:
        """True if mParticle posted the batch again, in a replay."""
        return self.replay_request_id is not None or self.replay_job_id is not None
