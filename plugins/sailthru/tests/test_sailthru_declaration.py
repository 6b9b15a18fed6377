from __future__ import annotations

from importlib.metadata import entry_points
from typing import get_args

import pytest

import gateway_sailthru
from gateway.sdk import Defaults
from gateway.testing import connection
from gateway_sailthru.settings import AppEvent

VALUES = {"api_key": "test-key", "api_secret": "test-secret"}
DECLARED = gateway_sailthru.destination()


def test_the_plugin_is_installed_under_its_name():
    (point,) = entry_points(group="gateway.destinations", name="sailthru")
    assert point.load() is gateway_sailthru


def test_every_hook_is_spelt_as_the_gateway_spells_it():
    assert set(connection(gateway_sailthru, VALUES).plugin.hooks) == {
        "destination",
        "on_identity",
        "on_attributes",
        "on_consent",
        "on_event",
        "on_session",
        "on_audience",
        "on_membership",
        "on_erasure",
        "coalesce",
        "sign",
        "on_reply",
    }


def test_everybody_is_sent_but_nothing_older_than_fourteen_days():
    assert DECLARED.defaults == Defaults(
        new_data_points=True, login_identities=(), max_age_hours=336.0, no_replayed=True, no_historical=True
    )


def test_the_email_address_comes_first_of_the_identities_asked_for():
    assert DECLARED.identities == ("email", "customer_id")


@pytest.mark.parametrize("platform", ["android", "ios", "tvos", "web", "out_of_band"])
def test_each_platform_that_mparticle_forwards_to_sailthru_is_declared(platform):
    assert platform in DECLARED.platforms


@pytest.mark.parametrize("platform", ["roku", "alexa", "desktop", "unknown"])
def test_no_other_platform_is_declared(platform):
    assert platform not in DECLARED.platforms


@pytest.mark.parametrize(
    "type", ["user_attribute_change", "user_identity_change", "session_start", "session_end", "custom_event"]
)
def test_each_event_type_that_sailthru_lists_is_asked_for(type):
    assert type in DECLARED.event_types


def test_each_event_type_that_a_setting_can_choose_is_asked_for():
    assert set(get_args(AppEvent)) - set(DECLARED.event_types) == set()


def test_calls_go_to_the_address_in_the_settings():
    assert connection(gateway_sailthru, VALUES).base_url == "https://api.sailthru.com"
    assert connection(gateway_sailthru, {**VALUES, "base_url": "https://st.example.com"}).base_url == (
        "https://st.example.com"
    )
