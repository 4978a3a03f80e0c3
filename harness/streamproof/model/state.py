"""What one request consists of in the model, and what two requests share.

A request is its row and outbox in the store, the tasks that work for it, what is on its way, and
what its client has. All values are tuples of small values, so that millions of them can be hashed.
Some members (`top`, `client`) exist in no implementation: they are what the invariants look at.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

NONE = "NONE"  # the status of a request that is not stored

ACKNOWLEDGMENT, PROGRESS, OUTCOME = "acknowledgment", "progress", "outcome"

UP, PAUSED, LATE = "up", "paused", "late"  # LATE runs again, and has not renewed its lease yet
NOBODY, DEAD = 0, -1  # holders that are no worker; workers are 1 and 2

ROUTER, SWEEPER, CANCELLER = "router", "sweeper", "canceller"
REFUSAL = "refusal"  # the author of an error that answers a request which is not stored
WORKERS = (1, 2)


class Message(NamedTuple):
    """One message; two are the same bytes when they are equal."""

    number: int
    kind: str
    author: str  # who composed it: two authors never write the same bytes, for the time differs


class Task(NamedTuple):
    """One task that works for a request: where it is, and what it believes."""

    where: str
    attempt: int  # the fencing token it was given
    message: Message  # the last message that it knows of
    taken: bool  # whether it knows that the client has it
    author: str = ""  # whose name is on the outcome that it numbers
    reported: bool = False  # of a worker's attempt: its handler has reported


class Request(NamedTuple):
    """One request, everywhere."""

    sent: bool = False  # the client sends a request once
    status: str = NONE
    attempt: int = 1
    deaths: int = 0
    failures: int = 0
    holder: int = NOBODY
    message: Message | None = None  # the outbox: the last message stored
    taken: bool = False
    top: int = -1  # the highest number ever stored
    together: bool = False  # handed over: a record of the stream, or an invocation, is under way
    alone: bool = False  # the same, for an invocation that runs nothing else
    router: Task | None = None
    sweeper: Task | None = None
    canceller: Task | None = None
    worker_1: Task | None = None
    worker_2: Task | None = None
    cancels: int = 0  # how often its client may still cancel it
    wire: Message | None = None  # a post without an answer, which may still arrive
    client: Message | None = None  # the last message that the client applied

    def of_worker(self, worker: int) -> Task | None:
        """The attempt that this worker runs."""
        return self.worker_1 if worker == 1 else self.worker_2

    def with_worker(self, worker: int, task: Task | None) -> Request:
        """The same with another task of this worker."""
        return self._replace(worker_1=task) if worker == 1 else self._replace(worker_2=task)


class Budget(NamedTuple):
    """How many faults may still happen, of each kind, to all requests together."""

    crashes: int = 0
    pauses: int = 0
    duplicates: int = 0
    losses: int = 0
    answers: int = 0  # writes to the store whose answer is lost, made or not
    disconnects: int = 0


class World(NamedTuple):
    """What requests share."""

    worker_1: str = UP
    worker_2: str = UP
    connected: bool = True

    def worker(self, worker: int) -> str:
        """How this worker is."""
        return self.worker_1 if worker == 1 else self.worker_2

    def with_worker(self, worker: int, how: str) -> World:
        """The same with another state of this worker."""
        return self._replace(worker_1=how) if worker == 1 else self._replace(worker_2=how)


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """The size of a model; `prompt` leaves out what only slowness causes."""

    budget: Budget
    deaths_max: int = 3
    failures_max: int = 0
    cancels: int = 0
    progress: bool = True
    prompt: bool = False


class Move(NamedTuple):
    """One step that a request can take by itself."""

    label: str
    after: Request
    cost: str = ""  # the fault that it takes from the budget
    fair: bool = True  # whether it happens in the end when it stays possible
    broken: str = ""  # the invariant that it breaks
