"""Consent: the user's decisions about e-mail and about tracking, as fields of the profile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gateway.sdk import Call, ConsentChange, Skip, User, find_consent
from gateway_sailthru import calls
from gateway_sailthru.settings import SailthruSettings
from gateway_sailthru.user_keys import find_email

PIXEL = {True: "opt-in", False: "opt-out"}


def plan_consents(changes: Iterable[ConsentChange], user: User, settings: SailthruSettings) -> Iterator[Call | Skip]:
    """Write the decisions about the purposes that the settings name. Consent given lifts no opt-out from e-mail."""
    changes, email = tuple(changes), find_email(user)
    if not settings.email_consent and not settings.pixel_consent:
        yield Skip(reason="consent_off")
        return
    if isinstance(email, Skip):
        yield email
        return
    mails = find_consent(settings.email_consent, changes, user)
    tracks = find_consent(settings.pixel_consent, changes, user)
    optout = settings.email_optout if mails is False else None
    if mails:
        yield Skip(reason="optout_kept")
    if optout or tracks is not None:
        yield calls.upsert(email, optout_email=optout, pixel_tracking_consent=None if tracks is None else PIXEL[tracks])
    elif not mails:
        yield Skip(reason="other_purpose")
