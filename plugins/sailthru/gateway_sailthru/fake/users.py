"""Users: profiles, and the keys by which they are found."""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import md5
from typing import Any

import msgspec

from gateway_sailthru.fake.errors import ApiError, missing_parameter
from gateway_sailthru.fake.lists import Lists
from gateway_sailthru.fake.options import Options

OPTOUTS = ("none", "blast", "basic", "all")
KEYS = ("sid", "email", "extid", "cookie", "sms", "fb", "twitter")
PIXEL_CONSENTS = (None, "opt-in", "opt-out")
DEFAULT_FIELDS = ("keys", "vars", "lists", "engagement", "optout_email")
SID = re.compile(r"[0-9a-f]{24}")
EMAIL = re.compile(r"[^@\s,]+@[^@\s,.]+(\.[^@\s,.]+)+")


class Profile(msgspec.Struct, kw_only=True):
    """The profile of one user."""

    keys: dict[str, str]
    vars: dict[str, Any] = {}
    lists: dict[str, str] = {}
    optout_email: str = "none"
    pixel_tracking_consent: str | None = None
    purchases: list[Any] = []
    cart: Any = None

    @property
    def sid(self) -> str:
        """The key that never changes."""
        return self.keys["sid"]


class FlowEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A user who joined a list in a way that starts flows."""

    list: str
    email: str | None


def normalise(key: str, value: Any) -> str:
    """Return a key's value as it is stored and compared."""
    text = str(value).strip()
    return text.lower() if key == "email" else text


def read_key(data: dict[str, Any]) -> tuple[str, str]:
    """Return the key that a payload's ``id`` is a value of, and the value. Raises ApiError."""
    if not data.get("id"):
        raise missing_parameter("id")
    value = str(data["id"])
    key = data.get("key") or ("sid" if SID.fullmatch(value) else "email")
    if key not in KEYS:
        raise ApiError(400, 99, f"Invalid key: {key}")
    if key == "email":
        check_email(value)
    return key, normalise(key, value)


def check_email(value: str) -> None:
    """Check an e-mail address. Raises ApiError if it is none."""
    if not EMAIL.fullmatch(value.strip()):
        raise ApiError(400, 11, f"Invalid email: {value}")


def not_found(status: int, data: dict[str, Any], key: str) -> ApiError:
    """Return the error for a key that no profile has; GET and DELETE answer it with different statuses."""
    return ApiError(status, 99, f"User not found with {key}: {data['id']}")


class Users:
    """All profiles of the account."""

    def __init__(self, lists: Lists) -> None:
        self.profiles: dict[str, Profile] = {}
        self._by_key: dict[tuple[str, str], Profile] = {}
        self.flow_entries: list[FlowEntry] = []
        self._lists = lists
        self._count = 0

    def find(self, key: str, value: str) -> Profile | None:
        """Return the profile that has this key, or None."""
        return self._by_key.get((key, value))

    def get(self, data: dict[str, Any]) -> dict[str, Any]:
        """Answer GET /user. Raises ApiError."""
        key, value = read_key(data)
        profile = self.find(key, value)
        if profile is None:
            raise not_found(400, data, key)
        return to_json(profile, data.get("fields") or dict.fromkeys(DEFAULT_FIELDS, 1))

    def post(self, data: dict[str, Any], now: float, options: Options, *, flows: bool = True) -> dict[str, Any]:
        """Answer POST /user: create or update a profile. ``flows``: joining a list starts flows. Raises ApiError."""
        check(data, options)
        profile = self._find_target(data, now)
        self._set_keys(profile, {key: normalise(key, value) for key, value in (data.get("keys") or {}).items()})
        profile.vars |= data.get("vars") or {}
        for name, wanted in _read_lists(data.get("lists")):
            if not wanted:
                profile.lists.pop(name, None)
            elif name not in profile.lists:
                self._lists.ensure(name, now, options)
                profile.lists[name] = self._lists.format_date(now, options)
                if flows:
                    self.flow_entries.append(FlowEntry(list=name, email=profile.keys.get("email")))
        profile.optout_email = data.get("optout_email") or profile.optout_email
        profile.pixel_tracking_consent = data.get("pixel_tracking_consent", profile.pixel_tracking_consent)
        return {**to_json(profile, data.get("fields") or {}), "ok": True}

    def delete(self, data: dict[str, Any]) -> dict[str, Any]:
        """Answer DELETE /user. Raises ApiError."""
        key, value = read_key(data)
        profile = self.find(key, value)
        if profile is None:
            raise not_found(404, data, key)
        self._forget(profile)
        return {"ok": True}

    def empty_list(self, name: str) -> None:
        """Remove all members of a list."""
        for profile in self.profiles.values():
            profile.lists.pop(name, None)

    def create(self, key: str, value: str, now: float, sid: str | None = None) -> Profile:
        """Create a profile with one key."""
        self._count += 1
        sid = sid or f"{int(now):08x}{self._count:016x}"
        profile = Profile(keys={"sid": sid, "cookie": f"{_md5(sid)}{sid}"})
        self.profiles[sid] = profile
        self._set_keys(profile, {key: value})
        return profile

    def _set_keys(self, profile: Profile, keys: dict[str, str]) -> None:
        """Give a profile more or other keys; the last third of its cookie depends on the address."""
        for pair in profile.keys.items():
            self._by_key.pop(pair, None)
        profile.keys |= keys
        profile.keys["cookie"] = profile.keys["cookie"][:56] + _md5(profile.keys.get("email", ""))
        self._by_key |= dict.fromkeys(profile.keys.items(), profile)

    def _forget(self, profile: Profile) -> None:
        del self.profiles[profile.sid]
        for pair in profile.keys.items():
            self._by_key.pop(pair, None)

    def _find_target(self, data: dict[str, Any], now: float) -> Profile:
        key, value = read_key(data)
        target = self.find(key, value)
        others = list(self._find_owners(data.get("keys") or {}, target))
        if target is None and others:
            target = others.pop(0)
        if others and data.get("keysconflict") != "merge":
            raise ApiError(409, 99, "Another user has one of these keys")
        if target is None:
            if key in ("sid", "cookie"):
                raise not_found(400, data, key)
            target = self.create(key, value, now)
        for other in others:
            self._forget(other)
            absorb(target, other)
            self._set_keys(target, {})
        return target

    def _find_owners(self, keys: dict[str, Any], target: Profile | None) -> Iterator[Profile]:
        seen = {target.sid} if target else set()
        for key, value in keys.items():
            owner = self.find(key, normalise(key, value))
            if owner is not None and owner.sid not in seen:
                seen.add(owner.sid)
                yield owner


def check(data: dict[str, Any], options: Options) -> None:
    """Check the values of a payload. Raises ApiError for one that a profile cannot take."""
    read_key(data)
    if data.get("optout_email", "none") not in OPTOUTS:
        raise ApiError(400, 99, "Invalid optout_email")
    if data.get("pixel_tracking_consent") not in PIXEL_CONSENTS:
        raise ApiError(400, 99, "Invalid pixel_tracking_consent")
    if options.strict_var_names and any(len(name) > 32 for name in data.get("vars") or {}):
        raise ApiError(400, 99, "A var name may have 32 characters at most")
    if options.strict_list_names and any("$" in name for name, _ in _read_lists(data.get("lists"))):
        raise ApiError(400, 99, "A list name may not contain $")
    email = (data.get("keys") or {}).get("email")
    if email is not None:
        check_email(str(email))


def absorb(target: Profile, other: Profile) -> None:
    """Merge another profile into the target, whose values win; the strictest opt-out stays."""
    fixed = ("sid", "cookie")
    target.keys = {**{key: value for key, value in other.keys.items() if key not in fixed}, **target.keys}
    target.vars = {**other.vars, **target.vars}
    target.lists = {**other.lists, **target.lists}
    target.purchases = [*target.purchases, *other.purchases]
    target.optout_email = max(target.optout_email, other.optout_email, key=OPTOUTS.index)


def to_json(profile: Profile, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the requested fields of a profile; an empty set of lists is null."""
    everything = {
        "keys": {key: profile.keys[key] for key in KEYS if key in profile.keys},
        "vars": profile.vars,
        "lists": profile.lists or None,
        "engagement": "new",
        "optout_email": profile.optout_email,
        "pixel_tracking_consent": profile.pixel_tracking_consent,
        "purchases": profile.purchases,
        "purchase_incomplete": profile.cart,
    }
    return {field: everything.get(field) for field, wanted in fields.items() if wanted}


def _read_lists(lists: Any) -> list[tuple[str, bool]]:
    """Return each list with whether to join it; a plain array of names joins them all."""
    if isinstance(lists, list):
        return [(str(name), True) for name in lists]
    return [(name, str(wanted) not in ("0", "False")) for name, wanted in (lists or {}).items()]


def _md5(text: str) -> str:
    return md5(text.encode(), usedforsecurity=False).hexdigest()
