"""Steps of the demo: the messages that mParticle posts, and the calls that must reach the partners."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ACCOUNT = {"account_id": 48151, "account_settings": {"sandbox": "False"}}
FIREHOSE = {"firehose_version": "3.2.0", "account": ACCOUNT}
MARA = "7346244611012968789"
NOOR = "-4957918240501247982"
ANONYMOUS = "-5227515829034156637"
NOON_MS = 1_767_610_800_000  # 5 January 2026, 11:00 UTC
AUDIENCE = {"audience_id": 5150, "audience_name": "Regulars"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A call that a partner must accept: ``says`` has the values that its body must hold, as (path with /, value)."""

    partner: str
    method: str
    path: str
    says: tuple[tuple[str, Any], ...] = ()
    means: str

    def is_seen_in(self, entry: Mapping[str, Any]) -> bool:
        """Return whether a partner's journal entry is this call."""
        body = entry.get("json") or entry.get("body")
        is_it = (entry["method"], entry["path"].rpartition("/apps/KEY/")[2]) == (self.method, self.path)
        return is_it and all(_at(body, place) == value for place, value in self.says)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One post: its body, the status that it must be answered with, and the calls that must arrive.

    ``troubles`` are the faults that each partner has at that moment.
    """

    title: str
    body: bytes
    status: int
    arrivals: tuple[Arrival, ...] = ()
    is_authorized: bool = True
    troubles: Mapping[str, tuple[dict[str, Any], ...]] = field(default_factory=dict)


def _at(body: Any, place: str) -> Any:
    for name in place.split("/"):
        body = body.get(name) if isinstance(body, dict) else None
    return body


def loyalty(method: str, path: str, means: str, *says: tuple[str, Any]) -> Arrival:
    """Return a call that SessionM must get."""
    return Arrival(partner="loyalty", method=method, path=path, says=says, means=means)


def email(method: str, path: str, means: str, *says: tuple[str, Any]) -> Arrival:
    """Return a call that Sailthru must get."""
    return Arrival(partner="email", method=method, path=path, says=says, means=means)


def firehose(kind: str, number: int, **fields: Any) -> bytes:
    """Return a Firehose message."""
    return json.dumps(
        {"type": kind, "id": _uuid(number), "timestamp_ms": NOON_MS + number, **FIREHOSE, **fields}
    ).encode()


def _uuid(number: int) -> str:
    return f"3f2b6c1e-0000-4000-8000-{number:012d}"


SIGN_UP = _uuid(2)


def identity(type: str, value: str) -> dict[str, str]:
    """Return a raw identity as Firehose writes it."""
    return {"type": type, "encoding": "raw", "value": value}


def batch(number: int, mpid: str, events: list[tuple[str, dict[str, Any]]], **fields: Any) -> bytes:
    """Return an Events batch as the Webhook output posts it."""
    posted = [
        {
            "event_type": type,
            "data": {"timestamp_unixtime_ms": str(NOON_MS + number), "event_id": str(number * 100 + place), **data},
        }
        for place, (type, data) in enumerate(events)
    ]
    head = {"message_id": _uuid(number), "message_type": "events", "schema_version": 2, "environment": "production"}
    return json.dumps({**head, "mpid": mpid, "events": posted, **fields}).encode()


FIRST_IDENTITIES = [identity("customer", "C-2001"), identity("email", "mara@example.com")]
NEW_ADDRESS = "mara.lind@example.com"


def sign_up() -> bytes:
    """Return the message of Mara's first session: a profile, a reward and a screen."""
    common = {"session_id": -4611686018427387905}
    profile = {"$FirstName": "Mara", "$City": "Boca Raton", "favourite_drink": "Cortado"}
    attributes = {"reward": "Free Cortado", "points": "120"}
    events = [
        {"type": "session_start", "id": _uuid(21), "timestamp_ms": NOON_MS + 1, **common},
        {
            "type": "custom_event",
            "id": _uuid(22),
            "timestamp_ms": NOON_MS + 2,
            "name": "Reward Claimed",
            "custom_event_type": "transaction",
            "attributes": attributes,
            **common,
        },
        {"type": "user_attribute_change", "id": _uuid(24), "timestamp_ms": NOON_MS + 2, "added": profile, **common},
        {"type": "screen_view", "id": _uuid(23), "timestamp_ms": NOON_MS + 3, "screen_name": "Rewards", **common},
    ]
    return firehose(
        "event_processing_request",
        2,
        mpid=MARA,
        user_identities=FIRST_IDENTITIES,
        user_attributes=profile,
        runtime_environment={"type": "ios", "is_debug": False, "application_name": "Kaffeboden"},
        events=events,
    )


def address_change() -> bytes:
    """Return the batch in which Mara's address and favourite drink change, and she collects a stamp."""
    changed: list[tuple[str, dict[str, Any]]] = [
        (
            "user_identity_change",
            {
                "new": {"identity_type": "email", "identity": NEW_ADDRESS},
                "old": {"identity_type": "email", "identity": "mara@example.com"},
            },
        ),
        (
            "user_attribute_change",
            {"user_attribute_name": "favourite_drink", "new": "Flat White", "old": "Cortado", "deleted": False},
        ),
        (
            "custom_event",
            {"event_name": "Stamp Collected", "custom_event_type": "other", "custom_attributes": {"n": 9}},
        ),
    ]
    identities = [
        {"identity_type": "customer_id", "identity": "C-2001"},
        {"identity_type": "email", "identity": NEW_ADDRESS},
    ]
    attributes = {"$FirstName": "Mara", "$City": "Boca Raton", "favourite_drink": "Flat White"}
    return batch(4, MARA, changed, user_identities=identities, user_attributes=attributes)


def membership() -> bytes:
    """Return the message by which Mara and a new user enter the audience."""
    profiles = [
        {"mpid": mpid, "user_identities": [identity("email", address)], "audiences": [{**AUDIENCE, "action": "add"}]}
        for mpid, address in ((MARA, NEW_ADDRESS), (NOOR, "noor@example.com"))
    ]
    return firehose("audience_membership_change_request", 6, user_profiles=profiles)


def stamp_while_partners_fail() -> bytes:
    """Return the batch of Noor's stamp and profile, posted while both partners fail."""
    happened: list[tuple[str, dict[str, Any]]] = [
        (
            "custom_event",
            {"event_name": "Stamp Collected", "custom_event_type": "other", "custom_attributes": {"n": 1}},
        ),
    ]
    identities = {"customer_id": "C-2002", "email": "noor@example.com"}
    attributes = {"$FirstName": "Noor", "stores": ["Vasastan", "Soder"]}
    return batch(8, NOOR, happened, user_identities=identities, user_attributes=attributes)


def erasure() -> bytes:
    """Return the request to erase Mara."""
    subject = {"email": {"encoding": "raw", "value": NEW_ADDRESS}}
    mpid = {"opendsr.mparticle.com": {"subject_identities": {"mpid": {"encoding": "raw", "value": MARA}}}}
    return firehose(
        "dsr_processing_request",
        10,
        subject_request_id=_uuid(99),
        subject_request_type="erasure",
        regulation="gdpr",
        submitted_time="2026-01-05T10:00:00Z",
        api_version="3.0",
        subject_identities=subject,
        extensions=mpid,
    )


TROUBLES = {
    "loyalty": ({"times": 2, "action": {"status": 503}},),
    "email": ({"match": {"path_regex": "/event$"}, "action": {"close": True}},),
}


STORY = (
    Step(
        title="asks for a registration",
        body=firehose("module_registration_request", 1),
        status=200,
        is_authorized=False,
    ),
    Step(
        title="Mara joins",
        body=sign_up(),
        status=200,
        arrivals=(
            loyalty("POST", "users", "created", ("user/external_id", MARA), ("user/first_name", "Mara")),
            loyalty("POST", f"external/users/{MARA}/events", "reward_claimed", ("events/reward_claimed/qty", "1")),
            loyalty("POST", f"external/users/{MARA}/events", "Rewards (screen)", ("events/Rewards/qty", "1")),
            email("POST", "/user", "profile", ("id", "mara@example.com"), ("vars/FirstName", "Mara")),
            email("POST", "/event", "mp_session_start", ("event", "mp_session_start")),
            email("POST", "/event", "Reward Claimed", ("event", "Reward Claimed"), ("vars/points", "120")),
        ),
    ),
    Step(title="repeats itself", body=sign_up(), status=200),
    Step(
        title="Mara's e-mail address changes",
        body=address_change(),
        status=202,
        arrivals=(
            loyalty("PUT", f"external/users/{MARA}", "profile", ("user/email", NEW_ADDRESS)),
            loyalty("POST", f"external/users/{MARA}/events", "stamp", ("events/stamp/context/n", "9")),
            email("POST", "/user", "address, history kept", ("key", "sid"), ("keys/email", NEW_ADDRESS)),
            email("POST", "/user", "profile", ("id", NEW_ADDRESS), ("vars/favourite_drink", "Flat White")),
            email("POST", "/event", "Stamp Collected", ("event", "Stamp Collected"), ("id", NEW_ADDRESS)),
        ),
    ),
    Step(
        title="an audience is connected",
        body=firehose("audience_subscription_request", 5, action="add", **AUDIENCE),
        status=200,
        arrivals=(email("POST", "/list", "list Regulars", ("list", "Regulars")),),
    ),
    Step(
        title="two users enter it",
        body=membership(),
        status=200,
        arrivals=(
            email("POST", "/user", "Mara on the list", ("id", NEW_ADDRESS), ("lists/Regulars", 1)),
            email("POST", "/user", "Noor on the list", ("id", "noor@example.com"), ("lists/Regulars", 1)),
        ),
    ),
    Step(
        title="somebody who is not logged in",
        body=batch(7, ANONYMOUS, [("custom_event", {"event_name": "Stamp Collected", "custom_event_type": "other"})]),
        status=202,
    ),
    Step(
        title="Noor collects a stamp; both partners fail",
        body=stamp_while_partners_fail(),
        status=202,
        troubles=TROUBLES,
        arrivals=(
            loyalty(
                "POST", "users", "created", ("user/external_id", NOOR), ("user/user_profile/stores", "Vasastan,Soder")
            ),
            loyalty("POST", f"external/users/{NOOR}/events", "stamp", ("events/stamp/context/n", "1")),
            email("POST", "/user", "profile", ("id", "noor@example.com"), ("vars/FirstName", "Noor")),
            email("POST", "/event", "Stamp Collected", ("event", "Stamp Collected"), ("id", "noor@example.com")),
        ),
    ),
    Step(title="a body cut short", body=sign_up()[:100], status=400),
    Step(
        title="Mara asks to be forgotten",
        body=erasure(),
        status=200,
        arrivals=(
            loyalty("DELETE", f"external/users/{MARA}", "deleted"),
            email("DELETE", "/user", "deleted"),
        ),
    ),
)
"""The steps of the demo, in order."""
