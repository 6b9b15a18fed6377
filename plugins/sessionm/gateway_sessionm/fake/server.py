"""The server: every request checked, applied to the stored users, and answered as SessionM would."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import msgspec

from gateway.testing import Answer, FakeVendor, Request
from gateway_sessionm.fake import events, profiles, requests
from gateway_sessionm.fake import tags as tagging
from gateway_sessionm.fake.errors import ApiError
from gateway_sessionm.fake.limits import Buckets
from gateway_sessionm.fake.options import Definition, Options
from gateway_sessionm.fake.tags import Tag
from gateway_sessionm.fake.users import Customer, Users

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
        ("POST", f"{USER}/events", "post_events"),
        ("POST", f"{USER}/tags", "tag"),
        ("GET", f"{USER}/tags", "show_tags"),
    )
)


class Seed(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The data that can be put in: users as a reply shows them, names of events, definitions of attributes."""

    users: list[dict[str, Any]] = []
    events: list[str] = []
    attributes: dict[str, Definition] = {}


class FakeSessionM(FakeVendor):
    """SessionM's Core API in memory, as far as it is publicly documented."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = Options().change(options)
        self._clear()

    def _clear(self) -> None:
        self.latency_ms = self.options.latency_ms
        self.users = Users()
        self.stored_events: list[events.StoredEvent] = []
        self.tags: dict[str, dict[str, Tag]] = {}
        self.seeded = Seed()
        self._buckets = Buckets()

    def answer(self, request: Request) -> Answer:
        """Apply a request and return the answer."""
        app = requests.split_path(request)
        if app and self.options.rate and (wait_s := self._buckets.take(app[0], self.options.rate, self.clock.now())):
            return self._answer_error(ApiError("rate_limited", "too many requests"), {"retry-after": str(wait_s)})
        if app is None or (route := _find_route(request.method, app[1])) is None:
            return Answer(status=404, headers={"content-type": "text/html"})
        name, address = route
        try:
            requests.authenticate(request, app[0], self.options.apps)
            body = requests.read_body(request) if request.method in ("POST", "PUT") else {}
            answer: Answer = getattr(self, f"_{name}")(request, body, address)
        except ApiError as error:
            return self._answer_error(error)
        return answer

    def error(self, code: str) -> Answer:
        """Return the answer for a scripted fault with this code."""
        return self._answer_error(ApiError(code, "scripted"), {"retry-after": "1"} if code == "rate_limited" else None)

    def record(self, request: Request, answer: Answer | None) -> dict[str, Any]:
        """Return the record of a request, without key and secret."""
        try:
            body = msgspec.json.decode(request.body) if request.body else None
        except (msgspec.DecodeError, RecursionError):
            body = request.body.decode(errors="replace")
        entry = super().record(request, answer)
        headers = {name: value for name, value in request.headers.items() if name != "authorization"}
        path = requests.hide_key(request.path)
        return {"error": None, **entry, "path": path, "query": request.params(), "headers": headers, "body": body}

    def state(self) -> dict[str, Any]:
        """Return all users with their profiles and ids, all events, and the tags by user."""
        return {
            "users": [customer.to_json(profile=True, identifiers=True) for customer in self.users],
            "events": msgspec.to_builtins(self.stored_events),
            "tags": {id: tagging.to_json(tags, self.clock.now()) for id, tags in self.tags.items()},
        }

    def seed(self, data: dict[str, Any]) -> None:
        """Store users, event names and definitions without the checks that apply to a request."""
        seed = msgspec.convert(data, Seed)
        self.seeded.events += seed.events
        self.seeded.attributes |= seed.attributes
        for user in seed.users:
            customer = self.users.add(self._now(), user.get("id"))
            profile = {name: value for name, value in user.get("user_profile", {}).items() if name != "_version"}
            profiles.write(self.users, customer, user, profile, self.options)

    def configure(self, options: dict[str, Any]) -> None:
        """Change options. Raises ValueError for one that does not exist."""
        self.options = self.options.change(options)
        self.latency_ms = self.options.latency_ms

    def reset(self) -> None:
        """Forget everything but the options."""
        super().reset()
        self._clear()

    def _answer_error(self, error: ApiError, headers: dict[str, str] | None = None) -> Answer:
        return error.to_answer(self.options.error_transport, headers)

    def _now(self) -> str:
        return datetime.fromtimestamp(self.clock.now(), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")

    def _find_customer(self, address: dict[str, str | None]) -> Customer:
        id, external_id = address.get("id"), address.get("external_id")
        users = self.users
        customer = users.find_by_external_id(unquote(external_id)) if external_id else users.find(id or "")
        if customer is None:
            raise ApiError("user_not_found", "there is no such user")
        return customer

    def _definitions(self) -> dict[str, Definition]:
        return {**self.options.attributes, **self.seeded.attributes}

    def _write(self, customer: Customer | None, user: dict[str, Any]) -> Answer:
        """Write a profile, and create the customer if there is none yet. Raises ApiError, and then writes nothing."""
        profiles.check_ids(self.users, customer, user)
        stored = customer.profile if customer else {}
        given = user.get("user_profile", {})
        attributes, effects = profiles.check_attributes(given, stored, self.options, self._definitions())
        customer = customer or self.users.add(self._now())
        effects |= profiles.write(self.users, customer, user, attributes, self.options)
        customer.updated_at = self._now()
        return Answer(json={"status": "ok", "user": customer.to_json(profile=True)}, note=effects)

    def _create(self, _: Request, body: dict[str, Any], __: dict[str, str | None]) -> Answer:
        user = requests.require_object(body, "user")
        profiles.check_new(self.users, user, datetime.fromtimestamp(self.clock.now(), UTC))
        return self._write(None, user)

    def _update(self, _: Request, body: dict[str, Any], address: dict[str, str | None]) -> Answer:
        return self._write(self._find_customer(address), requests.require_object(body, "user"))

    def _update_profile(self, _: Request, body: dict[str, Any], address: dict[str, str | None]) -> Answer:
        return self._write(
            self._find_customer(address), {"user_profile": requests.require_object(body, "user_profile")}
        )

    def _show(self, request: Request, _: dict[str, Any], address: dict[str, str | None]) -> Answer:
        params = request.params()
        user = self._find_customer(address).to_json(
            profile=params.get("user[user_profile]") == "true", identifiers=params.get("show_identifiers") == "true"
        )
        return Answer(json={"status": "ok", "user": user})

    def _delete(self, _: Request, __: dict[str, Any], address: dict[str, str | None]) -> Answer:
        customer = self._find_customer(address)
        self.users.remove(customer)
        self.tags.pop(customer.id, None)
        return Answer(json={"status": "ok"})

    def _show_model(self, *_: Any) -> Answer:
        attributes = msgspec.to_builtins(self._definitions())
        return Answer(json={"status": "ok", "model": {"name": "user_profile", "version": 1, "attributes": attributes}})

    def _define(self, request: Request, body: dict[str, Any], address: dict[str, str | None]) -> Answer:
        try:
            self.seeded.attributes |= msgspec.convert(
                requests.require_object(body, "attributes"), dict[str, Definition]
            )
        except msgspec.ValidationError as error:
            raise ApiError("argument_error", str(error)) from None
        return self._show_model(request, body, address)

    def _post_events(self, _: Request, body: dict[str, Any], address: dict[str, str | None]) -> Answer:
        customer = self._find_customer(address)
        now = datetime.fromtimestamp(self.clock.now(), UTC).isoformat(timespec="milliseconds")
        defined = (*self.options.events, *self.seeded.events)
        effects: dict[str, list[str]] = {}
        stored = []
        for event in events.read_events(body, customer.id, now, self.options):
            effect = events.find_obstacle(event, self.stored_events, defined, self.options)
            if effect is None:
                stored.append(event)
            else:
                effects.setdefault(effect, []).append(event.name)
        self.stored_events += stored
        user = {"id": customer.id, "available_points": 0}
        reply = {"status": "ok", "user": user, "behaviors": {}, "notifications": []}
        return Answer(json=reply, note=effects)

    def _tag(self, _: Request, body: dict[str, Any], address: dict[str, str | None]) -> Answer:
        customer = self._find_customer(address)
        self.tags[customer.id] = tagging.attach(self.tags.get(customer.id, {}), body, self.clock.now())
        return self._tags(customer)

    def _show_tags(self, _: Request, __: dict[str, Any], address: dict[str, str | None]) -> Answer:
        return self._tags(self._find_customer(address))

    def _tags(self, customer: Customer) -> Answer:
        tags = tagging.to_json(self.tags.get(customer.id, {}), self.clock.now())
        return Answer(json={"status": "ok", "tags": tags})


def _find_route(method: str, path: str) -> tuple[str, dict[str, str | None]] | None:
    """Return the name of the method that answers, and the ids in the path; None if there is no such endpoint."""
    for expected, pattern, name in ROUTES:
        if expected == method and (match := pattern.fullmatch(path)):
            return name, match.groupdict()
    return None
