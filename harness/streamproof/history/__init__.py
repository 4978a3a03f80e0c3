"""Recording what went over the wire, and judging it."""

from streamproof.history.checker import HistoryChecker, RequestHistory, Violation
from streamproof.history.recorder import Recorder, check, read, without_tokens

__all__ = [
    "HistoryChecker",
    "Recorder",
    "RequestHistory",
    "Violation",
    "check",
    "read",
    "without_tokens",
]
