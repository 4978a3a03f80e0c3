"""The writes of the store, each one conditional step, and what its invariants are.

Every function answers the request afterwards, or None when its condition failed and nothing
changed. The statuses move as the implementation's own table says.
"""

from __future__ import annotations

from collections.abc import Mapping

from streamproof.model.mutants import Mutant
from streamproof.model.state import (
    ACKNOWLEDGMENT,
    NOBODY,
    NONE,
    OUTCOME,
    REFUSAL,
    Message,
    Request,
)

Table = Mapping[str, Mapping[str, str]]

# The conditions of the reference's writes name these two; everything else is read from the table.
ACCEPTED, PROCESSING = "ACCEPTED", "PROCESSING"
OUTCOMES = frozenset({"COMPLETED", "FAILED", "CANCELLED"})  # contract, section 3; no table's word


class BrokenError(Exception):
    """A step broke an invariant; its text is the invariant."""


class Store:
    """Conditional writes over the implementation's table."""

    def __init__(self, table: Table, mutants: frozenset[Mutant]) -> None:
        """`table` is {status: {event: status}}."""
        self._table = {str(s): {str(e): str(t) for e, t in to.items()} for s, to in table.items()}
        self._mutants = mutants
        self.terminal = frozenset(s for s, moves in self._table.items() if not moves)
        self.claimable = frozenset(s for s, moves in self._table.items() if "claimed" in moves)

    def accept(self, request: Request, message: Message) -> Request:
        """Store the request with its acknowledgment."""
        stored = request._replace(status=ACCEPTED, message=message, top=0)
        if Mutant.PENDING_FIRST in self._mutants:
            pending = self._moved(stored, "acknowledged")
            return stored if pending is None else pending._replace(together=True, taken=True)
        return stored

    def acknowledged(self, request: Request, taken: bool) -> Request | None:
        """ACCEPTED becomes PENDING, and the stream has a record."""
        moved = self._moved(request, "acknowledged")
        return None if moved is None else moved._replace(taken=taken, together=True)

    def claim(self, request: Request, worker: int, *, alone: bool) -> Request | None:
        """What waits becomes PROCESSING; after a death only for a worker that runs it alone."""
        if request.deaths and not alone:
            return None
        if Mutant.CLAIM_ANYTHING in self._mutants and request.status not in (NONE, ACCEPTED):
            return self._become(request, PROCESSING)._replace(holder=worker)
        moved = self._moved(request, "claimed")
        return None if moved is None else moved._replace(holder=worker)

    def save_progress(self, request: Request, attempt: int, message: Message) -> Request | None:
        """Take the next number, as the holder."""
        held = self._held(request, attempt)
        if not held and Mutant.UNFENCED_PROGRESS not in self._mutants:
            return None
        after = self.number(request, message)
        if after is not None and not held:
            raise BrokenError("a fenced attempt stores nothing (ASYNC-3)")
        return after

    def finish(
        self, request: Request, attempt: int, event: str, message: Message | None
    ) -> Request | None:
        """Record the outcome, as the holder; numbered when a message is given."""
        held = self._held(request, attempt)
        if not held and Mutant.UNFENCED_FINISH not in self._mutants:
            return None
        after = request if message is None else self.number(request, message)
        if after is None:
            return None
        if not held:
            if request.status in self.terminal:
                raise BrokenError("a terminal status never changes (ASYNC-3)")
            raise BrokenError("a fenced attempt stores nothing (ASYNC-3)")
        return self._moved(after, event)

    def retry(self, request: Request, attempt: int, failures: int, taken: bool) -> Request | None:
        """PROCESSING becomes RETRYING, with the next attempt."""
        if not self._held(request, attempt):
            return None
        moved = self._moved(request, "retried")
        if moved is None:
            return None
        return self._released(moved)._replace(failures=failures, taken=moved.taken or taken)

    def take_back(self, request: Request, attempt: int) -> Request | None:
        """The same, from outside: its worker is gone."""
        if not self._held(request, attempt):
            return None
        moved = self._moved(request, "retried")
        if moved is None:
            return None
        after = self._released(moved._replace(deaths=moved.deaths + 1))
        if Mutant.TAKEOVER_KEEPS_ATTEMPT in self._mutants:
            after = after._replace(attempt=attempt)
        if Mutant.RESET_NUMBERS in self._mutants and after.message is not None:
            after = after._replace(message=after.message._replace(number=0))
        return after

    def can(self, request: Request, event: str) -> bool:
        """Whether the table has this move."""
        return event in self._table.get(request.status, {})

    def end(self, request: Request, event: str) -> Request | None:
        """End it from outside, whoever holds it; the outcome has no number yet."""
        return self._moved(request, event)

    def close(self, request: Request, message: Message) -> Request | None:
        """Number the outcome of a request that has ended."""
        return self.number(request, message)

    def number(self, request: Request, message: Message) -> Request | None:
        """Give a message the next number, unless another message has it, or the outcome is out."""
        last = request.message
        assert last is not None, "a stored request has a message"  # noqa: S101 - the model's own
        anything = Mutant.CLOSE_ANYTHING in self._mutants and message.kind == OUTCOME
        if not anything and (last.number != message.number - 1 or last.kind == OUTCOME):
            return None
        if message.number <= request.top:
            raise BrokenError("one number never has two contents (MSG-4)")
        return request._replace(message=message, taken=False, top=message.number)

    def taken(self, request: Request, number: int) -> Request:
        """The client has the message of this number, or is gone."""
        same = request.message is not None and request.message.number == number
        return request._replace(taken=True) if same else request

    def ended(self, request: Request) -> bool:
        """Whether the status is terminal."""
        return request.status in self.terminal

    def closed(self, request: Request) -> bool:
        """Whether the outcome has its number."""
        return request.message is not None and request.message.kind == OUTCOME

    def _held(self, request: Request, attempt: int) -> bool:
        return request.status == PROCESSING and request.attempt == attempt

    def _moved(self, request: Request, event: str) -> Request | None:
        status = self._table.get(request.status, {}).get(event)
        return None if status is None else self._become(request, status)

    def _become(self, request: Request, status: str) -> Request:
        if request.status in OUTCOMES and status != request.status:
            raise BrokenError("a terminal status never changes (ASYNC-3)")
        return request._replace(status=status)

    def _released(self, request: Request) -> Request:
        """Without a holder, and on the stream again."""
        after = request._replace(attempt=request.attempt + 1, holder=NOBODY)
        return after._replace(alone=True) if after.deaths else after._replace(together=True)


def receive(request: Request, message: Message) -> Request:
    """The client gets a message: it drops a repeat, and judges everything else."""
    last = request.client
    if request.status == NONE:
        raise BrokenError("what is acknowledged is stored (ASYNC-1)")
    if message.number > request.top:
        raise BrokenError("a number is given by storing its message (MSG-4)")
    if last is None:
        if message.kind != ACKNOWLEDGMENT and message.author != REFUSAL:
            raise BrokenError("the acknowledgment comes first (ASYNC-2)")
    elif message.number <= last.number:
        if message.number == last.number and message != last:
            raise BrokenError("one number never has two contents (MSG-4)")
        return request
    elif last.kind == OUTCOME:
        raise BrokenError("nothing new comes after the outcome (ASYNC-2)")
    elif message.kind == ACKNOWLEDGMENT:
        raise BrokenError("there is one acknowledgment at most (section 8)")
    elif message.number != last.number + 1:
        raise BrokenError("the numbers have no gap (MSG-4)")
    return request._replace(client=message)
