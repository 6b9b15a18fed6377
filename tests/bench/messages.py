"""The messages of the benchmark: a realistic Firehose message of about 6 KB, made unique by a number."""

from __future__ import annotations

import json

DEVICE = {
    "type": "ios",
    "is_debug": False,
    "client_ip_address": "192.0.2.15",
    "sdk_version": "8.5.2",
    "http_header_user_agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15",
    "identities": [
        {"type": "ios_advertising_id", "encoding": "raw", "value": "3f0c8e0e-7d0b-4f5c-9f3e-6b1f2b9c7a10"},
        {"type": "ios_vendor_id", "encoding": "raw", "value": "8d3a2f1c-91c4-4f0f-8f27-0a9a4c1d2e33"},
        {"type": "apple_push_notification_token", "encoding": "raw", "value": "f00d" * 16},
    ],
    "build_id": "21E236",
    "brand": "iPhone15,2",
    "product": "iPhone15,2",
    "name": "iPhone",
    "manufacturer": "Apple",
    "os_version": "17.4.1",
    "model": "iPhone 14 Pro",
    "screen_height": 2556,
    "screen_width": 1179,
    "country": "NL",
    "locale_language": "nl",
    "locale_country": "NL",
    "network_carrier": "Carrier",
    "network_code": "04",
    "network_mobile_country_code": "204",
    "timezone_offset": 1,
    "timezone_name": "Europe/Amsterdam",
    "cpu_architecture": "arm64",
    "radio_access_technology": "NR",
    "is_tablet": False,
    "is_sandboxed": False,
    "application_name": "Coffee Club",
    "application_version": "4.12.0",
    "application_package": "com.example.coffeeclub",
    "att_authorization_status": "authorized",
    "att_timestamp_unixtime_ms": 1714565696789,
}


def event(number, place):
    """One custom event with ten attributes."""
    return {
        "type": "custom_event",
        "id": f"{place:08x}-0000-4000-8000-{number:012x}",
        "timestamp_ms": 1_714_565_696_789 + place,
        "source_id": f"{place:08x}-0000-4000-9000-{number:012x}",
        "session_id": -4957918240501247982,
        "location": {"latitude": 52.37, "longitude": 4.89, "accuracy": 12.5},
        "name": "Reward Claimed",
        "custom_event_type": "transaction",
        "attributes": {f"attribute_{n}": f"value {n} of this reward's details" for n in range(10)},
        "custom_flags": {"Kit.category": "loyalty"},
    }


def document(number, events):
    """A whole message about a user of its own."""
    return {
        "type": "event_processing_request",
        "id": f"b3d9def7-0000-4000-8000-{number:012x}",
        "timestamp_ms": 1_714_565_696_789,
        "firehose_version": "3.2.0",
        "source_id": f"7305be17-0000-4000-8000-{number:012x}",
        "account": {"account_id": 123456, "account_settings": {"apiKey": "test-key", "tier": "gold"}},
        "mpid": str(7_000_000_000_000_000_000 + number),
        "user_identities": [
            {"type": "customer", "encoding": "raw", "value": f"c-{number}"},
            {"type": "email", "encoding": "raw", "value": f"user{number}@example.com"},
        ],
        "user_attributes": {f"attribute {n}": f"a value of some length, number {n}" for n in range(30)},
        "runtime_environment": DEVICE,
        "source_channel": "native",
        "device_application_stamp": "1aafb79c-9a90-4f52-bae9-b837d389f790",
        "consent_state": {
            "gdpr_consent_state": {"marketing": {"consented": True, "timestamp_unixtime_ms": 1714565696789}}
        },
        "events": [event(number, place) for place in range(events)],
    }


def message(number, events):
    """The body to post."""
    return json.dumps(document(number, events)).encode()
