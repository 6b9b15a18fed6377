"""Errors as the fake Sailthru answers them."""

from __future__ import annotations

from gateway.testing import Answer

STATUS = {
    1: 405,
    3: 401,
    4: 403,
    5: 401,
    9: 500,
    12: 404,
    13: 404,
    14: 404,
    15: 404,
    21: 403,
    22: 403,
    41: 403,
    43: 429,
}
MESSAGES = {
    3: "Invalid API key",
    4: "Disallowed IP",
    5: "Signature hash does not match",
    9: "Internal error",
    11: "Invalid email",
    15: "Unknown list",
    43: "Too many requests this minute",
}


class ApiError(Exception):
    """An error of the API, answered to the client: status, error number and message."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    def to_answer(self) -> Answer:
        """Return the answer that carries the error; its body has just the two keys that the official client needs."""
        body = {"error": self.code, "errormsg": self.message}
        return Answer(status=self.status, json=body, note={"error": self.code})


def make_error(code: int) -> ApiError:
    """Return the error with this number, with the status that it most often has."""
    return ApiError(STATUS.get(code, 400), code, MESSAGES.get(code, f"Error {code}"))


def missing_parameter(parameter: str) -> ApiError:
    """Return the error for a parameter that was left out."""
    return ApiError(400, 2, f"Missing required parameter: {parameter}")
