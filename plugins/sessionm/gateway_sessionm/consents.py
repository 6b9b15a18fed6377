"""Consent: the user's decision about one purpose as the profile's ``opted_in``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gateway.sdk import Call, ConsentChange, Skip, User, find_consent
from gateway_sessionm.profiles import update_profile
from gateway_sessionm.settings import SessionMSettings
from gateway_sessionm.user_keys import find_mpid


def plan_consents(changes: Iterable[ConsentChange], user: User, settings: SessionMSettings) -> Iterator[Call | Skip]:
    """Write whether the user has opted in, if a setting names the purpose that says so."""
    mpid = find_mpid(user)
    if not settings.opted_in_consent:
        yield Skip(reason="consent_off")
        return
    if isinstance(mpid, Skip):
        yield mpid
        return
    is_given = find_consent(settings.opted_in_consent, changes, user)
    if is_given is None:
        yield Skip(reason="other_purpose")
    else:
        yield update_profile({"opted_in": is_given}, mpid, user, settings)
