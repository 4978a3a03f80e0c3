"""A circuit breaker as a table: it stops asking a peer that fails, and tries again later.

Only what a peer did wrong counts. A throttle, a message too large or a caller that gave up say
nothing about the connection (`INCONCLUSIVE`): they neither open the circuit nor close it.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

FAILURES_MAX = 3  # sends in a row that failed after their retries, SEND-2
OPEN_S = 30.0  # until one send is let through, SEND-2


class State(enum.StrEnum):
    """Whether sends pass."""

    CLOSED = "closed"
    OPEN = "open"
    TRIAL = "trial"  # one send is on its way, the others are refused


class Event(enum.StrEnum):
    """What moves it."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    FAILED_TOO_OFTEN = "failed too often"
    INCONCLUSIVE = "inconclusive"
    TRIED = "tried"


TRANSITIONS: dict[State, dict[Event, State]] = {
    State.CLOSED: {
        Event.SUCCEEDED: State.CLOSED,
        Event.FAILED: State.CLOSED,
        Event.FAILED_TOO_OFTEN: State.OPEN,
        Event.INCONCLUSIVE: State.CLOSED,
    },
    State.OPEN: {Event.TRIED: State.TRIAL},
    State.TRIAL: {
        Event.SUCCEEDED: State.CLOSED,
        Event.FAILED_TOO_OFTEN: State.OPEN,
        Event.INCONCLUSIVE: State.OPEN,  # with the old moment: the next send is a trial again
    },
}


@dataclasses.dataclass(frozen=True, slots=True)
class Circuit:
    """One circuit; moments are seconds on one monotonic clock."""

    state: State = State.CLOSED
    failures: int = 0  # in a row
    opened_at_s: float = 0.0

    def admits(self, now_s: float) -> bool:
        """Whether a send may be tried now; one that is must begin with `begin`."""
        if self.state is State.OPEN:
            return now_s - self.opened_at_s >= OPEN_S
        return self.state is State.CLOSED

    def begin(self) -> Circuit:
        """The circuit while an admitted send is on its way; it must end in one of the others."""
        return self._move(Event.TRIED) if self.state is State.OPEN else self

    def succeeded(self) -> Circuit:
        """After the peer took what was sent."""
        return self if self == CLOSED else self._move(Event.SUCCEEDED, failures=0, opened_at_s=0.0)

    def failed(self, now_s: float) -> Circuit:
        """After a 5xx or no answer, retries included."""
        failures = self.failures + 1
        if failures < FAILURES_MAX:
            return self._move(Event.FAILED, failures=failures)
        return self._move(Event.FAILED_TOO_OFTEN, failures=failures, opened_at_s=now_s)

    def inconclusive(self) -> Circuit:
        """After anything that says nothing about the peer's health."""
        return self._move(Event.INCONCLUSIVE)

    def _move(self, event: Event, **changes: Any) -> Circuit:
        state = TRANSITIONS[self.state][event]  # a KeyError is a send that was not admitted
        return dataclasses.replace(self, state=state, **changes)


CLOSED = Circuit()
