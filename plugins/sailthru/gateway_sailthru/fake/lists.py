"""Lists: their names and ids. Their members are stored with the profiles."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import msgspec

from gateway_sailthru.fake.errors import ApiError, missing_parameter
from gateway_sailthru.fake.options import Options

RACE_S = 1.0
"""The time after a creation in which another one of the same name races with it."""


class MailingList(msgspec.Struct, kw_only=True):
    """One list."""

    list_id: str
    name: str
    created: float
    primary: bool = False
    vars: dict[str, Any] = {}
    public_name: str | None = None


class Lists:
    """All lists of the account. Two may have one name, if a race created them."""

    def __init__(self) -> None:
        self.all: list[MailingList] = []
        self._count = 0

    def format_date(self, at: float, options: Options) -> str:
        """Return a time as a reply shows it: RFC 2822, in the account's zone."""
        zone = timezone(timedelta(hours=options.utc_offset_hours))
        return format_datetime(datetime.fromtimestamp(int(at), zone))

    def find(self, data: dict[str, Any]) -> MailingList | None:
        """Return the list that a payload names or gives the id of, or None."""
        id, name = data.get("list_id"), data.get("list")
        return next((one for one in self.all if (one.list_id == id if id else one.name == name)), None)

    def ensure(self, name: str, now: float, options: Options) -> MailingList:
        """Return the list of that name; create it if there is none, or if two creations race."""
        known = self.find({"list": name})
        if known is None or (options.duplicate_list_race and 0 <= now - known.created < RACE_S):
            self._count += 1
            known = MailingList(list_id=f"{int(now):08x}{self._count:016x}", name=name, created=now)
            self.all.append(known)
        return known

    def get(self, data: dict[str, Any], members: dict[str, int], options: Options) -> dict[str, Any]:
        """Answer GET /list: one list, or all of them. Raises ApiError."""
        if not data.get("list") and not data.get("list_id"):
            return {"lists": [self._to_json(one, members, options) for one in self.all]}
        known = self._require(data)
        extra = {name: getattr(known, name) for name in ("vars", "public_name") if (data.get("fields") or {}).get(name)}
        return {
            "list_id": known.list_id,
            "list": known.name,
            "create_time": self.format_date(known.created, options),
            "send_time": None,
            "count": members.get(known.name, 0),
            "type": "normal",
            "primary": known.primary,
            **extra,
        }

    def _to_json(self, one: MailingList, members: dict[str, int], options: Options) -> dict[str, Any]:
        count = members.get(one.name, 0)
        return {
            "list_id": one.list_id,
            "name": one.name,
            "email_count": count,
            "valid_count": count,
            "create_time": self.format_date(one.created, options),
            "type": "normal",
        }

    def post(self, data: dict[str, Any], now: float, options: Options) -> dict[str, Any]:
        """Answer POST /list: create or change a list. Raises ApiError."""
        name = data.get("list")
        if not name:
            raise missing_parameter("list")
        if options.strict_list_names and "$" in name:
            raise ApiError(400, 99, "A list name may not contain $")
        one = self.ensure(name, now, options)
        one.primary = bool(data.get("primary", one.primary))
        one.vars = {**one.vars, **(data.get("vars") or {})}
        one.public_name = data.get("public_name", one.public_name)
        return {"list": name, "type": "natural", "list_id": one.list_id}

    def delete(self, data: dict[str, Any]) -> str:
        """Answer DELETE /list: return the name of the deleted list. Raises ApiError."""
        known = self._require(data)
        self.all.remove(known)
        return known.name

    def _require(self, data: dict[str, Any]) -> MailingList:
        known = self.find(data)
        if known is None:
            raise ApiError(404, 15, f"Unknown list: {data.get('list') or data.get('list_id')}")
        return known
