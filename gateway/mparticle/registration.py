"""Registration: the description of this gateway for mParticle, derived from the declarations of its plugins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from typing import Any, TypeAlias

import gateway
from gateway.mparticle import names
from gateway.mparticle.firehose.answers import make_envelope
from gateway.mparticle.setting_fields import Offered, list_settings
from gateway.sdk import Destination

Declared: TypeAlias = tuple[str, str, Destination, frozenset[str], frozenset[str] | None]
"""A plugin's name and version, what it declares, the hooks that it has, and the settings that are asked of a customer.

None asks for all.
"""

NAME = "mParticle gateway"
LONGEST_DESCRIPTION = 229

EVENT_HOOKS = frozenset({"on_identity", "on_attributes", "on_consent", "on_event", "on_session"})
AUDIENCE_HOOKS = frozenset({"on_audience", "on_membership"})
ASKED = {
    "session_start": "on_session",
    "session_end": "on_session",
    "user_attribute_change": "on_attributes",
    "user_identity_change": "on_identity",
}
"""The hook that is asked about a Firehose event type, where it is not ``on_event``."""
ASKED_BY_OWN_NAME = frozenset({"attribution"})
"""Firehose event types that a plugin must name itself: one that sends custom events may have no use for them."""


def make_registration(
    destinations: Sequence[Declared], *, now_ms: int, request_id: str | None = None, own_name: str | None = None
) -> dict[str, Any]:
    """Return the ``module_registration_response`` for one plugin, or for several behind one endpoint.

    ``own_name`` is what mParticle calls it; left out, a single plugin's title. Nothing is asked of mParticle
    that no hook could use, and never a location, an IP address or a user agent.
    """
    plugins = tuple({declared[0]: declared for declared in destinations}.values())
    declared = [destination for _, _, destination, _, _ in plugins]
    hooks: frozenset[str] = frozenset().union(*(hooks for *_, hooks, _ in plugins))
    name, version = (declared[0].title, plugins[0][1]) if len(plugins) == 1 else ("", "")
    account_settings = list_settings(
        {name: (destination.title, destination.settings) for name, _, destination, _, _ in plugins},
        _find_offered(destinations),
    )
    document: dict[str, Any] = {
        **make_envelope("module_registration_request", request_id, now_ms),
        "name": own_name or name or NAME,
        "version": version or gateway.__version__,
        "description": _cut_description(
            " ".join(destination.description or destination.title for destination in declared)
        ),
        "permissions": _make_permissions(declared, hooks),
    }
    if hooks & EVENT_HOOKS:
        document["event_processing_registration"] = {
            "account_settings": account_settings,
            "supported_event_types": _list_event_types(plugins),
            "supported_runtime_environments": _list_environments(declared),
            "supported_system_notification_types": ["gdpr_consent_state", "ccpa_consent_state"],
            "max_data_age_hours": _find_max_age_hours(declared),
        }
    if hooks & AUDIENCE_HOOKS:
        document["audience_processing_registration"] = {"account_settings": account_settings}
    if "on_erasure" in hooks:
        document["dsr_processing_registration"] = {
            "account_settings": account_settings,
            "supported_dsr_types": ["erasure"],
        }
    return document


def _find_offered(destinations: Sequence[Declared]) -> Offered:
    """Return the settings that any of a plugin's connections asks for."""
    offered: dict[str, frozenset[str] | None] = {}
    for name, _, _, _, wanted in destinations:
        before = offered.get(name, frozenset())
        offered[name] = None if wanted is None or before is None else before | wanted
    return offered


def _cut_description(text: str) -> str:
    return text if len(text) <= LONGEST_DESCRIPTION else f"{text[: LONGEST_DESCRIPTION - 1]}…"


def _make_permissions(destinations: Sequence[Destination], hooks: frozenset[str]) -> dict[str, Any]:
    wanted: set[str] | None = set()
    for destination in destinations:
        if destination.identities is None or wanted is None:
            wanted = None
        else:
            wanted.update(destination.identities, destination.defaults.login_identities)
    events = bool(hooks & EVENT_HOOKS)
    allowed = {
        "allow_access_mpid": True,
        "allow_access_device_application_stamp": events,
        "allow_device_info": events,
        "allow_user_attributes": events,
        "allow_consent_state": events,
        "allow_platform_fields": events,
        "allow_eventless_batches": events,
        "allow_audience_user_attributes": "on_membership" in hooks,
    }
    return {
        "user_identities": _list_identities(names.FIREHOSE_USER_IDENTITIES, wanted),
        "device_identities": _list_identities(names.FIREHOSE_DEVICE_IDENTITIES, wanted),
        **{name: True for name, is_allowed in allowed.items() if is_allowed},
    }


def _list_identities(known: Mapping[str, str], wanted: Iterable[str] | None) -> list[dict[str, Any]]:
    return [
        {"type": type, "encoding": "raw", "required": False}
        for type, canonical in known.items()
        if wanted is None or canonical in wanted
    ]


def _list_event_types(destinations: Sequence[Declared]) -> list[str]:
    """Return the Firehose event types that a plugin wants and has a hook for."""
    return [
        type
        for type, canonical in names.FIREHOSE_EVENTS.items()
        if any(
            ASKED.get(type, "on_event") in hooks and _is_asked_for(type, canonical, destination)
            for _, _, destination, hooks, _ in destinations
        )
    ]


def _is_asked_for(type: str, canonical: str, destination: Destination) -> bool:
    """Return whether a destination names the Firehose event type, or names no type at all, which asks for every one."""
    asked = {type} if type in ASKED_BY_OWN_NAME else {type, canonical}
    return not destination.event_types or not asked.isdisjoint(destination.event_types)


def _list_environments(destinations: Sequence[Destination]) -> list[str]:
    """Firehose knows a feed's data as of an unknown environment."""
    return [
        environment
        for environment, platform in names.FIREHOSE_PLATFORMS.items()
        if any(
            destination.platforms is None
            or platform in destination.platforms
            or (platform == "unknown" and "out_of_band" in destination.platforms)
            for destination in destinations
        )
    ]


def _find_max_age_hours(destinations: Sequence[Destination]) -> int:
    """Return the greatest age that a plugin accepts; -1 for any."""
    ages = [destination.defaults.max_age_hours for destination in destinations]
    return -1 if None in ages else ceil(max(age for age in ages if age is not None))
