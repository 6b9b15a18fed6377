from __future__ import annotations

import pytest

import gateway_sessionm
from gateway.plugins.connections import list_installed, load_plugin
from gateway.sdk import Defaults
from gateway.testing import connection

VALUES = {"host": "https://api-acme.stg-sessionm.com", "api_key": "test-key", "api_secret": "test-secret"}

DECLARED = gateway_sessionm.destination()


def test_the_plugin_is_installed_under_its_name():
    assert list_installed()["sessionm"].value == "gateway_sessionm"
    assert load_plugin("sessionm").destination.title == "SessionM"


def test_every_hook_is_spelt_as_the_gateway_spells_it():
    assert set(connection(gateway_sessionm, VALUES).plugin.hooks) == {
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


def test_r07_r13_new_data_points_are_off_and_users_must_be_logged_in_by_default():
    assert DECLARED.defaults == Defaults(new_data_points=False, login_identities=("customer_id",))


@pytest.mark.parametrize(
    "platform",
    ["ios", "android", "web", "tvos", "roku", "alexa", "smart_tv", "fire_tv", "xbox", "out_of_band"],
)
def test_r14_each_supported_platform_is_declared(platform):
    assert platform in DECLARED.platforms


@pytest.mark.parametrize("platform", ["desktop", "unknown"])
def test_r14_no_other_platform_is_declared(platform):
    assert platform not in DECLARED.platforms


def test_r16_no_identity_is_ruled_out_since_the_filter_chooses():
    assert DECLARED.identities is None


def test_events_of_no_use_are_not_asked_for():
    assert DECLARED.event_types == ("custom_event", "screen_view", "user_attribute_change", "user_identity_change")


def test_a_reply_is_waited_for_ten_seconds():
    assert DECLARED.reply_timeout_s == 10.0
