"""The server: every request checked, counted and answered as Sailthru would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import msgspec

from gateway.testing import Answer, FakeVendor, Request
from gateway.testing.vendor import Action
from gateway_sailthru.fake import sales
from gateway_sailthru.fake.errors import Refusal, by_code, missing
from gateway_sailthru.fake.jobs import Jobs, post_back
from gateway_sailthru.fake.limits import Limits
from gateway_sailthru.fake.lists import Lists
from gateway_sailthru.fake.options import Options
from gateway_sailthru.fake.people import People, key_of, not_found
from gateway_sailthru.fake.wire import check_signature, payload, received

RESERVED_EVENTS = frozenset({"send", "cancel", "open", "click", "purchase", "daily"})
LOOPBACK = "127.0.0.1"
TOO_MANY = 43

Handler = Callable[[dict[str, Any], bytes | None], dict[str, Any]]


class FakeSailthru(FakeVendor):
    """One account of Sailthru, with one key and secret."""

    def __init__(self, api_key: str = "test-key", api_secret: str = "test-secret") -> None:  # noqa: S107  # plainly fake
        super().__init__()
        self.api_key = api_key
        self.api_secret = api_secret
        self.options = Options()
        self._empty()

    def _empty(self) -> None:
        self.limits = Limits()
        self.lists = Lists()
        self.people = People(self.lists)
        self.events: list[dict[str, Any]] = []
        self.purchases: list[dict[str, Any]] = []
        self.jobs = Jobs(self._run_row, self._erase_list)
        self._past: list[tuple[float, tuple[People, Lists]]] = []

    def answer(self, request: Request) -> Answer:
        """Answer one request."""
        endpoint = request.path.strip("/")
        now = self.clock.now()
        try:
            got = received(request)
            self._authenticate(got.fields, now)
        except Refusal as refusal:
            return refusal.answer()
        try:
            self.limits.take(request.method, endpoint, now, self.options)
            handler = self._handler(request.method, endpoint, got.fields)
            answer = Answer(json=handler(payload(got.fields), got.file))
        except Refusal as refusal:
            answer = refusal.answer()
        self._keep_past(request.method, now)
        return msgspec.structs.replace(answer, headers=self._limit(request.method, endpoint))

    def _authenticate(self, fields: dict[str, str], now: float) -> None:
        if not fields.get("api_key"):
            raise missing("api_key")
        if fields["api_key"] != self.api_key:
            raise Refusal(401, 3, f"Invalid API key: {fields['api_key']}")
        if self.options.allowed_ips is not None and LOOPBACK not in self.options.allowed_ips:
            raise Refusal(403, 4, f"Disallowed IP: {LOOPBACK}")
        rotated = self.options.rotated_at is not None and now >= self.options.rotated_at
        check_signature(fields, f"{self.api_secret}-rotated" if rotated else self.api_secret)

    def _handler(self, method: str, endpoint: str, fields: dict[str, str]) -> Handler:
        payload(fields)
        table: dict[str, dict[str, Handler]] = {
            "user": {"GET": self._get_user, "POST": self._post_user, "DELETE": self._delete_user},
            "list": {"GET": self._get_list, "POST": self._post_list, "DELETE": self._delete_list},
            "event": {"POST": self._post_event},
            "job": {"GET": self._get_job, "POST": self._post_job},
            "purchase": {"POST": self._post_purchase},
            "settings": {"GET": lambda _data, _file: {"from_emails": []}},
        }
        if endpoint not in table:
            raise Refusal(404, 99, "404 Not Found")
        if method not in table[endpoint]:
            raise Refusal(405, 1, f"Unsupported HTTP method: {method}")
        return table[endpoint][method]

    def _get_user(self, data: dict[str, Any], _file: bytes | None) -> dict[str, Any]:
        return self._seen()[0].get(data)

    def _post_user(self, data: dict[str, Any], _file: bytes | None) -> dict[str, Any]:
        return self.people.post(data, self.clock.now(), self.options)

    def _delete_user(self, data: dict[str, Any], _file: bytes | None) -> dict[str, Any]:
        return self.people.delete(data)

    def _get_list(self, data: dict[str, Any], _file: bytes | None) -> dict[str, Any]:
        people, lists = self._seen()
        members = Counter(name for profile in people.profiles.values() for name in profile.lists)
        return lists.get(data, members, self.options)

    def _post_list(self, data: dict[str, Any], _file: bytes | None) -> dict[str, Any]:
        reply = self.lists.post(data, self.clock.now(), self.options)
        if data.get("emails"):
            self.jobs.post({"job": "import", "list": data["list"], "emails": data["emails"]}, None)
        return reply

    def _delete_list(self, data: dict[str, Any], _file: bytes | None) -> dict[str, Any]:
        name = self.lists.delete(data)
        self.people.leave(name)
        return {"list": name, "ok": True}

    def _post_event(self, data: dict[str, Any], _file: bytes | None) -> dict[str, Any]:
        for name in ("id", "event"):
            if not data.get(name):
                raise missing(name)
        if data["event"] in RESERVED_EVENTS:
            raise Refusal(400, 99, f"Reserved event name: {data['event']}")
        key, value = key_of(data)
        person = self.people.find(key, value)
        if person is None and self.options.event_unknown_user == "error99":
            raise not_found(400, data, key)
        if person is None and self.options.event_unknown_user == "create":
            person = self.people.create(key, value, self.clock.now())
        profile = msgspec.to_builtins(person) if person else None
        self.events.append({**data, "received": self.clock.now(), "profile": profile})
        return {"ok": True}

    def _get_job(self, data: dict[str, Any], _file: bytes | None) -> dict[str, Any]:
        date = self.lists.date(self.clock.now(), self.options)
        reply, ended = self.jobs.get(data, date, self.options)
        if ended is not None:
            post_back(ended, self.api_key, self.api_secret)
        return reply

    def _post_job(self, data: dict[str, Any], file: bytes | None) -> dict[str, Any]:
        return self.jobs.post(data, file)

    def _run_row(self, row: dict[str, Any]) -> None:
        self.people.post(row, self.clock.now(), self.options, flows=False)

    def _erase_list(self, name: str) -> None:
        if self.lists.find({"list": name}):
            self.people.leave(self.lists.delete({"list": name}))

    def _post_purchase(self, data: dict[str, Any], _file: bytes | None) -> dict[str, Any]:
        return sales.post(self.people, self.purchases, data, self.clock.now(), self.options)

    def _keep_past(self, method: str, now: float) -> None:
        if self.options.read_lag_s and method != "GET":
            self._past.append((now, deepcopy((self.people, self.lists))))

    def _seen(self) -> tuple[People, Lists]:
        """People and lists as GET sees them: of late, or as they were a while ago."""
        if not self.options.read_lag_s:
            return self.people, self.lists
        known = [state for at, state in self._past if at <= self.clock.now() - self.options.read_lag_s]
        return known[-1] if known else (People(Lists()), Lists())

    def take_fault(self, request: Request) -> Action | None:
        """The fault that is for this request; what would not be let in is told so first."""
        self._asked = request
        try:
            self._authenticate(received(request).fields, self.clock.now())
        except Refusal:
            return None
        return super().take_fault(request)

    def error(self, code: str) -> Answer:
        """The answer for a scripted fault, by Sailthru's number for it, with what is left of the request's limit."""
        told = self._limit(self._asked.method, self._asked.path.strip("/"))
        if int(code) == TOO_MANY:
            told["x-rate-limit-remaining"] = "0"
        return msgspec.structs.replace(by_code(int(code)).answer(), headers=told)

    def _limit(self, method: str, endpoint: str) -> dict[str, str]:
        return {"server": "Sailthru", **self.limits.headers(method, endpoint, self.clock.now(), self.options)}

    def record(self, request: Request, answer: Answer | None) -> dict[str, Any]:
        """A journal entry: what was asked, in the clear, and how it was answered."""
        try:
            got = received(request)
            asked: dict[str, Any] = {
                "json": payload(got.fields),
                **({"file": got.file.decode()} if got.file is not None else {}),
            }
        except (Refusal, ValueError):
            asked = {"json": None}
        reply = answer.json if answer else None
        return {**super().record(request, answer), **asked, "reply": reply}

    def state(self) -> dict[str, Any]:
        """Everything stored."""
        return {
            "users": [msgspec.to_builtins(profile) for profile in self.people.profiles.values()],
            "lists": msgspec.to_builtins(self.lists.all),
            "events": self.events,
            "purchases": self.purchases,
            "jobs": msgspec.to_builtins(list(self.jobs.all.values())),
            "flow_entries": msgspec.to_builtins(self.people.flow_entries),
        }

    def seed(self, data: dict[str, Any]) -> None:
        """Put in ``lists`` (payloads of POST /list) and ``users`` (payloads of POST /user, perhaps with a ``sid``)."""
        try:
            for one in data.get("lists", []):
                self.lists.post(one, self.clock.now(), self.options)
            for one in data.get("users", []):
                if "sid" in one:
                    self.people.create(*key_of({**one, "key": "email"}), self.clock.now(), one["sid"])
                self.people.post({**one, "key": "email"}, self.clock.now(), self.options, flows=False)
        except Refusal as refusal:
            raise ValueError(refusal.message) from None
        self._keep_past("POST", float("-inf"))

    def configure(self, options: dict[str, Any]) -> None:
        """Change options. Raises ValueError for one that does not exist or a value it cannot have."""
        self.options = msgspec.convert({**msgspec.to_builtins(self.options), **options}, Options)
        self.latency_ms = self.options.latency_ms

    def reset(self) -> None:
        """Forget everything but the options."""
        super().reset()
        self._empty()
