"""Errors as the fake SessionM answers them."""

from __future__ import annotations

from typing import Literal

from gateway.testing import Answer

Transport = Literal["documented", "all200", "strict"]

STATUSES: dict[str, tuple[int, int, int]] = {
    "user_not_found": (404, 200, 404),
    "requires_registered_user": (404, 200, 404),
    "access_denied": (401, 401, 401),
    "invalid_api_key": (200, 200, 401),
    "validation": (200, 200, 422),
    "missing_data": (200, 200, 422),
    "argument_error": (200, 200, 422),
    "not_found": (200, 200, 422),
    "internal_server_error": (500, 200, 500),
    "rate_limited": (429, 429, 429),
}
"""The status of each code by transport: documented, all200, strict. A code that is not listed comes with 200."""

TRANSPORTS: tuple[Transport, ...] = ("documented", "all200", "strict")


class ApiError(Exception):
    """An error of the API, answered to the client; ``code`` is SessionM's name of it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    def to_answer(self, transport: Transport, headers: dict[str, str] | None = None) -> Answer:
        """Return the answer that carries the error."""
        status = STATUSES.get(self.code, (200, 200, 200))[TRANSPORTS.index(transport)]
        body = {"status": "error", "errors": {"code": self.code, "message": str(self)}}
        return Answer(status=status, json=body, headers=headers or {}, note={"error": self.code})
