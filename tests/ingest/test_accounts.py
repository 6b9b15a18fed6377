"""Which accounts' connections a post is for, and which settings are kept with it."""

import json

import pytest

from gateway.ingest.accounts import KEPT_AGAIN_MS, AccountRouter, encode_settings
from gateway.journal.types import SealedSettings
from gateway.mparticle.posts import read
from gateway.sealing import Sealer

pytestmark = pytest.mark.anyio

NOW = 10 * KEPT_AGAIN_MS
SETTINGS = {"api_key": "k", "api_secret": "hush"}


class Known:
    """A journal that knows some settings."""

    def __init__(self, *known):
        self.known = {one.connection: one for one in known}

    async def sealed(self, connection):
        return self.known.get(connection)


def kept(settings=SETTINGS, connection="loyalty/7", *, told_ms=NOW, received_ms=NOW, trouble=""):
    sealer, plain = Sealer([b"n" * 32]), encode_settings(settings)
    return SealedSettings(
        connection=connection,
        print=sealer.print(plain, connection),
        sealed=sealer.seal(plain, connection),
        told_ms=told_ms,
        received_ms=received_ms,
        trouble=trouble,
    )


def message(kind="event_processing_request", *, account=7, settings=SETTINGS, told_ms=NOW):
    body = {"type": kind, "id": "m", "timestamp_ms": told_ms, "mpid": "1", "user_attributes": {"a": "b"}}
    body["account"] = {"account_id": account, "account_settings": settings}
    profile = {"mpid": "1", "audiences": [{"audience_id": 5, "audience_name": "A", "action": "add"}]}
    return {**body, "user_profiles": [profile]} if kind.startswith("audience") else body


async def visit(body, *known, only=None, configured=("email", "loyalty"), hosted=("loyalty",)):
    reception = AccountRouter(
        configured=configured, hosted=frozenset(hosted), journal=Known(*known), sealer=Sealer([b"n" * 32])
    )
    raw = json.dumps(body).encode()
    return await reception.route(read(raw), only, NOW)


async def test_an_account_is_a_connection_of_its_own_where_connections_are_hosted():
    assert (await visit(message())).connections == ("email", "loyalty/7")
    assert (await visit(message(), only="loyalty")).connections == ("loyalty/7",)
    assert (await visit(message(), only="email")).connections == ("email",)
    assert (await visit({"mpid": 1, "message_id": "b"})).connections == ("email", "loyalty")


@pytest.mark.parametrize("account", [0, "0", None, "../etc", "x" * 24, "a/b"])
async def test_without_an_id_the_settings_tell_one_customer_from_another(account):
    _, one = (await visit(message(account=account))).connections
    _, other = (await visit(message(account=account, settings={"api_key": "k2"}))).connections
    assert one.startswith("loyalty/~")
    assert one == (await visit(message(account=account))).connections[1] != other
    assert (await visit(message(account=account, settings={}))).connections == ("email", "loyalty")


@pytest.mark.parametrize(
    ("known", "told_ms", "is_kept"),
    [
        ([], NOW, True),
        ([kept()], NOW, False),
        ([kept({"api_key": "old"}, told_ms=NOW - 1)], NOW, True),
        ([kept({"api_key": "newer"}, told_ms=NOW)], NOW - 1, False),
        ([kept(told_ms=1, received_ms=NOW - KEPT_AGAIN_MS)], NOW, True),
        ([kept({"api_key": "old"}, told_ms=NOW)], NOW + 10**9, True),
    ],
    ids=["unknown", "known", "rotated", "told late", "known for an hour", "of the future"],
)
async def test_settings_are_kept_where_they_are_news(known, told_ms, is_kept):
    found = (await visit(message(told_ms=told_ms), *known)).sealed
    assert [(one.connection, one.told_ms <= NOW) for one in found] == ([("loyalty/7", True)] if is_kept else [])
    assert b"hush" not in b"".join(one.sealed + one.print for one in found)


MEMBERSHIP = "audience_membership_change_request"
REFUSED = kept(trouble="refused: no")


@pytest.mark.parametrize(
    ("body", "known", "only", "expected"),
    [
        (message(MEMBERSHIP), [REFUSED], "loyalty", True),
        (message(MEMBERSHIP), [REFUSED], None, False),
        (message(MEMBERSHIP), [kept()], "loyalty", False),
        (message(MEMBERSHIP), [], "loyalty", False),
        (message(MEMBERSHIP, settings={"api_key": "new"}), [REFUSED], "loyalty", False),
        (message(MEMBERSHIP, settings={}), [REFUSED], "loyalty", True),
        (message(MEMBERSHIP), [kept(trouble="refused: no", received_ms=0)], "loyalty", True),
        (message(), [REFUSED], "loyalty", True),
        (message("dsr_processing_request"), [REFUSED], "loyalty", False),
    ],
)
async def test_events_and_audiences_are_suspended_where_nothing_would_be_accepted(body, known, only, expected):
    assert (await visit(body, *known, only=only)).suspended is expected
