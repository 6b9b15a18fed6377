"""The calls of SessionM's API that the plugin makes, and how fast it may make them."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.sdk import Call, Rate, path
from gateway_sessionm.settings import SessionMSettings
from gateway_sessionm.steps import CallMemo, DeliveryStep
from gateway_sessionm.user_keys import Identifier, find_missing

SHOW = {"show_identifiers": "true"}


def get_base_url(settings: SessionMSettings) -> str:
    """Return the absolute URL that the path of every call is relative to. It holds the API key."""
    return f"{settings.host}/priv/v1/apps/{path(settings.api_key.get_secret_value())}"


def get_rates(settings: SessionMSettings) -> dict[str, Rate]:
    """Return the one rate limit, which all calls draw on."""
    return {
        "": Rate(per_second=settings.requests_per_second or None, in_flight=settings.requests_in_flight or None),
    }


def write_profile(memo: CallMemo) -> Call:
    """Write the profile of the user with this MPID; with nothing to write, read which ids SessionM has."""
    if not memo.user:
        step = DeliveryStep.RETURN if memo.declined else DeliveryStep.IDENTIFY
        return _request("GET", _user_path(memo), memo.at(step), params=SHOW)
    step = DeliveryStep.RETURN if memo.declined else DeliveryStep.UPDATE
    return _request("PUT", _user_path(memo), memo.at(step, user={}), json={"user": memo.user})


def read_identifiers(memo: CallMemo) -> Call:
    """Read which ids SessionM has of the user whose profile was written."""
    return _request("GET", _user_path(memo), memo.at(DeliveryStep.COMPARE, user={}), params=SHOW)


def write_identifiers(memo: CallMemo, known: list[dict[str, str]], external_id_type: str) -> Call:
    """Write the whole list of ids, always with the MPID: a shorter list would take ids away."""
    own = [Identifier(memo.mpid, external_id_type)]
    if any(entry["external_id"] == memo.mpid for entry in known):
        own = []
    identifiers = [*known, *find_missing((*own, *memo.identifiers), known)]
    return _request(
        "PUT", _user_path(memo), memo.at(DeliveryStep.EXTEND, user={}), json={"user": {"identifiers": identifiers}}
    )


def post_event(memo: CallMemo) -> Call:
    """Post the event; for the last time, if the user had to be looked for."""
    step = DeliveryStep.SEND if memo.step is DeliveryStep.SEND else DeliveryStep.RESEND
    address = path("external", "users", memo.mpid, "events")
    return _request("POST", address, memo.at(step, events={}), json={"events": memo.events})


def look_up(memo: CallMemo) -> Call:
    """Read which user has the next of the ids to look under."""
    value, *rest = memo.looks
    return _request("GET", path("external", "users", value), memo.at(DeliveryStep.LOOK, looks=rest), params=SHOW)


def adopt_user(memo: CallMemo, external_id_type: str) -> Call:
    """Write the profile of the user found and add the MPID; write all ids too, if SessionM lacks some."""
    own = Identifier(memo.mpid, external_id_type)
    user = {**memo.user, **msgspec.structs.asdict(own)}
    if memo.known is not None and find_missing(memo.identifiers, memo.known):
        user["identifiers"] = [*memo.known, *find_missing((own, *memo.identifiers), memo.known)]
    address = path("users", memo.found or "")
    return _request("PUT", address, memo.at(DeliveryStep.ADOPT), json={"user": user})


def create_user(memo: CallMemo, external_id_type: str) -> Call:
    """Create the user with everything that is known of them."""
    user: dict[str, Any] = {"external_id": memo.mpid, "external_id_type": external_id_type}
    if memo.identifiers:
        user["identifiers"] = [msgspec.structs.asdict(identifier) for identifier in memo.identifiers]
    if memo.email is not None:
        user["email"] = memo.email
    return _request("POST", "users", memo.at(DeliveryStep.CREATE), json={"user": {**user, **memo.user}})


def delete_user(external_id: str) -> Call:
    """Delete the user with this id."""
    return _request("DELETE", path("external", "users", external_id), CallMemo(step=DeliveryStep.ERASE))


def _user_path(memo: CallMemo) -> str:
    return path("external", "users", memo.mpid)


def _request(
    method: str, address: str, memo: CallMemo, *, params: dict[str, str] | None = None, json: Any = None
) -> Call:
    return Call(method=method, path=address, params=params or {}, json=json, memo=msgspec.to_builtins(memo))
