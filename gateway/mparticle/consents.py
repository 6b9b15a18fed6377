"""Consent: what a user decided, and what changed of it, in either dialect's shape."""

from __future__ import annotations

from gateway.mparticle.fields import Fields, SenderName, each, expected, flag, inner, mapping, text, time, within, word
from gateway.sdk import Consent, ConsentChange, ConsentRecord

CCPA_PURPOSE = "data_sale_opt_out"
"""The one purpose that CCPA has, which a change of it may leave unsaid."""


def read_state(fields: Fields) -> Consent:
    """Read the member ``consent_state``."""
    return inner(fields, "consent_state", _read_state) or Consent()


def _read_state(fields: Fields) -> Consent:
    return Consent(gdpr=_read_records(fields, "gdpr"), ccpa=_read_records(fields, "ccpa"))


def _read_records(fields: Fields, regulation: str) -> dict[str, ConsentRecord]:
    """Purposes and records of ``gdpr`` in an Events batch, of ``gdpr_consent_state`` in Firehose."""
    name = regulation if fields.get(regulation) else f"{regulation}_consent_state"
    found = {}
    for purpose, value in mapping(fields, name).items():
        if value is None:
            continue
        if type(value) is not dict:
            raise expected("an object", value, name, SenderName(purpose))
        record = within(_read_record, value, name, SenderName(purpose))
        if record is not None:
            found[purpose] = record
    return found


def _read_record(fields: Fields) -> ConsentRecord | None:
    """Read a consent record; return None if it has no decision."""
    consented = flag(fields, "consented")
    if consented is None:
        return None
    return ConsentRecord(
        consented=consented,
        document=text(fields, "document"),
        time_ms=time(fields, "timestamp_unixtime_ms"),
        location=text(fields, "location"),
        hardware_id=text(fields, "hardware_id"),
    )


def read_changes(fields: Fields) -> tuple[ConsentChange, ...]:
    """Read the consent changes of the member ``system_notifications``; other notifications hold none."""
    return each(fields, "system_notifications", _read_change)


def _read_change(fields: Fields) -> ConsentChange | None:
    type = word(fields, "type") or ""
    data = mapping(fields, "data")
    new = inner(data, "current", _read_record) or inner(fields, f"new_{type}", _read_record)
    old = inner(data, "old", _read_record) or inner(fields, f"old_{type}", _read_record)
    regulation = type.removesuffix("_consent_state").removesuffix("_change")
    purpose = text(data, "purpose") or text(fields, "purpose") or (CCPA_PURPOSE if regulation == "ccpa" else None)
    if purpose is None or (new is None and old is None):
        return None
    return ConsentChange(regulation=regulation, purpose=purpose, old=old, new=new)
