"""The mapping of names: from the spellings of Firehose and OpenDSR to those of Events batches, which are canonical."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

FIREHOSE_USER_IDENTITIES: Mapping[str, str] = MappingProxyType(
    {
        "customer": "customer_id",
        "email": "email",
        "other": "other",
        **{f"other{number}": f"other_id_{number}" for number in range(2, 11)},
        "mobile_number": "mobile_number",
        "phone_number_2": "phone_number_2",
        "phone_number_3": "phone_number_3",
        "facebook": "facebook",
        "twitter": "twitter",
        "google": "google",
        "microsoft": "microsoft",
        "yahoo": "yahoo",
    }
)
"""Firehose's identity types of users, to the canonical ones."""

FIREHOSE_DEVICE_IDENTITIES: Mapping[str, str] = MappingProxyType(
    {
        "android_id": "android_uuid",
        "google_advertising_id": "android_advertising_id",
        "ios_advertising_id": "ios_advertising_id",
        "ios_vendor_id": "ios_idfv",
        "apple_push_notification_token": "apple_push_notification_token",
        "google_cloud_messaging_token": "google_cloud_messaging_token",
        "roku_advertising_id": "roku_advertising_id",
        "roku_publisher_id": "roku_publisher_id",
        "microsoft_advertising_id": "microsoft_advertising_id",
        "microsoft_publisher_id": "microsoft_publisher_id",
        "fire_advertising_id": "fire_advertising_id",
    }
)
"""Firehose's identity types of devices, to the canonical ones.

Those are the members of an Events batch's ``device_info``, but for push tokens: its one ``push_token``
keeps Firehose's two names, by platform, so that nobody sends an Apple token to Google.
"""

OTHER_SPELLINGS: Mapping[str, str] = MappingProxyType(
    {
        "customerid": "customer_id",
        "controller_customer_id": "customer_id",
        "other1": "other",
        "roku_publishing_id": "roku_publisher_id",
    }
)
"""Spellings that server SDKs, partners and OpenDSR use."""

IDENTITIES: Mapping[str, str] = MappingProxyType(
    {**FIREHOSE_USER_IDENTITIES, **FIREHOSE_DEVICE_IDENTITIES, **OTHER_SPELLINGS}
)
DEVICE_IDENTITIES = frozenset({*FIREHOSE_DEVICE_IDENTITIES.values(), "push_token", "amp_id"})
USER_IDENTITIES = frozenset({*FIREHOSE_USER_IDENTITIES.values(), "alias", "facebook_custom_audience_id"})
"""The canonical identity types of users; the last two occur only in Events batches."""

PUSH_TOKENS: Mapping[str | None, str] = MappingProxyType(
    {
        "ios": "apple_push_notification_token",
        "tvos": "apple_push_notification_token",
        "android": "google_cloud_messaging_token",
    }
)
"""The names of push tokens, by platform."""

FIREHOSE_PLATFORMS: Mapping[str, str] = MappingProxyType(
    {
        "alexa": "alexa",
        "android": "android",
        "firetv": "fire_tv",
        "ios": "ios",
        "mobileweb": "web",
        "roku": "roku",
        "smarttv": "smart_tv",
        "tvos": "tvos",
        "unknown": "unknown",
        "xbox": "xbox",
    }
)
"""Firehose's runtime environments, to the canonical platforms."""

PLATFORMS: Mapping[str, str] = MappingProxyType(
    {
        **FIREHOSE_PLATFORMS,
        "outofband": "out_of_band",
        "windowsphone": "desktop",
        "unityios": "desktop",
        "unityandroid": "desktop",
    }
)

FEED_CHANNELS = frozenset({"partner", "server_to_server"})

FIREHOSE_EVENTS: Mapping[str, str] = MappingProxyType(
    {
        "session_start": "session_start",
        "session_end": "session_end",
        "custom_event": "custom_event",
        "screen_view": "screen_view",
        "error": "crash_report",
        "privacy_setting_change": "opt_out",
        "user_attribute_change": "user_attribute_change",
        "user_identity_change": "user_identity_change",
        "push_subscription": "push_registration",
        "application_state_transition": "application_state_transition",
        "push_message_receipt": "push_message",
        "push_message_open": "push_message",
        "product_action": "commerce_event",
        "promotion_action": "commerce_event",
        "impression": "commerce_event",
        "attribution": "custom_event",
    }
)
"""Firehose's event types, to the canonical ones."""

PLAIN_EVENTS = frozenset(
    {
        "breadcrumb",
        "first_run",
        "network_performance",
        "pre_attribution",
        "profile",
        "push_reaction",
        "uninstall",
        "validation_result",
    }
)
"""Event types of Events batches that hold no data for destinations."""

EVENTS = frozenset({*FIREHOSE_EVENTS.values(), *PLAIN_EVENTS, "unknown"})
"""The canonical event types."""

COMMERCE = frozenset(
    {
        *("add_to_cart", "remove_from_cart", "add_to_wishlist", "remove_from_wishlist"),
        *("checkout", "checkout_option", "click", "view_detail", "purchase", "refund", "unknown"),
        *("promotion_view", "promotion_click", "promotion_unknown", "impression"),
    }
)
"""The names of commerce events in a filter: the actions of products and of promotions, and impressions."""

ENCODINGS: Mapping[str | None, str] = MappingProxyType(
    {None: "raw", "": "raw", "none": "raw", "raw": "raw", "md5": "md5", "sha1": "sha1", "sha256": "sha256"}
)


def identity(type: str) -> str:
    """Return the canonical name of an identity type; an unknown one is unchanged."""
    return IDENTITIES.get(type) or IDENTITIES.get(type.lower(), type)


def event(type: str) -> str:
    """Return the canonical name of an event type; an unknown one is unchanged."""
    return FIREHOSE_EVENTS.get(type, type)


def action(posted: str) -> str:
    """Return the canonical name of a product action; mParticle spells one of them unlike its opposite."""
    return "remove_from_wishlist" if posted == "remove_from_wish_list" else posted


def encoding(posted: str | None) -> str:
    """``raw``, ``md5``, ``sha1`` or ``sha256``, however it was spelled; a new one in lower case."""
    known = ENCODINGS.get(posted)
    if known is None and posted is not None:
        plain = posted.strip("\"' ").lower().replace("-", "").replace("_", "")
        known = ENCODINGS.get(plain, plain)
    return known or "raw"


def platform(posted: str | None, channel: str | None) -> str | None:
    """Return the canonical platform; an unknown one on a feed's channel is ``out_of_band``."""
    if posted is None:
        return None
    known = PLATFORMS.get(posted.lower(), posted.lower())
    return "out_of_band" if known == "unknown" and channel in FEED_CHANNELS else known


def platform_of_system(posted: str | None, channel: str | None) -> str | None:
    """Return the canonical platform of an app's operating system; None if mParticle does not know it."""
    known = platform(posted, channel)
    return None if known == "unknown" else known
