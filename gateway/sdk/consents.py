"""Consent: a user's decision about one purpose, for plugins that send it."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.sdk.model import ConsentChange, ConsentRecord, User

PURPOSE = r"^((gdpr|ccpa):.*\S.*)?$"
"""The pattern of a setting that names a purpose: ``gdpr:marketing``, ``ccpa:data_sale_opt_out``, or nothing."""


def find_consent(purpose: str, changes: Iterable[ConsentChange], user: User) -> bool | None:
    """Return whether the user consents to a purpose, such as ``gdpr:email``; None if nothing is stated about it.

    The newest change counts, otherwise the user's consent state. Letter case is ignored. For CCPA, a record that is
    true says that the user opted out, so the answer is False.
    """
    regulation, _, name = purpose.partition(":")
    records: dict[str, ConsentRecord | None] = {}
    for stated, record in (user.consent.ccpa if regulation == "ccpa" else user.consent.gdpr).items():
        records[_normalise(stated)] = record
    for change in changes:
        if change.regulation == regulation:
            records[_normalise(change.purpose)] = change.new
    found = records.get(_normalise(name)) if name else None
    return None if found is None else found.consented is (regulation == "gdpr")


def _normalise(purpose: str) -> str:
    return purpose.strip().casefold()
