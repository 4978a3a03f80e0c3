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

from streamer_reference.protocol.errors import ERROR_CODES


class ClientError(Exception):
    """The root. `definite` says that the work surely did not happen."""

    definite = False


class RequestFailedError(ClientError):
    """The server's `error`: `code` is of the registry, or a handler's own."""

    def __init__(self, error: dict[str, Any]) -> None:
        """`error` is that member of the message; what is missing in it gets a default."""
        retry = error.get("retry") or {}
        self.code = str(error.get("code"))
        self.message = str(error.get("message", ""))
        self.details: dict[str, Any] = error.get("details") or {}
        self.retryable = bool(retry.get("retryable", False))
        self.after_ms: int | None = retry.get("after_ms")
        self.definite = self.code in ERROR_CODES and ERROR_CODES[self.code].definite
        super().__init__(f"{self.code}: {self.message}")


class ConnectionLostError(ClientError):
    """The connection broke before a request that the server does not keep was answered."""


class UnreachableError(ClientError):
    """The server cannot be reached, or refuses connections."""


class TokenRefusedError(UnreachableError):
    """The handshake was refused: `status` is 401 (the token) or 403 (the tenant, the origin)."""

    def __init__(self, status: int) -> None:
        """The token itself is not in the message."""
        self.status = status
        reason = "is missing, invalid or expired" if status == 401 else "is not allowed here"
        super().__init__(f"the token {reason} (handshake status {status})")


class ClientClosedError(ClientError):
    """The client was closed, or not yet entered."""
