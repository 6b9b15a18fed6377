"""A fake SessionM."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import msgspec

from gateway.testing import Answer, FakeVendor, Request
from gateway_sessionm.fake import doorway, profiles
from gateway_sessionm.fake import tags as tagging
from gateway_sessionm.fake.errors import Refusal
from gateway_sessionm.fake.happenings import Happening, happenings
from gateway_sessionm.fake.limits import Buckets
from gateway_sessionm.fake.options import Definition, Options
from gateway_sessionm.fake.people import People, Person
from gateway_sessionm.fake.tags import Tag

USER = r"(?:users/(?P<id>[^/]+)|external/users/(?P<external_id>[^/]+))"
ROUTES = tuple(
    (method, re.compile(pattern), name)
    for method, pattern, name in (
        ("POST", "users", "create"),
        ("GET", "models/user_profiles", "show_model"),
        ("POST", "models/user_profiles/attributes", "define"),
        ("GET", USER, "show"),
        ("PUT", USER, "update"),
        ("DELETE", USER, "delete"),
        ("POST", f"{USER}/models/user_profile", "update_profile"),
        ("POST", f"{USER}/events", "happen"),
        ("POST", f"{USER}/tags", "tag"),
        ("GET", f"{USER}/tags", "show_tags"),
    )
)


class Seed(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What can be put in: users as a reply shows them, names of events, definitions of attributes."""

    users: list[dict[str, Any]] = []
    events: list[str] = []
    attributes: dict[str, Definition] = {}


class FakeSessionM(FakeVendor):
    """SessionM's Core API, as far as it is known, in memory."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = Options().changed(options)
        self._empty()

    def _empty(self) -> None:
        self.latency_ms = self.options.latency_ms
        self.people = People()
        self.happenings: list[Happening] = []
        self.tags: dict[str, dict[str, Tag]] = {}
        self.seeded = Seed()
        self._buckets = Buckets()

    def answer(self, request: Request) -> Answer:
        """Do what the request asks and say how it went."""
        app = doorway.app_of(request)
        if app and self.options.rate and (wait := self._buckets.wait_s(app[0], self.options.rate, self.clock.now())):
            return self._refused(Refusal("rate_limited", "too many requests"), {"retry-after": str(wait)})
        if app is None or (route := self._route(request.method, app[1])) is None:
            return Answer(status=404, headers={"content-type": "text/html"})
        name, address = route
        try:
            doorway.authenticate(request, app[0], self.options.apps)
            body = doorway.body_of(request) if request.method in ("POST", "PUT") else {}
            answer: Answer = getattr(self, f"_{name}")(request, body, address)
        except Refusal as refusal:
            return self._refused(refusal)
        return answer

    def error(self, code: str) -> Answer:
        """The answer that a scripted fault of this code gets."""
        return self._refused(Refusal(code, "scripted"), {"retry-after": "1"} if code == "rate_limited" else None)

    def record(self, request: Request, answer: Answer | None) -> dict[str, Any]:
        """The journal's entry: neither key nor secret is in it."""
        try:
            body = msgspec.json.decode(request.body) if request.body else None
        except (msgspec.DecodeError, RecursionError):
            body = request.body.decode(errors="replace")
        entry = super().record(request, answer)
        headers = {name: value for name, value in request.headers.items() if name != "authorization"}
        path = doorway.hidden(request.path)
        return {"error": None, **entry, "path": path, "query": request.params(), "headers": headers, "body": body}

    def state(self) -> dict[str, Any]:
        """Users with everything, events, and tags by user."""
        return {
            "users": [person.shown(profile=True, identifiers=True) for person in self.people],
            "events": msgspec.to_builtins(self.happenings),
            "tags": {id: tagging.shown(tags, self.clock.now()) for id, tags in self.tags.items()},
        }

    def seed(self, data: dict[str, Any]) -> None:
        """Put users, event names and definitions in, without the checks that a request meets."""
        seed = msgspec.convert(data, Seed)
        self.seeded.events += seed.events
        self.seeded.attributes |= seed.attributes
        for user in seed.users:
            person = self.people.add(self._now(), user.get("id"))
            profile = {name: value for name, value in user.get("user_profile", {}).items() if name != "_version"}
            profiles.write(self.people, person, user, profile, self.options)

    def configure(self, options: dict[str, Any]) -> None:
        """Change options. Raises ValueError for one that does not exist."""
        self.options = self.options.changed(options)
        self.latency_ms = self.options.latency_ms

    def reset(self) -> None:
        """Forget everything but the options."""
        super().reset()
        self._empty()

    def _route(self, method: str, path: str) -> tuple[str, dict[str, str | None]] | None:
        for expected, pattern, name in ROUTES:
            if expected == method and (match := pattern.fullmatch(path)):
                return name, match.groupdict()
        return None

    def _refused(self, refusal: Refusal, headers: dict[str, str] | None = None) -> Answer:
        return refusal.answer(self.options.error_transport, headers)

    def _now(self) -> str:
        return datetime.fromtimestamp(self.clock.now(), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")

    def _person(self, address: dict[str, str | None]) -> Person:
        id, external_id = address.get("id"), address.get("external_id")
        person = self.people.by_external_id(unquote(external_id)) if external_id else self.people.by_id(id or "")
        if person is None:
            raise Refusal("user_not_found", "there is no such user")
        return person

    def _definitions(self) -> dict[str, Definition]:
        return {**self.options.attributes, **self.seeded.attributes}

    def _write(self, person: Person | None, user: dict[str, Any]) -> Answer:
        """Write a profile, creating the customer where there is none yet. Raises Refusal and then writes nothing."""
        profiles.check_ids(self.people, person, user)
        stored = person.profile if person else {}
        given = user.get("user_profile", {})
        attributes, effects = profiles.check_attributes(given, stored, self.options, self._definitions())
        person = person or self.people.add(self._now())
        effects |= profiles.write(self.people, person, user, attributes, self.options)
        person.updated_at = self._now()
        return Answer(json={"status": "ok", "user": person.shown(profile=True)}, note=effects)

    def _create(self, _: Request, body: dict[str, Any], __: dict[str, str | None]) -> Answer:
        user = _object(body, "user")
        profiles.check_new(self.people, user, datetime.fromtimestamp(self.clock.now(), UTC))
        return self._write(None, user)

    def _update(self, _: Request, body: dict[str, Any], address: dict[str, str | None]) -> Answer:
        return self._write(self._person(address), _object(body, "user"))

    def _update_profile(self, _: Request, body: dict[str, Any], address: dict[str, str | None]) -> Answer:
        return self._write(self._person(address), {"user_profile": _object(body, "user_profile")})

    def _show(self, request: Request, _: dict[str, Any], address: dict[str, str | None]) -> Answer:
        params = request.params()
        user = self._person(address).shown(
            profile=params.get("user[user_profile]") == "true", identifiers=params.get("show_identifiers") == "true"
        )
        return Answer(json={"status": "ok", "user": user})

    def _delete(self, _: Request, __: dict[str, Any], address: dict[str, str | None]) -> Answer:
        person = self._person(address)
        self.people.remove(person)
        self.tags.pop(person.id, None)
        return Answer(json={"status": "ok"})

    def _show_model(self, *_: Any) -> Answer:
        attributes = msgspec.to_builtins(self._definitions())
        return Answer(json={"status": "ok", "model": {"name": "user_profile", "version": 1, "attributes": attributes}})

    def _define(self, request: Request, body: dict[str, Any], address: dict[str, str | None]) -> Answer:
        try:
            self.seeded.attributes |= msgspec.convert(_object(body, "attributes"), dict[str, Definition])
        except msgspec.ValidationError as error:
            raise Refusal("argument_error", str(error)) from None
        return self._show_model(request, body, address)

    def _happen(self, _: Request, body: dict[str, Any], address: dict[str, str | None]) -> Answer:
        person = self._person(address)
        now = datetime.fromtimestamp(self.clock.now(), UTC).isoformat(timespec="milliseconds")
        effects: dict[str, list[str]] = {}
        stored = []
        for happening in happenings(body, person.id, now, self.options):
            effect = self._obstacle(happening)
            if effect is None:
                stored.append(happening)
            else:
                effects.setdefault(effect, []).append(happening.name)
        self.happenings += stored
        user = {"id": person.id, "available_points": 0}
        reply = {"status": "ok", "user": user, "behaviors": {}, "notifications": []}
        return Answer(json=reply, note=effects)

    def _obstacle(self, happening: Happening) -> str | None:
        """Why an event is accepted and yet not stored, or None. Raises Refusal."""
        if happening.name not in (*self.options.events, *self.seeded.events):
            if self.options.undefined_event == "reject":
                raise Refusal("not_found", f"event {happening.name} is not defined")
            return "ignored_events"
        same = (happening.user_id, happening.name, happening.transaction_id)
        is_known = same in [(other.user_id, other.name, other.transaction_id) for other in self.happenings]
        if happening.transaction_id is None or not is_known or self.options.duplicate_transaction == "store":
            return None
        return "duplicate"

    def _tag(self, _: Request, body: dict[str, Any], address: dict[str, str | None]) -> Answer:
        person = self._person(address)
        self.tags[person.id] = tagging.attached(self.tags.get(person.id, {}), body, self.clock.now())
        return self._tags(person)

    def _show_tags(self, _: Request, __: dict[str, Any], address: dict[str, str | None]) -> Answer:
        return self._tags(self._person(address))

    def _tags(self, person: Person) -> Answer:
        tags = tagging.shown(self.tags.get(person.id, {}), self.clock.now())
        return Answer(json={"status": "ok", "tags": tags})


def _object(body: dict[str, Any], name: str) -> dict[str, Any]:
    value = body.get(name)
    if not isinstance(value, dict):
        raise Refusal("missing_data", f"{name} is required")
    return value
