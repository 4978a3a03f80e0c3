"""The router, the sweeper and the canceller: everybody who works for a request but a worker."""

from __future__ import annotations

from collections.abc import Iterator

from streamproof.model.mutants import Mutant
from streamproof.model.sending import LOOK, SEND, Put, Sending
from streamproof.model.state import (
    ACKNOWLEDGMENT,
    CANCELLER,
    DEAD,
    NOBODY,
    OUTCOME,
    PAUSED,
    REFUSAL,
    ROUTER,
    SWEEPER,
    UP,
    WORKERS,
    Message,
    Move,
    Request,
    Task,
    World,
)
from streamproof.model.store import ACCEPTED, PROCESSING

POST, NOTE, REFUSE, ORPHAN = "post", "note", "refuse", "orphan"
THE_ACKNOWLEDGMENT = Message(0, ACKNOWLEDGMENT, ROUTER)


def lapsed(request: Request, world: World) -> bool:
    """Whether nobody with a lease holds the request."""
    return request.holder in (NOBODY, DEAD) or world.worker(request.holder) != UP


class Router:
    """Stores the request with its acknowledgment, posts that, and lets the stream have it."""

    def __init__(self, sending: Sending) -> None:
        """Of one model."""
        self._sending = sending
        self._store = sending.store
        self._mutants = sending.mutants

    def moves(self, request: Request, world: World) -> Iterator[Move]:
        """What the router can do next."""
        task = request.router
        if task is None:
            if not request.sent and world.connected:
                yield from self._arrive(request._replace(sent=True))
            return
        yield Move("the router's process ends", _routed(request, None), "crashes", False)
        if task.where == POST:
            noting = task._replace(where=NOTE)
            answered = noting._replace(taken=True)
            yield from self._sending.post(ROUTER, request, world, answered, _routed, noting)
        elif task.where == REFUSE:
            yield from self._sending.post(
                ROUTER, request, world, task, lambda after, _: _routed(after, None), task
            )
        elif task.where == NOTE:
            yield from self._note(request, task)
        else:
            yield from self._sending.send(ROUTER, request, world, task, _routed)

    def _arrive(self, request: Request) -> Iterator[Move]:
        task = Task(POST, 0, THE_ACKNOWLEDGMENT, False)
        if Mutant.ACKNOWLEDGE_FIRST in self._mutants:
            yield Move("the client sends the request", _routed(request, task))
            return
        stored = self._store.accept(request, THE_ACKNOWLEDGMENT)
        yield Move("the router stores the request", _routed(stored, task))
        unsure = task
        if Mutant.REFUSE_UNCERTAIN in self._mutants:
            unsure = Task(REFUSE, 0, Message(0, OUTCOME, REFUSAL), True)
        yield Move(
            "the router stores the request, and the answer is lost",
            _routed(stored, unsure),
            "answers",
            False,
        )

    def _note(self, request: Request, task: Task) -> Iterator[Move]:
        taken = task.taken or Mutant.ASSUME_ACKNOWLEDGED in self._mutants
        yield from self._sending.write(
            f"the router makes it PENDING, {'taken' if taken else 'not taken'}",
            lambda: self._store.acknowledged(request, taken),
            lambda after: _routed(after, None),
            lambda: self._refused(request, task),
            lambda after: _routed(after, None),
            request,
        )

    def _refused(self, request: Request, task: Task) -> Request:
        """`send_cancelled`, which reads the request; the write would be refused at that moment too.

        So write and read are one step here: the router may as well have made the write later.
        """
        if self._store.closed(request):
            return _routed(request, None)
        repeats = Mutant.REPEAT_AFTER_CANCEL in self._mutants
        known = task._replace(taken=task.taken and not repeats)
        return self._sending.begin(ROUTER, request, known, _routed)


class Sweeper:
    """Finds what only time can find; it looks first, and acts on what it saw."""

    def __init__(self, sending: Sending) -> None:
        """Of one model."""
        self._sending = sending
        self._store = sending.store
        self._options = sending.options
        self._mutants = sending.mutants

    def moves(self, request: Request, world: World) -> Iterator[Move]:
        """What the sweeper can do next; one sweep at a time."""
        task = request.sweeper
        if task is not None:
            yield Move("the sweeper's process ends", _swept(request, None), "crashes", False)
            if task.where == ORPHAN:
                yield from self._orphan(request, task)
            elif task.where == LOOK:
                yield from self._sending.look(SWEEPER, SWEEPER, request, task, _swept)
            else:
                yield from self._sending.send(SWEEPER, request, world, task, _swept)
            return
        if request.message is None:
            return
        if request.status == PROCESSING:
            yield from self._find_orphan(request, world, request.message)
        elif self._store.ended(request):
            yield from self._find_outcome(request, world, request.message)
        else:
            yield from self._find_overdue(request)

    def _find_orphan(self, request: Request, world: World, message: Message) -> Iterator[Move]:
        ignore = Mutant.IGNORE_LEASES in self._mutants
        if (lapsed(request, world) or ignore) and Mutant.NO_ORPHANS not in self._mutants:
            last = request.deaths + 1 >= self._options.deaths_max
            seen = Task(ORPHAN, request.attempt, message, request.taken)
            if not last:  # it takes back whatever the outbox holds
                seen = Task(ORPHAN, request.attempt, THE_ACKNOWLEDGMENT, False)
            yield Move("the sweeper finds that its holder has no lease", _swept(request, seen))

    def _find_outcome(self, request: Request, world: World, message: Message) -> Iterator[Move]:
        seen = Task(SEND, 0, message, request.taken, SWEEPER)
        if not self._store.closed(request):
            # Found after 30 s at the latest: by then who holds it has stopped, or is paused.
            waits = not lapsed(request, world) and request.of_worker(request.holder) is not None
            if self._options.prompt:
                waits = waits or request.router is not None or request.canceller is not None
            if Mutant.NO_UNNUMBERED not in self._mutants and not waits:
                yield Move("the sweeper finds an outcome without a number", _swept(request, seen))
            return
        waits = request.taken or self._options.prompt or delivering(request, world)
        if Mutant.FORGET_OUTCOME not in self._mutants and not waits:
            yield Move("the sweeper finds an outcome that is not taken", _swept(request, seen))

    def _find_overdue(self, request: Request) -> Iterator[Move]:
        if self._options.prompt:
            return
        if request.status == ACCEPTED:
            if Mutant.NO_STUCK_ACCEPTED not in self._mutants:
                after = self._store.acknowledged(request, request.taken)
                if after is not None:
                    yield Move("the sweeper makes it PENDING: it is overdue", after)
        elif Mutant.NO_OVERDUE not in self._mutants:
            over = (
                request._replace(alone=True) if request.deaths else request._replace(together=True)
            )
            if over != request:
                yield Move("the sweeper hands it over again: it is overdue", over)

    def _orphan(self, request: Request, task: Task) -> Iterator[Move]:
        """Take it back, or give it up; `task` is what the sweep had read."""
        none = _swept(request, None)
        if request.deaths + 1 < self._options.deaths_max:
            yield from self._sending.write(
                "the sweeper takes it back: one death more",
                lambda: self._store.take_back(request, task.attempt),
                lambda after: _swept(after, None),
                lambda: none,
                lambda after: _swept(after, None),
                request,
            )
            return
        number = task.message.number + 1
        message = Message(number, OUTCOME, SWEEPER) if task.taken else None
        yield from self._sending.write(
            f"the sweeper gives it up: FAILED, {'numbered' if message else 'without a number'}",
            lambda: self._store.finish(request, task.attempt, "failed", message),
            lambda after: _swept(after, task._replace(where=LOOK)),
            lambda: none,
            lambda after: _swept(after, None),
            request,
        )


class Canceller:
    """Ends a request for its client, and sends the outcome when nobody else does."""

    def __init__(self, sending: Sending) -> None:
        """Of one model."""
        self._sending = sending
        self._store = sending.store
        self._mutants = sending.mutants

    def moves(self, request: Request, world: World) -> Iterator[Move]:
        """What the canceller can do next."""
        task = request.canceller
        if task is None:
            if request.cancels and request.message is not None:
                yield from self._end(request._replace(cancels=request.cancels - 1), request.message)
            return
        yield Move("the canceller's process ends", _cancelled(request, None), "crashes", False)
        if task.where == LOOK:
            yield from _look(self._sending, CANCELLER, request, task, _cancelled)
        else:
            yield from self._sending.send(CANCELLER, request, world, task, _cancelled)

    def _end(self, request: Request, message: Message) -> Iterator[Move]:
        if not self._store.can(request, "cancelled"):
            return
        jumps = Mutant.CANCEL_NUMBERS in self._mutants
        nobody = request.status in self._store.claimable
        looking = Task(LOOK, 0, message, False)

        def end() -> Request | None:
            after = self._store.end(request, "cancelled")
            if after is not None and jumps and request.status == PROCESSING:
                outcome = Message(message.number + 1, OUTCOME, CANCELLER)
                return self._store.number(after, outcome)
            return after

        def done(after: Request) -> Request:
            if jumps and after.message is not None and self._store.closed(after):
                return _cancelled(after, Task(SEND, 0, after.message, False, CANCELLER))
            return _cancelled(after, looking if nobody else None)

        for move in self._sending.write(
            f"the canceller makes it CANCELLED (it was {request.status})",
            end,
            done,
            lambda: request,
            lambda after: _cancelled(after, None),
            request,
        ):
            yield move._replace(fair=False)


def delivering(request: Request, world: World) -> bool:
    """Whether somebody is sending it who is not paused: both take 10 s at most."""
    tasks = [request.router, request.canceller]
    tasks += [request.of_worker(w) for w in WORKERS if world.worker(w) != PAUSED]
    return any(task is not None and task.where == SEND for task in tasks)


def _look(sending: Sending, who: str, request: Request, task: Task, put: Put) -> Iterator[Move]:
    """`send_cancelled`: read the request, and stop when its outcome has a number."""
    if sending.store.closed(request):
        yield Move(f"the {who} finds the outcome numbered", put(request, None))
    else:
        yield from sending.look(f"the {who}", who, request, task._replace(taken=False), put)


def _routed(request: Request, task: Task | None) -> Request:
    return request._replace(router=task)


def _swept(request: Request, task: Task | None) -> Request:
    return request._replace(sweeper=task)


def _cancelled(request: Request, task: Task | None) -> Request:
    return request._replace(canceller=task)
