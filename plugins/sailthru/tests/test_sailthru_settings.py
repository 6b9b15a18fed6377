from __future__ import annotations

import pytest
from pydantic import ValidationError

import gateway_sailthru
from gateway.sdk import Call, Rate, RateHeaders
from gateway.testing import batch, custom_event, plan_with, user
from gateway_sailthru import calls
from gateway_sailthru.settings import SailthruSettings

VALUES = {"api_key": "test-key", "api_secret": "test-secret"}
PUBLISHED = {"GET user": 300, "POST user": 300, "POST event": 40, "POST list": 40, "DELETE user": 40}


def settings(**values) -> SailthruSettings:
    return SailthruSettings.model_validate({**VALUES, **values})


def wrong(values: dict) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        SailthruSettings.model_validate(values)
    return [".".join(map(str, error["loc"])) for error in caught.value.errors()]


def test_key_and_secret_are_all_that_must_be_set():
    assert wrong({}) == ["api_key", "api_secret"]
    assert settings().base_url == "https://api.sailthru.com"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api_key", ""),
        ("api_secret", ""),
        ("rate_share", 0),
        ("rate_share", 1.1),
        ("removed_value", "delete"),
        ("array_mode", "flatten"),
        ("preferred_name", "both"),
        ("app_events", ["session_start"]),
        ("reserved_event_names", "send"),
        ("time_var", "mp time"),
        ("time_var", "1st"),
        ("time_var", "x" * 33),
        ("purchases", "none"),
        ("removed_audience", "rename"),
        ("look_again_s", -1),
        ("look_again_s", 3601),
        ("item_url", "shop.example.com/{id}"),
        ("item_url", "https://shop.example.com/{sku}"),
        ("item_url", "https://shop.example.com/{id.real}"),
        ("item_url", "https://shop.example.com/{id!r}"),
        ("item_url", "https://shop.example.com/{id:>9}"),
        ("item_url", "https://shop.example.com/{}"),
        ("item_url", "https://shop.example.com/{id"),
        ("api_token", "x"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(name, value):
    assert [key.partition(".")[0] for key in wrong({**VALUES, name: value})] == [name]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rate_share", 1),
        ("app_events", []),
        ("app_events", ["screen_view", "push_message"]),
        ("time_var", ""),
        ("time_var", "happened_at"),
        ("item_url", ""),
        ("item_url", "https://shop.example.com/{brand}/{id}?name={name}&{category}={variant}"),
    ],
)
def test_a_right_setting_is_taken(name, value):
    assert getattr(settings(**{name: value}), name) == (tuple(value) if isinstance(value, list) else value)


def test_a_secret_is_never_shown():
    shown = f"{settings()!r} {settings()}"
    assert "test-key" not in shown
    assert "test-secret" not in shown


def test_every_setting_says_what_it_is_for():
    assert [name for name, field in SailthruSettings.model_fields.items() if not field.description] == []


@pytest.mark.parametrize(("scope", "published"), PUBLISHED.items())
def test_half_of_the_published_limits_is_used_before_sailthru_has_told_any(scope, published):
    assert calls.get_rates(settings())[scope] == Rate(per_second=published / 2, burst=published // 2)


@pytest.mark.parametrize(("share", "rate"), [(1, Rate(per_second=40, burst=40)), (0.01, Rate(per_second=0.4, burst=1))])
def test_the_share_of_the_limits_is_a_setting(share, rate):
    assert calls.get_rates(settings(rate_share=share))["POST event"] == rate


def test_limits_are_learned_from_the_headers_that_sailthru_sends():
    assert gateway_sailthru.destination().rate_headers(settings(rate_share=0.25)) == RateHeaders(
        limit="x-rate-limit-limit", remaining="x-rate-limit-remaining", reset="x-rate-limit-reset", share=0.25
    )


def test_every_call_draws_on_a_limit_that_is_declared():
    said = batch(custom_event(), user=user(email="jo@example.com", attributes={"a": "1"}))
    planned = [item for item in plan_with(gateway_sailthru, said, VALUES) if isinstance(item, Call)]
    assert {call.scope for call in planned} <= set(calls.get_rates(settings()))
    assert [call.scope for call in planned] == [f"{call.method} {call.path}" for call in planned]
