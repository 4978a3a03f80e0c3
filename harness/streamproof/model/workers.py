"""A worker: claims a request, runs one attempt, numbers, stores, posts, and lets go.

An attempt is two tasks of the code, the handler and the pump that sends its progress; here they are
one `Task` whose steps interleave freely. What the code bounds in time (the drain before an outcome,
the delivery after it) may end at any moment, since a post may take as long as it likes.
"""

from __future__ import annotations

from collections.abc import Iterator

from streamproof.model.mutants import Mutant
from streamproof.model.sending import SEND, Put, Sending, name, step
from streamproof.model.state import (
    NONE,
    OUTCOME,
    PROGRESS,
    UP,
    Message,
    Move,
    Request,
    Task,
    World,
)
from streamproof.model.store import ACCEPTED, PROCESSING

RUN, POSTED, LET_GO = "run", "posted", "let go"


class Worker:
    """What both workers do for one request."""

    def __init__(self, sending: Sending) -> None:
        """Of one model."""
        self._sending = sending
        self._store = sending.store
        self._options = sending.options
        self._mutants = sending.mutants

    def moves(self, request: Request, world: World, worker: int) -> Iterator[Move]:
        """What this worker, which is not paused, can do next."""
        task = request.of_worker(worker)
        if task is None:
            yield from self._claims(request, world, worker)
            yield from self._forgotten(request, world, worker)
        else:
            yield from self._works(request, world, worker, task)

    def _claims(self, request: Request, world: World, worker: int) -> Iterator[Move]:
        who = f"worker {worker}"
        if world.worker(worker) == UP:  # an invocation begins by renewing the lease
            if request.together:
                yield from self._claim(
                    f"{who} is invoked", request._replace(together=False), worker, False
                )
            if request.alone:
                yield from self._claim(
                    f"{who} is invoked alone", request._replace(alone=False), worker, True
                )
        if request.status in self._store.claimable and not request.deaths:
            for move in self._claim(f"{who} has a free slot", request, worker, False):
                yield move._replace(fair=False)
        yield from self._claimed_again(request, worker)

    def _forgotten(self, request: Request, world: World, worker: int) -> Iterator[Move]:
        """A renewal finds what its worker holds and does not run: another attempt will."""
        held = request.status == PROCESSING and request.holder == worker
        if held and world.worker(worker) == UP and Mutant.HOLD_FORGOTTEN not in self._mutants:
            after = self._store.retry(request, request.attempt, request.failures, False)
            if after is not None:
                yield Move(f"worker {worker} finds that it holds what it does not run", after)

    def _claim(self, why: str, request: Request, worker: int, alone: bool) -> Iterator[Move]:
        """Claim it, and begin an attempt."""
        put = _put(worker)

        def done(after: Request) -> Request:
            message = after.message
            assert message is not None, "what is claimed is stored"  # noqa: S101 - the model's own
            taken = after.taken or Mutant.NO_REPOST in self._mutants
            return put(after, Task(RUN, after.attempt, message, taken))

        yield from self._sending.write(
            f"{why} and claims it",
            lambda: self._store.claim(request, worker, alone=alone),
            done,
            lambda: request,
            lambda after: after,
            request,
        )

    def _claimed_again(self, request: Request, worker: int) -> Iterator[Move]:
        """A record's second delivery; one of a request that waits is no other than the first."""
        if request.status in (NONE, ACCEPTED) or request.status in self._store.claimable:
            return
        label = f"worker {worker} is invoked by a record's second delivery"
        put = _put(worker)

        def again() -> Request:
            after = self._store.claim(request, worker, alone=True)
            if after is None or after.message is None:
                return request
            return put(after, Task(RUN, after.attempt, after.message, after.taken))

        move = step(label, again, "duplicates")
        if move.broken or move.after != request:
            yield move

    def _works(self, request: Request, world: World, worker: int, task: Task) -> Iterator[Move]:
        who, put = f"worker {worker}", _put(worker)
        if task.where in (RUN, POSTED):
            yield from self._pump(who, request, world, task, put)
            if task.where == RUN and (task.taken or not self._options.prompt):
                yield from self._end(who, request, world, worker, task)
        elif task.where == LET_GO:
            yield from self._let_go(who, request, task, put)
        else:
            yield from self._sending.send(who, request, world, task, put)

    def _pump(
        self, who: str, request: Request, world: World, task: Task, put: Put
    ) -> Iterator[Move]:
        """Send the last stored message; then number and store what was reported."""
        post_first = Mutant.POST_FIRST in self._mutants
        if task.where == POSTED or (post_first and task.taken and not task.reported):
            yield from self._post_first(who, request, world, task, put)
        elif not task.taken:
            answered = task._replace(taken=True)
            yield from self._sending.post(who, request, world, answered, put, task)
        elif not task.reported and self._options.progress:
            message = Message(task.message.number + 1, PROGRESS, _author(task))
            stored = task._replace(message=message, taken=False, reported=True)
            ignored = Mutant.FENCING_IGNORED in self._mutants
            yield from self._sending.write(
                f"{who}: the handler reports; it stores {name(message)}",
                lambda: self._store.save_progress(request, task.attempt, message),
                lambda after: put(after, stored),
                lambda: put(request, stored) if ignored else self._lost(request, task, put),
                lambda after: put(after, _letting_go(task)._replace(taken=False)),
                request,
            )

    def _post_first(
        self, who: str, request: Request, world: World, task: Task, put: Put
    ) -> Iterator[Move]:
        """The mutant: the number is taken after the post."""
        message = Message(task.message.number + 1, PROGRESS, _author(task))
        if task.where == RUN:
            posted = task._replace(where=POSTED, message=message)
            yield from self._sending.post(who, request, world, posted, put, task)
            return
        after = self._store.save_progress(request, task.attempt, task.message)
        stored = task._replace(where=RUN, reported=True)
        lost = self._lost(request, task, put)
        yield Move(
            f"{who} stores {name(task.message)}", lost if after is None else put(after, stored)
        )

    def _end(
        self, who: str, request: Request, world: World, worker: int, task: Task
    ) -> Iterator[Move]:
        """The handler ends, and the pump has drained or its time is over.

        The end is a step of the handler alone, which nobody sees; so it is taken together with the
        write that follows it. The same holds of a report, which waits while the pump posts.
        """
        put = _put(worker)
        yield from self._finish(who, request, task, put)
        if request.failures < self._options.failures_max:
            taken = task.taken or Mutant.RETRY_ASSUMES_TAKEN in self._mutants
            failures = request.failures + 1
            for move in self._retry(who, request, task, failures, taken, put):
                yield move._replace(fair=False)
        told = self._store.ended(request) and not self._store.closed(request)
        if told and request.holder == worker and world.worker(worker) == UP:
            cut = self._lost(request, task, put)
            yield Move(f"{who} renews its lease, learns that it ended, and stops", cut)

    def _finish(self, who: str, request: Request, task: Task, put: Put) -> Iterator[Move]:
        """Store the outcome, numbered when what went before was taken; then deliver it."""
        letting_go = _letting_go(task)
        tail = Task(SEND, 0, task.message, False, _author(task))
        message = None
        if task.taken or Mutant.OUTCOME_JUMPS in self._mutants:
            message = Message(task.message.number + 1, OUTCOME, _author(task))
            tail = tail._replace(message=message)
        yield from self._sending.write(
            f"{who} stores the outcome, {name(message) if message else 'without a number'}",
            lambda: self._store.finish(request, task.attempt, "completed", message),
            lambda after: put(after, tail),
            lambda: self._lost(request, task, put),
            lambda after: put(after, letting_go),
            request,
        )

    def _let_go(self, who: str, request: Request, task: Task, put: Put) -> Iterator[Move]:
        """After a write whose answer was lost: read what became of the request."""
        if request.attempt == task.attempt and request.status == PROCESSING:
            yield from self._retry(who, request, task, request.failures, task.taken, put)
        else:
            yield Move(f"{who} reads what became of it", self._lost(request, task, put))
        yield Move(
            f"{who} cannot reach the store, and gives up", put(request, None), "answers", False
        )

    def _lost(self, request: Request, task: Task, put: Put) -> Request:
        """After a write that was refused: stop, or send the outcome that others recorded.

        The write would be refused at the moment of the read too, so both are one step.
        """
        if request.attempt != task.attempt:
            return put(request, None)
        if request.status == PROCESSING:
            return put(request, _letting_go(task))
        return self._sending.begin(_author(task), request, task, put)

    def _retry(
        self, who: str, request: Request, task: Task, failures: int, taken: bool, put: Put
    ) -> Iterator[Move]:
        letting_go = _letting_go(task)
        yield from self._sending.write(
            f"{who} leaves it to another attempt, {'taken' if taken else 'not taken'}",
            lambda: self._store.retry(request, task.attempt, failures, taken),
            lambda after: put(after, None),
            lambda: self._lost(request, task, put),
            lambda after: put(after, letting_go),
            request,
        )


def _author(task: Task) -> str:
    return f"attempt {task.attempt}"


def _letting_go(task: Task) -> Task:
    return task._replace(where=LET_GO, reported=False)


def _put(worker: int) -> Put:
    return lambda request, task: request.with_worker(worker, task)
