"""What can go wrong with one post to a connection, split by who is wrong.

SendError
    CallerError             we asked for something impossible; never repeated
        BadRequestError     400: the id is none
        ForbiddenError      403: the signature or the permission
        PayloadTooLargeError  413
    GoneError               410: the client is no longer connected; never repeated
    ThrottledError          429: too fast, or the client does not read; repeated
    ServiceError            5xx: repeated
    NetworkError
        NotSentError        nothing left this machine: repeated
        NoAnswerError       it may have been delivered: repeated where a repeat does no harm
    NotTriedError           this process did not try
        CircuitOpenError    the connection failed too often; tried again later
        QueueFullError      too many sends wait for this connection, or this one waited too long
        ManagerClosedError  this process is stopping
"""

from __future__ import annotations


class SendError(Exception):
    """The root. `status` is the HTTP status, None when there was no answer."""

    retryable = False  # whether the same post may succeed later
    peer_failed = False  # whether the circuit counts it
    may_have_arrived = False

    def __init__(self, message: str = "", status: int | None = None) -> None:
        """`message` holds no payload and no credential, so it can be logged."""
        super().__init__(message or type(self).__name__)
        self.status = status


class CallerError(SendError):
    """The request itself was refused, and would be again."""


class BadRequestError(CallerError):
    """400: not a connection id."""


class ForbiddenError(CallerError):
    """403: wrong credentials, clock or stage, or a missing permission."""


class PayloadTooLargeError(CallerError):
    """413: over 131,072 bytes."""


class GoneError(SendError):
    """410: the connection does not exist, or no longer."""


class ThrottledError(SendError):
    """429: over the rate, or the client's buffer is full."""

    retryable = True


class ServiceError(SendError):
    """5xx: the service failed."""

    retryable = True
    peer_failed = True


class NetworkError(SendError):
    """No answer came."""

    retryable = True
    peer_failed = True


class NotSentError(NetworkError):
    """No connection could be had, so nothing was sent."""


class NoAnswerError(NetworkError):
    """The request was written, and no answer came: it may have been delivered."""

    may_have_arrived = True


class NotTriedError(SendError):
    """The manager did not make a call."""


class CircuitOpenError(NotTriedError):
    """The circuit of this connection is open."""


class QueueFullError(NotTriedError):
    """Its turn did not come: sends to this connection are slower than they are asked for."""


class ManagerClosedError(NotTriedError):
    """The manager was closed before it came to this send."""


_BY_STATUS: dict[int, type[SendError]] = {
    400: BadRequestError,
    403: ForbiddenError,
    410: GoneError,
    413: PayloadTooLargeError,
    429: ThrottledError,
}


def error_for(status: int) -> SendError:
    """The error that an answer with this status (not 2xx) stands for."""
    kind = _BY_STATUS.get(status, ServiceError if status >= 500 else CallerError)
    return kind(f"the management endpoint answered {status}", status)
