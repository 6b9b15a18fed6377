"""The vendors: the plugins' own fakes, which keep a list of what reached them and misbehave as a schedule says."""

from __future__ import annotations

import re
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

from crash.schedules import CUSTOMERS_OWN, Misbehaviour

from gateway.testing import Answer, FakeVendor, Request
from gateway.testing.vendor import Action
from gateway_sailthru.fake import FakeSailthru
from gateway_sessionm.fake import FakeSessionM

EVENT = re.compile(r"k(\d+)-\d\d-\d")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a gateway is given to keep secret: mParticle's header, and what both vendors know it by."""

    authorization: str = field(default_factory=lambda: f"Token test-{token_hex(12)}")
    key: str = field(default_factory=lambda: f"test-key-{token_hex(12)}")
    secret: str = field(default_factory=lambda: f"test-secret-{token_hex(12)}")

    def secrets(self) -> tuple[str, ...]:
        """Everything that nobody may ever read, as it is sent too."""
        pair = b64encode(f"{self.key}:{self.secret}".encode()).decode()
        return self.authorization, self.key, self.secret, pair, CUSTOMERS_OWN


@dataclass(frozen=True, slots=True)
class Sent:
    """An event that reached a vendor. ``well``: it was taken, or turned down for good; no fault spoilt the answer."""

    user: int
    key: str
    well: bool


class Chaotic(FakeVendor):
    """What both have in common. ``on_call`` hears of every call before it takes effect.

    A stray gateway may still be calling whoever had this port before: what comes without the key is hung up on.
    """

    api_error = ""
    key: str

    def prepare(self, misbehaviours: Sequence[Misbehaviour], latency_ms: float, on_call: Callable[[], None]) -> None:
        """Get ready for a schedule."""
        self.calls = 0
        self.sent: list[Sent] = []
        self._due = [[one.nth, one.times, one.action] for one in misbehaviours]
        self._on_call = on_call
        self._present = Action()
        self.configure({"latency_ms": latency_ms})

    def take_fault(self, request: Request) -> Action | None:
        """The misbehaviour that is due."""
        self._present = Action()
        if self.key not in f"{request.path}{request.query}{request.body.decode()}":
            return Action(close=True)
        self._on_call()
        self.calls += 1
        for due in self._due:
            nth, times, action = due
            if nth <= self.calls and times > 0:
                due[1] -= 1
                self._present = self._made(**action)
                break
        return self._present

    def _made(self, *, storm: bool = False, error: bool = False, **action: Any) -> Action:
        if storm:
            return Action(status=429, headers=self.later())
        return Action(status=200, body=self.api_error) if error else Action(**action)

    def later(self) -> dict[str, str]:
        """How "too many requests" says when to come again: in a moment."""
        raise NotImplementedError

    def record(self, request: Request, answer: Answer | None) -> dict[str, Any]:
        """Keep the events of a request; the journal is of no use here."""
        if answer is None and self._present == Action():
            return {}
        well = self._present == Action() and answer is not None and self.settles(answer)
        text = request.body.decode()
        if "Taken" in text or "Unheard" in text or "Private" in text:
            self.sent += [Sent(int(found[1]), found[0], well) for found in EVENT.finditer(text)]
        return {}

    def settles(self, answer: Answer) -> bool:
        """Whether an answer is the last word on an event."""
        raise NotImplementedError

    def last_of(self, user: int) -> str | None:
        """The attribute ``n`` that the vendor has of a user."""
        raise NotImplementedError


class Loyalty(Chaotic, FakeSessionM):
    """SessionM, which knows one event. It says "unknown user" where an event must be sent again later."""

    api_error = '{"status": "error", "errors": {"code": "internal_server_error"}}'

    def __init__(self, given: Credentials) -> None:
        self.key = given.key
        super().__init__(
            events=["Taken"],
            undefined_attribute="accept",
            undefined_event="reject",
            apps={given.key: given.secret},
        )

    def later(self) -> dict[str, str]:
        """In seconds."""
        return {"retry-after": "0.03"}

    def settles(self, answer: Answer) -> bool:
        """Anything but that nobody is known by that id."""
        return b"user_not_found" not in answer.content()[0]

    def last_of(self, user: int) -> str | None:
        """By MPID, which this plugin makes an external id."""
        person = self.users.find_by_external_id(str(user))
        return None if person is None else person.profile.get("n")


class Email(Chaotic, FakeSailthru):
    """Sailthru, which takes any event."""

    api_error = '{"error": 9, "errormsg": "Internal Error"}'

    def __init__(self, given: Credentials) -> None:
        self.key = given.key
        super().__init__(api_key=given.key, api_secret=given.secret)

    def later(self) -> dict[str, str]:
        """As the end of the minute, in Unix time. One that has passed already would be worth a whole minute."""
        return {"x-rate-limit-reset": str(time.time() + 0.5)}

    def settles(self, answer: Answer) -> bool:
        """Nothing is turned down here."""
        return answer.status == 200

    def last_of(self, user: int) -> str | None:
        """By e-mail address."""
        person = self.users.find("email", f"u{user}@example.com")
        return None if person is None else person.vars.get("n")


def vendors(given: Credentials) -> dict[str, Chaotic]:
    """One for each connection."""
    return {"email": Email(given), "loyalty": Loyalty(given)}
