"""All actors of one request together, and what happens to everybody at once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

from streamproof.model.actors import Canceller, Router, Sweeper, delivering, lapsed
from streamproof.model.mutants import Mutant
from streamproof.model.sending import SEND, Sending, name, step
from streamproof.model.state import (
    DEAD,
    LATE,
    PAUSED,
    UP,
    WORKERS,
    Budget,
    Move,
    Options,
    Request,
    World,
)
from streamproof.model.store import OUTCOMES, Store, Table, receive
from streamproof.model.workers import Worker

Part = tuple[object, ...]
Moves = Callable[[], Iterator[Move]]
PLACES = ("router", "sweeper", "canceller", "worker_1", "worker_2")


class Event(NamedTuple):
    """What happens to all requests at once."""

    label: str
    world: World
    worker: int  # whose process ends; 0 for none
    cost: str = ""


class Protocol:
    """The transition function: what one request can do, and what can happen to all."""

    def __init__(
        self, table: Table, options: Options, mutants: frozenset[Mutant] = frozenset()
    ) -> None:
        """`table` is {status: {event: status}}, the implementation's own."""
        self.options = options
        store = Store(table, mutants)
        self._sending = Sending(store, options, mutants)
        self._router = Router(self._sending)
        self._canceller = Canceller(self._sending)
        self._worker = Worker(self._sending)
        self._sweeper = Sweeper(self._sending)

    def start(self) -> Request:
        """A request that its client has not sent yet."""
        return Request(cancels=self.options.cancels)

    def moves(self, request: Request, world: World) -> Iterator[Move]:
        """What can happen to this request alone."""
        for _, moves in self.parts(request, world):
            yield from moves()

    def parts(self, request: Request, world: World) -> Iterator[tuple[Part, Moves]]:
        """The same by actor; what an actor can do depends on the request and the part's name only.

        So a caller may keep it by them: the whole world would be too much to keep it by.
        """
        connected = world.connected
        yield (connected,), lambda: self._tidied(self._front(request, world))
        for worker in WORKERS:
            if (how := world.worker(worker)) != PAUSED:
                moves = functools.partial(self._of_worker, request, world, worker)
                yield (connected, worker, how), moves
        seen = (connected, lapsed(request, world), delivering(request, world))
        yield (*seen, "sweeper"), lambda: self._tidied(self._sweeper.moves(request, world))

    def _of_worker(self, request: Request, world: World, worker: int) -> Iterator[Move]:
        return self._tidied(self._worker.moves(request, world, worker))

    def _front(self, request: Request, world: World) -> Iterator[Move]:
        yield from self._router.moves(request, world)
        yield from self._canceller.moves(request, world)
        if request.wire is not None and world.connected:
            message, without = request.wire, request._replace(wire=None)
            move = step(f"{name(message)} arrives after all", lambda: receive(without, message))
            yield move._replace(fair=False)

    def _tidied(self, moves: Iterator[Move]) -> Iterator[Move]:
        return (move._replace(after=self._tidy(move.after)) for move in moves)

    def _tidy(self, request: Request) -> Request:
        """Without what can make no difference any more, so that equal futures are equal states.

        A record or an invocation of a request that does not wait is refused by the claim, and what
        makes it wait again makes a record again; after a death only an invocation alone can claim.
        A task that only sends the outcome learns nothing by posting what the client has already.
        A late post that the client would drop as a repeat is as good as lost.
        """
        if request.status not in self._sending.store.claimable:
            request = request._replace(together=False, alone=False)
        elif request.deaths:
            request = request._replace(together=False)
        wire, client = request.wire, request.client
        if client is None or self.options.prompt:
            return request
        if wire is not None and (wire == client or wire.number < client.number):
            request = request._replace(wire=None)
        for place in PLACES:
            task = getattr(request, place)
            if task is None or task.where != SEND or task.taken:
                continue
            if task.message == client or task.message.number < client.number:
                request = request._replace(**{place: task._replace(taken=True)})
        return request

    def events(self, world: World) -> Iterator[Event]:
        """What can happen to all requests at once."""
        for worker in WORKERS:
            how, who = world.worker(worker), f"worker {worker}"
            if how == UP:
                paused = world.with_worker(worker, PAUSED)
                yield Event(f"{who} is paused past its lease", paused, 0, "pauses")
            elif how == PAUSED:
                yield Event(f"{who} goes on", world.with_worker(worker, LATE), 0)
            else:
                yield Event(f"{who} renews its lease", world.with_worker(worker, UP), 0)
            fresh = world.with_worker(worker, UP)
            yield Event(f"{who} dies; another takes its place", fresh, worker, "crashes")
        if world.connected:
            yield Event("the connection ends", world._replace(connected=False), 0, "disconnects")

    def struck(self, request: Request, event: Event) -> Iterator[Request]:
        """What the event makes of one request: an invocation that its worker had may be lost."""
        if not event.worker:
            yield request
            return
        after = request.with_worker(event.worker, None)
        if after.holder == event.worker:
            after = after._replace(holder=DEAD)
        yield after
        if after.together:
            yield after._replace(together=False)
        if after.alone:
            yield after._replace(alone=False)

    def unearned(self, request: Request, faults: Budget) -> str:
        """The invariant that looks at the faults so far: who holds a lease keeps its requests."""
        if request.deaths > faults.crashes + faults.pauses:
            return "only a worker without a lease is taken over from (RECOV-1)"
        return ""

    def settled(self, request: Request, world: World) -> bool:
        """Whether nothing more is owed to the client: it has its outcome, or it is gone."""
        if request.client is None and request.message is None:
            return request.router is None
        if request.status not in OUTCOMES:
            return False
        return not world.connected or (
            request.client is not None and request.client.kind == "outcome"
        )
