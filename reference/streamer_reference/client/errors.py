"""What a request can end with instead of a result.

ClientError
    RequestFailedError    the server answered with an error
    ConnectionLostError   the answer is unknown: it may or may not have run
    UnreachableError      no connection, or none again within the time for it
        TokenRefusedError   the server wants another token
    ClientClosedError     this client was closed
"""

from __future__ import annotations

from typing import Any

FIELDS_SHOWN_MAX = 10  # in the error's text; `details` has them all


class ClientError(Exception):
    """The root."""


class RequestFailedError(ClientError):
    """The server's `error`: `code` is of the registry, or a handler's own."""

    def __init__(self, error: dict[str, Any]) -> None:
        """`error` is that member of the message; what is missing in it gets a default."""
        self.code = str(error["code"])
        self.message = str(error.get("message", ""))
        self.details: dict[str, Any] = error.get("details", {})
        self.retryable = bool(error.get("retry", {}).get("retryable", False))
        self.after_ms = int(error.get("retry", {}).get("after_ms") or 1000)  # when it is retryable
        super().__init__(f"{self.code}: {self.message}{self._bad_fields()}")

    def _bad_fields(self) -> str:
        """What a VALIDATION_ERROR says of each field, for who reads the error and not its code."""
        is_named = self.code == "VALIDATION_ERROR" and isinstance(self.details, dict)
        fields = self.details.get("fields") if is_named else None
        listed = fields if isinstance(fields, list) else []
        bad = [f"{f.get('field')} {f.get('message')}" for f in listed if isinstance(f, dict)]
        return f" ({'; '.join(bad[:FIELDS_SHOWN_MAX])})" if bad else ""


class ConnectionLostError(ClientError):
    """The connection broke before a request that the server does not keep was answered."""


class UnreachableError(ClientError):
    """The server cannot be reached, or refuses connections."""


class TokenRefusedError(UnreachableError):
    """The handshake was refused: `status` is 401 (the token) or 403 (the tenant, the origin)."""

    def __init__(self, status: int) -> None:
        """The token itself is not in the message."""
        self.status = status
        super().__init__(f"the server refused the token with handshake status {status}")


class ClientClosedError(ClientError):
    """The client was closed, or not yet entered."""
