"""Streamer's error codes, and what a client may conclude from each."""

from __future__ import annotations

_ABOUT = {  # code -> may be tried again, the work surely did not happen, when it is sent
    "VALIDATION_ERROR": (False, True, "the message or the payload is not well formed"),
    "INVALID_ACTION": (False, True, "nobody handles the action"),
    "NOT_FOUND": (False, True, "no such request of this user"),
    "ALREADY_ENDED": (False, True, "the request to cancel has ended"),
    "UNAUTHORIZED": (False, True, "the token's time is over"),
    "FORBIDDEN": (False, True, "the token lacks the permission"),
    "DUPLICATE_REQUEST": (False, True, "the id is in use; no outcome of the request"),
    "RATE_LIMITED": (True, True, "too many messages, or too many requests in flight"),
    "SERVICE_UNAVAILABLE": (True, True, "nobody could take the request"),
    "TIMEOUT": (True, False, "the handler took longer than it may"),
    "STORAGE_ERROR": (True, False, "the store did not answer"),
    "INTERNAL_ERROR": (False, False, "the handler broke"),
    "PROCESSING_FAILED": (False, False, "the attempts are used up"),
    "CANCELLED": (False, False, "somebody cancelled the request"),
    "RESULT_TOO_LARGE": (False, False, "the result fits no message, and there is no object store"),
}
CODES = {code: meaning for code, (_, _, meaning) in _ABOUT.items()}
RETRYABLE = frozenset(code for code, (retryable, _, _) in _ABOUT.items() if retryable)
DEFINITE = frozenset(code for code, (_, definite, _) in _ABOUT.items() if definite)
