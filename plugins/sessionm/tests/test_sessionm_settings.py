from __future__ import annotations

import json

import pytest

import gateway_sessionm
from gateway.sdk import Call, Rate
from gateway.settings import ConfigurationError
from gateway.testing import connection
from gateway_sessionm.calls import get_base_url, get_rates
from gateway_sessionm.settings import SessionMSettings

VALUES = {"host": "https://api-acme.stg-sessionm.com", "api_key": "test-key", "api_secret": "test-secret"}


def settings(**values) -> SessionMSettings:
    return SessionMSettings.model_validate({**VALUES, **values})


def problems(**values) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        connection(gateway_sessionm, {**VALUES, **values})
    return caught.value.problems


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("https://api-acme.stg-sessionm.com", "https://api-acme.stg-sessionm.com"),
        ("api-acme.ent-sessionm.com", "https://api-acme.ent-sessionm.com"),
        ("  api-acme.ent-sessionm.com  ", "https://api-acme.ent-sessionm.com"),
        ("https://api-acme.ent-sessionm.com/", "https://api-acme.ent-sessionm.com"),
        ("HTTPS://api.sessionm.com", "https://api.sessionm.com"),
        ("api.sessionm.com:8443", "https://api.sessionm.com:8443"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://localhost:8080/", "http://localhost:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("[::1]:8080", "https://[::1]:8080"),
    ],
)
def test_r25_a_host_with_or_without_scheme_slash_or_port_is_understood(host, origin):
    assert get_base_url(settings(host=host)) == f"{origin}/priv/v1/apps/test-key"


@pytest.mark.parametrize(
    "host",
    [
        "",
        "   ",
        "https://",
        "https://jo:secret@api.sessionm.com",
        "https://api.sessionm.com/priv/v1",
        "api.sessionm.com/priv",
        "https://api.sessionm.com?x=1",
        "https://api.sessionm.com#x",
        "https://api.sessionm.com:port",
        "https://api sessionm.com",
        "http://api.sessionm.com",
        "ftp://api.sessionm.com",
        "http://[::1",
    ],
)
def test_r25_a_host_that_is_more_or_less_than_a_host_is_refused_by_name(host):
    (problem,) = problems(host=host)
    assert problem.startswith("connections.test.settings.host: host must be ")
    assert "https://api-acme.ent-sessionm.com" in problem
    assert "secret" not in problem


def test_r26_both_credentials_are_required():
    with pytest.raises(ConfigurationError) as caught:
        connection(gateway_sessionm, {"host": VALUES["host"]})
    keys = [problem.partition(":")[0] for problem in caught.value.problems]
    assert keys == ["connections.test.settings.api_key", "connections.test.settings.api_secret"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api_key", ""),
        ("api_key", "  "),
        ("api_key", "zebra:crossing"),
        ("api_key", " zebra"),
        ("api_key", "zebra\n"),
        ("api_key", "."),
        ("api_key", ".."),
        ("api_secret", ""),
        ("api_secret", "\t"),
        ("api_secret", "zebra "),
    ],
)
def test_r26_a_credential_that_cannot_work_is_refused_without_being_repeated(name, value):
    (problem,) = problems(**{name: value})
    assert problem.startswith(f"connections.test.settings.{name}: {name} must ")
    assert "zebra" not in problem


@pytest.mark.parametrize(
    ("key", "quoted"), [("test-key", "test-key"), ("a/b?c#d e", "a%2Fb%3Fc%23d%20e"), ("é@", "%C3%A9%40")]
)
def test_r26_the_key_is_one_quoted_segment_of_the_base_url(key, quoted):
    assert get_base_url(settings(api_key=key)) == f"https://api-acme.stg-sessionm.com/priv/v1/apps/{quoted}"


def test_r26_signing_adds_basic_authentication_of_key_and_secret():
    signed = gateway_sessionm.sign(Call(method="GET", path="users/1", headers={"X-Own": "1"}), settings())
    assert signed.headers == {
        "X-Own": "1",
        "Accept": "application/json",
        "Authorization": "Basic dGVzdC1rZXk6dGVzdC1zZWNyZXQ=",
    }


def test_r26_neither_credential_is_shown():
    shown = f"{settings()!r} {settings()} {settings().model_dump()}"
    assert "test-key" not in shown
    assert "test-secret" not in shown


def test_r26_both_credentials_are_known_to_be_masked():
    assert connection(gateway_sessionm, VALUES).secrets == ("test-secret", "test-key")


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (None, {}),
        ("", {}),
        ("  \n", {}),
        ("{}", {}),
        ('{"Reward Claimed": "reward_claimed"}', {"Reward Claimed": "reward_claimed"}),
        ({"Reward Claimed": "reward_claimed"}, {"Reward Claimed": "reward_claimed"}),
        ('{"A": "one", "B": "one", "a": "two"}', {"A": "one", "B": "one", "a": "two"}),
    ],
)
def test_r27_event_mappings_are_a_json_object_or_a_table(given, names):
    assert settings(event_mappings=given).event_mappings == names


KIT = json.dumps([{"jsmap": None, "map": "1598575", "maptype": "EventClass.Id", "value": "reward_claimed"}])


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("{", "event_mappings is not JSON; it must be a JSON object"),
        ("[" * 100_000, "event_mappings is not JSON; it must be a JSON object"),
        ("null", "event_mappings must be a JSON object"),
        ('"a"', "event_mappings must be a JSON object"),
        (7, "event_mappings must be a JSON object"),
        (KIT, "hashed names"),
        (json.loads(KIT), "hashed names"),
        ('{"A": "one", "A": "two"}', "event_mappings has the name 'A' twice"),
        ('{"A": ""}', "event_mappings must map 'A' to a name that is not blank"),
        ('{"A": "  "}', "event_mappings must map 'A' to a name that is not blank"),
        ('{"A": 7}', "event_mappings must map 'A' to a name that is not blank"),
        ('{"A": {"b": "c"}}', "event_mappings must map 'A' to a name that is not blank"),
        ({"A": None}, "event_mappings must map 'A' to a name that is not blank"),
        ('{" ": "one"}', "event_mappings has a blank name"),
    ],
)
def test_r27_mappings_that_cannot_be_meant_are_refused_at_load(given, complaint):
    (problem,) = problems(event_mappings=given)
    assert problem.startswith("connections.test.settings.event_mappings: ")
    assert complaint in problem


def test_identity_types_follow_the_same_form_and_leave_email_alone():
    assert settings(identity_types='{"customer_id": "card"}').identity_types == {"customer_id": "card"}
    (problem,) = problems(identity_types={"email": "mail"})
    assert "cannot rename email" in problem


def test_a_mapping_that_is_wrong_is_told_with_an_example_of_its_own():
    assert problems(event_mappings="x") == [
        "connections.test.settings.event_mappings: event_mappings is not JSON; it must be a JSON object that maps "
        'names to names, for example {"Reward Claimed": "reward_claimed"}'
    ]
    assert problems(identity_types=7) == [
        "connections.test.settings.identity_types: identity_types must be a JSON object that maps names to names, "
        'for example {"customer_id": "loyalty_card"}'
    ]


def test_erasure_identities_are_a_list_or_text_with_commas():
    assert settings(erasure_identities="customer_id, other, ,").erasure_identities == ("customer_id", "other")
    assert settings(erasure_identities=[]).erasure_identities == ()
    (problem,) = problems(erasure_identities=["email"])
    assert "cannot hold email" in problem


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("external_id_type", " ", "external_id_type must not be blank"),
        ("on_unknown_user", "ask", "'create' or 'skip'"),
        ("requests_per_second", -1, "greater than or equal to 0"),
        ("requests_per_second", float("inf"), "finite number"),
        ("requests_in_flight", -1, "greater than or equal to 0"),
        ("require_login", True, "no such setting"),
    ],
)
def test_other_settings_are_checked_by_name(name, value, complaint):
    (problem,) = problems(**{name: value})
    assert problem.startswith(f"connections.test.settings.{name}: ")
    assert complaint in problem


def test_the_default_limit_is_five_calls_a_second_and_four_at_once():
    assert get_rates(settings()) == {"": Rate(per_second=5.0, in_flight=4)}


@pytest.mark.parametrize("none", [0, None, "0"])
def test_zero_or_nothing_means_no_limit(none):
    assert get_rates(settings(requests_per_second=none, requests_in_flight=none)) == {"": Rate()}


def test_settings_given_as_text_are_understood():
    assert get_rates(settings(requests_per_second="2.5", requests_in_flight="8")) == {
        "": Rate(per_second=2.5, in_flight=8)
    }


def test_r28_no_setting_depends_on_the_platform():
    assert set(SessionMSettings.model_fields) == {
        "host",
        "api_key",
        "api_secret",
        "event_mappings",
        "external_id_type",
        "identity_types",
        "user_tag_value",
        "on_unknown_user",
        "erasure_identities",
        "audience_attributes",
        "opted_in_consent",
        "requests_per_second",
        "requests_in_flight",
    }
