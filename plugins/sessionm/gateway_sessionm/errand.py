"""An errand: what a call is for, carried in its memo from call to follow-up call."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from gateway.sdk import Call, path
from gateway_sessionm.identities import Identifier, missing

SHOW = {"show_identifiers": "true"}


class Step(StrEnum):
    """What one call of an errand does."""

    UPDATE = "update"
    """Write the profile of the user with this MPID."""
    IDENTIFY = "identify"
    """Read which ids the user with this MPID has; there is nothing else to write."""
    COMPARE = "compare"
    """Read the same after the profile was written."""
    EXTEND = "extend"
    """Write the user's whole list of ids, the new ones among them."""
    SEND = "send"
    """Post an event."""
    LOOK = "look"
    """Look for the user under another id, since the MPID is unknown."""
    ADOPT = "adopt"
    """Write the profile of a user found under another id, and add the MPID."""
    CREATE = "create"
    """Create the user."""
    RETURN = "return"
    """Creating or adopting was declined, perhaps since somebody was faster: write the profile by MPID after all."""
    RESEND = "resend"
    """Post the event for the second and last time."""
    ERASE = "erase"
    """Delete the user."""


class Errand(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What has to come true, and what is known so far.

    ``identifiers`` are all the user's, ``unconfirmed`` says that SessionM may lack some of them. ``user``
    is the profile to write and ``events`` the event to post; while a call's body is just that they are
    left out here. ``email`` is written where the user has to be created, whatever the errand is.
    ``looks`` are the ids still to look under, ``found`` is SessionM's id of the user they led to and
    ``known`` that user's ids. ``declined`` is why SessionM would neither create the user nor take the MPID.
    """

    step: Step
    mpid: str = ""
    identifiers: list[Identifier] = []
    unconfirmed: bool = False
    user: dict[str, Any] = {}
    events: dict[str, Any] = {}
    email: str | None = None
    looks: list[str] = []
    found: str | None = None
    known: list[dict[str, str]] | None = None
    declined: str = ""

    def at(self, step: Step, **changes: Any) -> Errand:
        """The same errand at another step."""
        return msgspec.structs.replace(self, step=step, **changes)


def errand_of(call: Call) -> Errand:
    """The errand that a call is part of, with what the call's body says of it."""
    errand, body = msgspec.convert(call.memo, Errand), call.json or {}
    if errand.step in (Step.UPDATE, Step.RETURN):
        return errand.at(errand.step, user=body.get("user", {}))
    if errand.step in (Step.SEND, Step.RESEND):
        return errand.at(errand.step, events=body.get("events", {}))
    return errand


def write_profile(errand: Errand) -> Call:
    """Write the profile of the user with this MPID; with nothing to write, read which ids they have."""
    if not errand.user:
        step = Step.RETURN if errand.declined else Step.IDENTIFY
        return _call("GET", _user(errand), errand.at(step), params=SHOW)
    step = Step.RETURN if errand.declined else Step.UPDATE
    return _call("PUT", _user(errand), errand.at(step, user={}), json={"user": errand.user})


def compare(errand: Errand) -> Call:
    """Read which ids SessionM has of the user."""
    return _call("GET", _user(errand), errand.at(Step.COMPARE, user={}), params=SHOW)


def extend(errand: Errand, known: list[dict[str, str]], external_id_type: str) -> Call:
    """Write the whole list of ids, the MPID in any case: a shorter one would take ids away."""
    own = [Identifier(errand.mpid, external_id_type)]
    if any(entry["external_id"] == errand.mpid for entry in known):
        own = []
    identifiers = [*known, *missing((*own, *errand.identifiers), known)]
    return _call("PUT", _user(errand), errand.at(Step.EXTEND, user={}), json={"user": {"identifiers": identifiers}})


def send(errand: Errand) -> Call:
    """Post the event: for the last time where the user had to be looked for."""
    step = Step.SEND if errand.step is Step.SEND else Step.RESEND
    address = path("external", "users", errand.mpid, "events")
    return _call("POST", address, errand.at(step, events={}), json={"events": errand.events})


def look(errand: Errand) -> Call:
    """Read who has the next of the ids to look under."""
    value, *rest = errand.looks
    return _call("GET", path("external", "users", value), errand.at(Step.LOOK, looks=rest), params=SHOW)


def adopt(errand: Errand, external_id_type: str) -> Call:
    """Write the profile of the user found and give them the MPID, and with it all ids where some are missing."""
    own = Identifier(errand.mpid, external_id_type)
    user = {**errand.user, **msgspec.structs.asdict(own)}
    if errand.known is not None and missing(errand.identifiers, errand.known):
        user["identifiers"] = [*errand.known, *missing((own, *errand.identifiers), errand.known)]
    address = path("users", errand.found or "")
    return _call("PUT", address, errand.at(Step.ADOPT), json={"user": user})


def create(errand: Errand, external_id_type: str) -> Call:
    """Create the user with everything known of them."""
    user: dict[str, Any] = {"external_id": errand.mpid, "external_id_type": external_id_type}
    if errand.identifiers:
        user["identifiers"] = [msgspec.structs.asdict(identifier) for identifier in errand.identifiers]
    if errand.email is not None:
        user["email"] = errand.email
    return _call("POST", "users", errand.at(Step.CREATE), json={"user": {**user, **errand.user}})


def erase(external_id: str) -> Call:
    """Delete the user with this id."""
    return _call("DELETE", path("external", "users", external_id), Errand(step=Step.ERASE))


def _user(errand: Errand) -> str:
    return path("external", "users", errand.mpid)


def _call(method: str, address: str, errand: Errand, *, params: dict[str, str] | None = None, json: Any = None) -> Call:
    return Call(method=method, path=address, params=params or {}, json=json, memo=msgspec.to_builtins(errand))
