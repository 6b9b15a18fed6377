"""The server: every request checked, counted, applied to the stored profiles, and answered as Sailthru would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import msgspec

from gateway.testing import Answer, FakeVendor, Request
from gateway.testing.vendor import Action
from gateway_sailthru.fake.errors import ApiError, make_error, missing_parameter
from gateway_sailthru.fake.jobs import Jobs, post_back
from gateway_sailthru.fake.limits import Limits
from gateway_sailthru.fake.lists import Lists
from gateway_sailthru.fake.options import Options
from gateway_sailthru.fake.purchases import post_purchase
from gateway_sailthru.fake.requests import check_signature, read_payload, read_request
from gateway_sailthru.fake.users import Users, not_found, read_key

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
        self._clear()

    def _clear(self) -> None:
        self.limits = Limits()
        self.lists = Lists()
        self.users = Users(self.lists)
        self.events: list[dict[str, Any]] = []
        self.purchases: list[dict[str, Any]] = []
        self.jobs = Jobs(self._run_row, self._erase_list)
        self._past: list[tuple[float, tuple[Users, Lists]]] = []

    def answer(self, request: Request) -> Answer:
        """Apply a request and return the answer."""
        endpoint = request.path.strip("/")
        now = self.clock.now()
        try:
            received = read_request(request)
            self._authenticate(received.fields, now)
        except ApiError as error:
            return error.to_answer()
        try:
            self.limits.take(request.method, endpoint, now, self.options)
            handler = self._find_handler(request.method, endpoint, received.fields)
            answer = Answer(json=handler(read_payload(received.fields), received.file))
        except ApiError as error:
            answer = error.to_answer()
        self._save_state(request.method, now)
        return msgspec.structs.replace(answer, headers=self._make_headers(request.method, endpoint))

    def _authenticate(self, fields: dict[str, str], now: float) -> None:
        if not fields.get("api_key"):
            raise missing_parameter("api_key")
        if fields["api_key"] != self.api_key:
            raise ApiError(401, 3, f"Invalid API key: {fields['api_key']}")
        if self.options.allowed_ips is not None and LOOPBACK not in self.options.allowed_ips:
            raise ApiError(403, 4, f"Disallowed IP: {LOOPBACK}")
        rotated = self.options.rotated_at is not None and now >= self.options.rotated_at
        check_signature(fields, f"{self.api_secret}-rotated" if rotated else self.api_secret)

    def _find_handler(self, method: str, endpoint: str, fields: dict[str, str]) -> Handler:
        read_payload(fields)
        table: dict[str, dict[str, Handler]] = {
            "user": {"GET": self._get_user, "POST": self._post_user, "DELETE": self._delete_user},
            "list": {"GET": self._get_list, "POST": self._post_list, "DELETE": self._delete_list},
            "event": {"POST": self._post_event},
            "job": {"GET": self._get_job, "POST": self._post_job},
            "purchase": {"POST": self._post_purchase},
            "settings": {"GET": lambda _data, _file: {"from_emails": []}},
        }
        if endpoint not in table:
            raise ApiError(404, 99, "404 Not Found")
        if method not in table[endpoint]:
            raise ApiError(405, 1, f"Unsupported HTTP method: {method}")
        return table[endpoint][method]

    def _get_user(self, data: dict[str, Any], _file: bytes | None) -> dict[str, Any]:
        return self._read_state()[0].get(data)

    def _post_user(self, data: dict[str, Any], _file: bytes | None) -> dict[str, Any]:
        return self.users.post(data, self.clock.now(), self.options)

    def _delete_user(self, data: dict[str, Any], _file: bytes | None) -> dict[str, Any]:
        return self.users.delete(data)

    def _get_list(self, data: dict[str, Any], _file: bytes | None) -> dict[str, Any]:
        users, lists = self._read_state()
        members = Counter(name for profile in users.profiles.values() for name in profile.lists)
        return lists.get(data, members, self.options)

    def _post_list(self, data: dict[str, Any], _file: bytes | None) -> dict[str, Any]:
        reply = self.lists.post(data, self.clock.now(), self.options)
        if data.get("emails"):
            self.jobs.post({"job": "import", "list": data["list"], "emails": data["emails"]}, None)
        return reply

    def _delete_list(self, data: dict[str, Any], _file: bytes | None) -> dict[str, Any]:
        name = self.lists.delete(data)
        self.users.empty_list(name)
        return {"list": name, "ok": True}

    def _post_event(self, data: dict[str, Any], _file: bytes | None) -> dict[str, Any]:
        for name in ("id", "event"):
            if not data.get(name):
                raise missing_parameter(name)
        if data["event"] in RESERVED_EVENTS:
            raise ApiError(400, 99, f"Reserved event name: {data['event']}")
        key, value = read_key(data)
        profile = self.users.find(key, value)
        if profile is None and self.options.event_unknown_user == "error99":
            raise not_found(400, data, key)
        if profile is None and self.options.event_unknown_user == "create":
            profile = self.users.create(key, value, self.clock.now())
        stored = msgspec.to_builtins(profile) if profile else None
        self.events.append({**data, "received": self.clock.now(), "profile": stored})
        return {"ok": True}

    def _get_job(self, data: dict[str, Any], _file: bytes | None) -> dict[str, Any]:
        date = self.lists.format_date(self.clock.now(), self.options)
        reply, ended = self.jobs.get(data, date, self.options)
        if ended is not None:
            post_back(ended, self.api_key, self.api_secret)
        return reply

    def _post_job(self, data: dict[str, Any], file: bytes | None) -> dict[str, Any]:
        return self.jobs.post(data, file)

    def _run_row(self, row: dict[str, Any]) -> None:
        self.users.post(row, self.clock.now(), self.options, flows=False)

    def _erase_list(self, name: str) -> None:
        if self.lists.find({"list": name}):
            self.users.empty_list(self.lists.delete({"list": name}))

    def _post_purchase(self, data: dict[str, Any], _file: bytes | None) -> dict[str, Any]:
        return post_purchase(self.users, self.purchases, data, self.clock.now(), self.options)

    def _save_state(self, method: str, now: float) -> None:
        if self.options.read_lag_s and method != "GET":
            self._past.append((now, deepcopy((self.users, self.lists))))

    def _read_state(self) -> tuple[Users, Lists]:
        """Return users and lists as GET sees them: as they are or, with ``read_lag_s``, as they were that long ago."""
        if not self.options.read_lag_s:
            return self.users, self.lists
        known = [state for at, state in self._past if at <= self.clock.now() - self.options.read_lag_s]
        return known[-1] if known else (Users(Lists()), Lists())

    def take_fault(self, request: Request) -> Action | None:
        """Return the fault for this request; a request with wrong credentials is answered as such first."""
        self._asked = request
        try:
            self._authenticate(read_request(request).fields, self.clock.now())
        except ApiError:
            return None
        return super().take_fault(request)

    def error(self, code: str) -> Answer:
        """Return the answer for a scripted fault by its error number, with the rate-limit headers of the request."""
        headers = self._make_headers(self._asked.method, self._asked.path.strip("/"))
        if int(code) == TOO_MANY:
            headers["x-rate-limit-remaining"] = "0"
        return msgspec.structs.replace(make_error(int(code)).to_answer(), headers=headers)

    def _make_headers(self, method: str, endpoint: str) -> dict[str, str]:
        return {"server": "Sailthru", **self.limits.make_headers(method, endpoint, self.clock.now(), self.options)}

    def record(self, request: Request, answer: Answer | None) -> dict[str, Any]:
        """Return the journal's entry of a request, with its payload in clear text and its answer."""
        try:
            received = read_request(request)
            content: dict[str, Any] = {
                "json": read_payload(received.fields),
                **({"file": received.file.decode()} if received.file is not None else {}),
            }
        except (ApiError, ValueError):
            content = {"json": None}
        reply = answer.json if answer else None
        return {**super().record(request, answer), **content, "reply": reply}

    def state(self) -> dict[str, Any]:
        """Return everything that is stored."""
        return {
            "users": [msgspec.to_builtins(profile) for profile in self.users.profiles.values()],
            "lists": msgspec.to_builtins(self.lists.all),
            "events": self.events,
            "purchases": self.purchases,
            "jobs": msgspec.to_builtins(list(self.jobs.all.values())),
            "flow_entries": msgspec.to_builtins(self.users.flow_entries),
        }

    def seed(self, data: dict[str, Any]) -> None:
        """Store ``lists`` (payloads of POST /list) and ``users`` (payloads of POST /user, perhaps with a ``sid``)."""
        try:
            for one in data.get("lists", []):
                self.lists.post(one, self.clock.now(), self.options)
            for one in data.get("users", []):
                if "sid" in one:
                    self.users.create(*read_key({**one, "key": "email"}), self.clock.now(), one["sid"])
                self.users.post({**one, "key": "email"}, self.clock.now(), self.options, flows=False)
        except ApiError as error:
            raise ValueError(error.message) from None
        self._save_state("POST", float("-inf"))

    def configure(self, options: dict[str, Any]) -> None:
        """Change options. Raises ValueError for an unknown option or a wrong value."""
        self.options = msgspec.convert({**msgspec.to_builtins(self.options), **options}, Options)
        self.latency_ms = self.options.latency_ms

    def reset(self) -> None:
        """Forget everything but the options."""
        super().reset()
        self._clear()
