"""One of several e-mail addresses is used."""

from __future__ import annotations

import pytest

import gateway_sailthru
from gateway.sdk import Batch, Call, IdentityChange, Skip, User
from gateway.testing import batch, custom_event, identity, plan_with

VALUES = {"api_key": "test-key", "api_secret": "test-secret"}
OLD, NEW, THIRD = "old@example.com", "new@example.com", "third@example.com"
FURTHER = Skip(reason="further_email", what="email")
HASH = identity("email", "9f86", encoding="md5")


def person(*emails: str) -> User:
    return User(identities=tuple(identity("email", email) for email in emails))


def planned(said: Batch, **settings) -> tuple[list[str], list[Skip]]:
    """The addresses that calls are for, and what is skipped."""
    items = plan_with(gateway_sailthru, said, {**VALUES, **settings})
    skips = [item for item in items if isinstance(item, Skip)]
    return [item.json["id"] for item in items if isinstance(item, Call)], skips


@pytest.mark.parametrize(
    ("emails", "used", "said"),
    [
        ((NEW, OLD), NEW, [FURTHER]),
        ((OLD, NEW, THIRD), OLD, [FURTHER]),
        (("nonsense", NEW), NEW, [FURTHER]),
        (("  ", NEW), NEW, []),
        ((NEW, "NEW@example.com "), NEW, []),
    ],
)
def test_the_first_that_can_be_an_address_is_used_and_that_there_are_others_is_said_once(emails, used, said):
    who = person(*emails)
    assert planned(batch(custom_event(), user=who), create_before_events=True) == ([used, used], said)
    assert planned(batch(user=who)) == ([], [*said, Skip(reason="unchanged")])


def test_nobody_is_addressed_by_what_is_no_address():
    said = batch(custom_event(), user=person("nonsense", "more nonsense"))
    assert planned(said) == ([], [Skip(reason="invalid_email")] * 2)


def test_a_further_address_is_said_once_whatever_changed():
    changes = tuple(IdentityChange(type="email", new=identity("email", value)) for value in (OLD, THIRD))
    said = batch(user=person(NEW, OLD), identity_changes=changes)
    assert planned(said) == ([], [FURTHER, Skip(reason="unchanged")])


def test_a_hash_is_no_further_address():
    who = User(identities=(HASH, *person(NEW).identities))
    assert planned(batch(user=who)) == ([], [Skip(reason="unchanged")])
