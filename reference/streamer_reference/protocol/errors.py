"""The registry of error codes, and the exceptions that carry them.

A code says who is wrong, whether asking again can help (`retryable`) and whether the work surely
did not happen (`definite`). It is decided by the type of what was raised, never by its text: a
text changes with a library's release, and a client that retries a payment on a guess pays twice.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

CODE_PATTERN = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
NO_OUTCOME = "DUPLICATE_REQUEST"  # the one error that ends no request (MSG-4)
RETRY_AFTER_MS = 1000  # what a client is told when nothing better is known


@dataclasses.dataclass(frozen=True, slots=True)
class ErrorCode:
    """One code of the registry."""

    code: str
    meaning: str
    retryable: bool
    definite: bool


_REFUSED = {"retryable": False, "definite": True}  # and would be again
_NOT_NOW = {"retryable": True, "definite": True}
_UNKNOWN = {"retryable": True, "definite": False}
_FAILED = {"retryable": False, "definite": False}
_CODES = {
    "VALIDATION_ERROR": (_REFUSED, "The message or its payload is not valid."),
    "INVALID_ACTION": (_REFUSED, "No handler is registered for this action."),
    "NOT_FOUND": (_REFUSED, "There is no such request of yours."),
    "ALREADY_ENDED": (_REFUSED, "The request has ended and cannot be changed."),
    "UNAUTHORIZED": (_REFUSED, "The token has expired; connect again with a new one."),
    "FORBIDDEN": (_REFUSED, "The token lacks the permission that this action needs."),
    "DUPLICATE_REQUEST": (_REFUSED, "A request with this id was already accepted."),
    "RATE_LIMITED": (_NOT_NOW, "Too many messages or requests in flight on this connection."),
    "SERVICE_UNAVAILABLE": (_NOT_NOW, "The service cannot take the request now."),
    "TIMEOUT": (_UNKNOWN, "The request did not end within its time limit."),
    "STORAGE_ERROR": (_UNKNOWN, "The store failed; the request may have been recorded."),
    "INTERNAL_ERROR": (_FAILED, "The handler failed."),
    "PROCESSING_FAILED": (_FAILED, "The request failed after its last attempt."),
    "CANCELLED": (_FAILED, "The request was cancelled."),
    "RESULT_TOO_LARGE": (
        _FAILED,
        "The result does not fit a message and there is no object store.",
    ),
}
ERROR_CODES = {code: ErrorCode(code, text, **kind) for code, (kind, text) in _CODES.items()}


@dataclasses.dataclass(frozen=True, slots=True)
class FieldError:
    """One bad field: a path such as `payload.start_date`, or `$` for the whole message."""

    field: str
    message: str


class StreamerError(Exception):
    """An error that a client is told, with a code of the registry or of a handler's own."""

    def __init__(
        self,
        code: str,
        message: str = "",
        details: dict[str, Any] | None = None,
        *,
        after_ms: int = RETRY_AFTER_MS,
    ) -> None:
        """`details` are JSON values that a client may see; `after_ms` is told if retryable."""
        known = ERROR_CODES.get(code)
        self.code = code
        self.message = message or (known.meaning if known else code)
        self.details = dict(details or {})
        self.retryable = known.retryable if known else False
        self.after_ms = after_ms
        super().__init__(f"{code}: {self.message}")

    def to_json(self) -> dict[str, Any]:
        """The member `error` of an error message."""
        retry: dict[str, Any] = {"retryable": self.retryable}
        if self.retryable:
            retry["after_ms"] = self.after_ms
        return {
            "code": self.code,
            "message": self.message,
            "details": self.details,
            "retry": retry,
        }


class ValidationError(StreamerError):
    """A message or payload that breaks a rule, with every bad field named."""

    def __init__(self, fields: list[FieldError], request_id: str | None = None) -> None:
        """`request_id` is the message's own id where it could be read."""
        super().__init__(
            "VALIDATION_ERROR", details={"fields": [dataclasses.asdict(bad) for bad in fields]}
        )
        self.fields = fields
        self.request_id = request_id


class HandlerError(StreamerError):
    """What a handler raises to end its request with a code of its own choosing.

    `retryable=True` asks for another attempt of a long request; when the attempts are used up the
    code is what the client gets, marked as retryable.
    """

    def __init__(
        self,
        code: str,
        message: str = "",
        details: dict[str, Any] | None = None,
        *,
        retryable: bool = False,
    ) -> None:
        """`message` and `details` are shown to the client.

        `code` must match `CODE_PATTERN`, and a client takes DUPLICATE_REQUEST for no outcome.
        """
        if not CODE_PATTERN.fullmatch(code) or code == NO_OUTCOME:
            raise ValueError(f"{code!r} is no error code for a handler")
        super().__init__(code, message, details)
        # Two questions: may the client ask again, and does the service try again by itself.
        self.another_attempt = retryable
        self.retryable = self.retryable or retryable


class RetryableError(HandlerError):
    """A failure that another attempt may cure; without a cure the outcome is PROCESSING_FAILED."""

    def __init__(self, message: str = "", details: dict[str, Any] | None = None) -> None:
        """`message` and `details` are shown to the client after the last attempt."""
        super().__init__("PROCESSING_FAILED", message, details, retryable=True)
