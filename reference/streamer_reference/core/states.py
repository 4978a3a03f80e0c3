"""The life of a long request, as a table.

ACCEPTED is stored together with its acknowledgment; once that was posted the request is PENDING
and the stream hands it over. PROCESSING belongs to the worker that claimed it; RETRYING waits for
another attempt. The last three never change: a second outcome has no transition to come from.
"""

from __future__ import annotations

import enum


class Status(enum.StrEnum):
    """Where a long request is."""

    ACCEPTED = "ACCEPTED"
    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    RETRYING = "RETRYING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class Event(enum.StrEnum):
    """What moves it."""

    ACKNOWLEDGED = "acknowledged"  # the acknowledgment was posted, or is overdue
    CLAIMED = "claimed"  # a worker holds it
    RETRIED = "retried"  # an attempt failed, or its worker is gone
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


_CANCEL_OR_FAIL = {Event.CANCELLED: Status.CANCELLED, Event.FAILED: Status.FAILED}

TRANSITIONS: dict[Status, dict[Event, Status]] = {
    Status.ACCEPTED: {Event.ACKNOWLEDGED: Status.PENDING, **_CANCEL_OR_FAIL},
    Status.PENDING: {Event.CLAIMED: Status.PROCESSING, **_CANCEL_OR_FAIL},
    Status.PROCESSING: {
        Event.RETRIED: Status.RETRYING,
        Event.COMPLETED: Status.COMPLETED,
        **_CANCEL_OR_FAIL,
    },
    Status.RETRYING: {Event.CLAIMED: Status.PROCESSING, **_CANCEL_OR_FAIL},
    Status.COMPLETED: {},
    Status.FAILED: {},
    Status.CANCELLED: {},
}

TERMINAL = frozenset(status for status, moves in TRANSITIONS.items() if not moves)
CLAIMABLE = frozenset(s for s, moves in TRANSITIONS.items() if Event.CLAIMED in moves)


class TransitionError(Exception):
    """The table has no such move: whoever asked acts on an old view and must stop."""


def move(status: Status, event: Event) -> Status:
    """The status after `event`; raises `TransitionError` when the table has none."""
    try:
        return TRANSITIONS[status][event]
    except KeyError:
        raise TransitionError(f"a request that is {status} cannot be {event}") from None


def sources(event: Event) -> tuple[Status, ...]:
    """The statuses that `event` can move from: the condition of the store's write."""
    return tuple(status for status, moves in TRANSITIONS.items() if event in moves)
