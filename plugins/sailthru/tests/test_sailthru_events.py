from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gateway_sailthru
from gateway.sdk import (
    AppState,
    Attribution,
    Call,
    ErrorReport,
    Event,
    Impression,
    ImpressionList,
    OptOut,
    OtherEvent,
    Product,
    ProductAction,
    Promotion,
    PromotionAction,
    PushMessage,
    Skip,
    UnknownEvent,
    User,
)
from gateway.testing import Answer, Request, batch, custom_event, identity, plan_with, screen_view, session, user
from gateway_sailthru.fake import FakeSailthru

VALUES = {"api_key": "test-key", "api_secret": "test-secret"}
JO = "jo@example.com"
TIME_MS = 1_714_565_696_789
WHEN = {"mp_timestamp": 1_714_565_696}
KINDS = (
    "custom_event",
    "commerce_event",
    "screen_view",
    "attribution",
    "application_state_transition",
    "push_message",
)
RESERVED = ("send", "cancel", "open", "click", "purchase", "daily")


def of(kind: type[Event], type: str, **fields) -> Event:
    return kind(**{"id": "e-1", "type": type, "time_ms": TIME_MS, **fields})


def sent(name: str, **vars) -> Call:
    payload = {"id": JO, "key": "email", "event": name}
    return Call(method="POST", path="event", json={**payload, "vars": vars} if vars else payload, scope="POST event")


def plan(happened: Event, who: User | None = None, **settings) -> list:
    """Return the plan for one event; the skip of its batch's identities, which comes first, is left out."""
    return plan_with(gateway_sailthru, batch(happened, user=who or user(email=JO)), {**VALUES, **settings})[1:]


def test_a_custom_event_is_sent_under_its_own_name_with_its_attributes_as_vars():
    happened = custom_event("Reward Claimed", attributes={"reward": "Latte", "points": 120, "$x y": True})
    assert plan(happened) == [sent("Reward Claimed", reward="Latte", points=120, x_y=True, **WHEN)]


@pytest.mark.parametrize("name", ["wishlist add", "Straße", "a/b:c!", "Purchase Completed", "SEND", "mp_click"])
def test_a_name_that_is_not_reserved_stays_as_it_is(name):
    assert plan(custom_event(name)) == [sent(name, **WHEN)]


@pytest.mark.parametrize("name", RESERVED)
def test_one_of_the_six_reserved_names_gets_a_prefix_or_is_skipped(name):
    assert plan(custom_event(name)) == [sent(f"mp_{name}", **WHEN)]
    assert plan(custom_event(f" {name} ")) == [sent(f"mp_{name}", **WHEN)]
    assert plan(custom_event(name), reserved_event_names="skip") == [
        Skip(reason="reserved_name", setting="reserved_event_names")
    ]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(RESERVED))
def test_no_event_is_ever_sent_under_a_reserved_name_or_none(name):
    (item,) = plan(custom_event(name))
    assert item == Skip(reason="no_name") or item.json["event"] not in (*RESERVED, "")


@pytest.mark.parametrize("name", ["", "   ", "\n"])
def test_an_event_without_a_name_is_skipped(name):
    assert plan(custom_event(name)) == [Skip(reason="no_name")]


@pytest.mark.parametrize(
    ("time_ms", "settings", "vars"),
    [
        (TIME_MS, {}, WHEN),
        (TIME_MS, {"time_var": "happened_at"}, {"happened_at": 1_714_565_696}),
        (TIME_MS, {"time_var": ""}, {}),
        (None, {}, {}),
        (0, {}, {"mp_timestamp": 0}),
    ],
)
def test_the_original_time_goes_in_a_var_for_sailthru_has_no_field_for_it(time_ms, settings, vars):
    assert plan(custom_event("x", time_ms=time_ms), **settings) == [sent("x", **vars)]


def test_an_attribute_named_as_the_time_gives_way_and_is_named():
    happened = custom_event("x", attributes={"mp_timestamp": "mine"})
    assert plan(happened) == [sent("x", **WHEN), Skip(reason="name_collision", what="mp_timestamp")]


def test_an_array_among_the_attributes_is_text_that_flows_can_filter():
    assert plan(custom_event("x", attributes={"sizes": ["S", "M"]})) == [sent("x", sizes="S,M", **WHEN)]


@pytest.mark.parametrize(
    ("started", "length_ms", "expected"),
    [
        (True, None, sent("mp_session_start", session_id="s-1", **WHEN)),
        (False, 61_000, sent("mp_session_end", session_id="s-1", session_length_ms=61_000, **WHEN)),
        (False, 0, sent("mp_session_end", session_id="s-1", session_length_ms=0, **WHEN)),
    ],
)
def test_a_session_is_an_event_when_it_starts_and_when_it_ends(started, length_ms, expected):
    assert plan(session(started=started, session_id="s-1", length_ms=length_ms)) == [expected]


def test_sessions_are_sent_whatever_kinds_of_events_are():
    assert plan(session(), app_events=[]) == [sent("mp_session_start", **WHEN)]


FED = [
    "EMAIL_SUBSCRIBE",
    "EMAIL_UNSUBSCRIBE",
    "EMAIL_CLICK",
    "EMAIL_OPEN",
    "BLAST_SEND",
    "TRIGGERED_SEND",
    "EMAIL_BOUNCE",
    "EMAIL_COMPLAINT",
]


@pytest.mark.parametrize("name", FED)
def test_an_event_that_sailthru_fed_into_mparticle_is_not_echoed(name):
    fed = custom_event(name, custom_type="other")
    assert plan(fed) == [Skip(reason="loop", setting="skip_sailthru_events")]
    assert plan(fed, skip_sailthru_events=False) == [sent(name, **WHEN)]
    assert plan(custom_event(name, custom_type="navigation")) == [sent(name, **WHEN)]
    assert plan(custom_event(f"{name}S", custom_type="other")) == [sent(f"{name}S", **WHEN)]


PRODUCT = Product(id="p-1", name="Latte", price=4.5, quantity=2, brand="K", attributes={"milk": "oat"})
SHOWN = {"milk": "oat", "id": "p-1", "name": "Latte", "brand": "K", "price": 4.5, "quantity": 2}
OF_PRODUCTS = {"products": [SHOWN], "product_ids": "p-1", "product_names": "Latte"}
TOLD = [
    (screen_view("Home"), sent("mp_screen_view", screen_name="Home", **WHEN)),
    (screen_view(""), sent("mp_screen_view", **WHEN)),
    (
        of(
            ProductAction,
            "commerce_event",
            action="add_to_cart",
            products=(PRODUCT,),
            currency_code="EUR",
            total_amount=9,
        ),
        sent("mp_add_to_cart", total_amount=9, currency_code="EUR", **OF_PRODUCTS, **WHEN),
    ),
    (
        of(ProductAction, "commerce_event", action="purchase", transaction_id="t-1", products=()),
        sent("mp_purchase", transaction_id="t-1", **WHEN),
    ),
    (
        of(PromotionAction, "commerce_event", action="view", promotions=(Promotion(id="pr-1", name="Spring"),)),
        sent("mp_promotion_view", promotions=[{"id": "pr-1", "name": "Spring"}], **WHEN),
    ),
    (
        of(Impression, "commerce_event", lists=(ImpressionList(name="Top", products=(PRODUCT,)),)),
        sent("mp_impression", list_name="Top", **OF_PRODUCTS, **WHEN),
    ),
    (
        of(Attribution, "attribution", name="install", partner="A", campaign="B"),
        sent("mp_attribution", attribution="install", partner="A", campaign="B", **WHEN),
    ),
    (of(AppState, "application_state_transition", state="install"), sent("mp_install", **WHEN)),
    (of(PushMessage, "push_message", action="opened"), sent("mp_push_opened", **WHEN)),
]


@pytest.mark.parametrize(("happened", "expected"), TOLD)
def test_an_event_of_mparticles_own_is_named_for_what_happened(happened, expected):
    assert plan(happened, app_events=KINDS) == [expected]


@pytest.mark.parametrize(("happened", "_"), TOLD)
def test_only_the_kinds_that_the_settings_name_are_sent(happened, _):
    assert plan(happened, app_events=[]) == [Skip(reason="kind_not_selected", setting="app_events")]


@pytest.mark.parametrize(
    ("happened", "is_sent"), [(happened, happened.type == "commerce_event") for happened, _ in TOLD]
)
def test_by_default_custom_and_commerce_events_are_sent(happened, is_sent):
    assert isinstance(plan(happened)[0], Call) is is_sent


@pytest.mark.parametrize(
    "happened",
    [
        of(OptOut, "opt_out", opted_out=True),
        of(ErrorReport, "crash_report", message="boom"),
        of(OtherEvent, "breadcrumb"),
        of(UnknownEvent, "brand_new"),
    ],
)
def test_what_is_no_event_of_an_app_is_skipped_as_such(happened):
    assert plan(happened, app_events=KINDS) == [Skip(reason="not_an_app_event")]


@pytest.mark.parametrize("happened", [custom_event(), session()])
@pytest.mark.parametrize(
    ("who", "reason"),
    [
        (user(customer_id="c-1"), "no_email"),
        (user(email="nonsense"), "invalid_email"),
        (User(identities=(identity("email", "9f86", encoding="sha256"),)), "hashed_email"),
    ],
)
def test_an_event_of_somebody_without_an_address_is_skipped_with_the_reason(happened, who, reason):
    assert plan(happened, who) == [Skip(reason=reason)]


def test_an_event_goes_to_the_address_in_lower_case():
    (call,) = plan(custom_event("x"), user(email=" JO@Example.com"))
    assert call == sent("x", **WHEN)


def test_the_fake_gets_events_in_order_and_stores_none_of_their_vars_on_the_profile(bench):
    here = bench()
    here.vendor.seed({"users": [{"id": JO, "vars": {"a": "1"}}]})
    said = batch(session(), custom_event("b", attributes={"c": "2"}), session(started=False), user=user(email=JO))
    assert here.deliver(said) == ["delivered"] * 3
    assert [event["event"] for event in here.vendor.events] == ["mp_session_start", "b", "mp_session_end"]
    assert here.user(JO)["vars"] == {"a": "1"}


@pytest.mark.parametrize("name", RESERVED)
def test_sailthru_takes_what_becomes_of_a_reserved_name(bench, name):
    here = bench()
    assert here.deliver(batch(custom_event(name), user=user(email=JO))) == ["delivered"]
    assert here.vendor.events[0]["event"] == f"mp_{name}"


@pytest.mark.parametrize("at_least_once", [True, False])
def test_an_event_of_somebody_unknown_creates_them_and_is_sent_again(bench, at_least_once):
    here = bench(event_unknown_user="error99")
    said = batch(custom_event("Signup"), session(), user=user(email=JO))
    assert here.deliver(said, at_least_once=at_least_once) == ["delivered", "delivered"]
    assert here.journal() == ["POST /event 400", "POST /user 200", "POST /event 200", "POST /event 200"]
    assert [event["event"] for event in here.vendor.events] == ["Signup", "mp_session_start"]
    assert here.user(JO) == {"keys": {"email": JO}, "vars": {}, "lists": [], "optout": "none"}


class Forgetful(FakeSailthru):
    """Nobody who is created is ever found."""

    def answer(self, request: Request) -> Answer:
        answer = super().answer(request)
        if request.path == "/user":
            self.users.delete({"id": JO, "key": "email"})
        return answer


def test_an_event_that_is_refused_again_is_a_dead_letter(bench):
    here = bench(Forgetful(), event_unknown_user="error99")
    assert here.deliver(batch(custom_event(), user=user(email=JO))) == ["rejected error_99"]
    assert here.journal() == ["POST /event 400", "POST /user 200", "POST /event 400"]


def test_an_event_waits_where_the_profile_cannot_be_created_yet(bench):
    here = bench(event_unknown_user="error99")
    here.fault(path="/user$", status=503)
    assert here.deliver(batch(custom_event(), user=user(email=JO))) == ["retry status_503"]
    assert here.vendor.events == []
