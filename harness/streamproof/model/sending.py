"""Posting, and the end of a request that somebody else ended: what every actor shares.

A task that has called `send_outcome` is in `SEND`: it posts what is under way, numbers the outcome
on the condition that nobody else did, posts it, and notes that it was taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from streamproof.model.mutants import Mutant
from streamproof.model.state import OUTCOME, Message, Move, Options, Request, Task, World
from streamproof.model.store import BrokenError, Store, receive

LOOK, SEND = "look", "send"

Put = Callable[[Request, Task | None], Request]  # the request with another task of that actor


class Sending:
    """What the actors do to reach the client, as moves."""

    def __init__(self, store: Store, options: Options, mutants: frozenset[Mutant]) -> None:
        """One of each for all actors."""
        self.store = store
        self.options = options
        self.mutants = mutants

    def post(
        self, who: str, request: Request, world: World, answered: Task, put: Put, unanswered: Task
    ) -> Iterator[Move]:
        """Post the task's message: the task with an answer, and without one."""
        message = answered.message
        after = put(request, answered)
        if not world.connected:
            yield Move(f"{who} posts {name(message)}: the connection is gone", after)
            return
        yield step(f"{who} posts {name(message)}", lambda: self._reach(after, message))
        if request.wire is None:
            lost = put(request, unanswered)._replace(wire=message)
            yield Move(f"{who} posts {name(message)}, without an answer", lost, "losses", False)

    def _reach(self, request: Request, message: Message) -> Request:
        last = request.client
        if self.options.prompt and last is not None and message.number <= last.number:
            raise BrokenError("a run without faults has no repeats (MSG-4)")
        return receive(request, message)

    def write(
        self,
        label: str,
        write: Callable[[], Request | None],
        done: Callable[[Request], Request],
        refused: Callable[[], Request],
        failed: Callable[[Request], Request],
        unchanged: Request,
    ) -> Iterator[Move]:
        """A conditional write: made, refused, or with its answer lost, made or not."""

        def made() -> Request:
            after = write()
            return refused() if after is None else done(after)

        def answer_lost() -> Request:
            after = write()
            return failed(unchanged if after is None else after)

        yield step(label, made)
        yield step(f"{label}, and the answer is lost", answer_lost, "answers")
        yield step(f"{label}, and the store fails", lambda: failed(unchanged), "answers")

    def look(
        self, who: str, author: str, request: Request, known: Task, put: Put
    ) -> Iterator[Move]:
        """Read the request, and go on to send its outcome when that is still to be numbered."""
        yield Move(f"{who} reads the request", self.begin(author, request, known, put))

    def begin(self, author: str, request: Request, known: Task, put: Put) -> Request:
        """`send_outcome` of the request as it is now; `known` is what the task knows by itself."""
        message = request.message
        if message is None or not self.store.ended(request):
            return put(request, None)
        taken = request.taken or (known.taken and known.message.number == message.number)
        if taken and message.kind == OUTCOME:
            return put(request, None)
        return put(request, Task(SEND, 0, message, taken, author))

    def send(
        self, who: str, request: Request, world: World, task: Task, put: Put
    ) -> Iterator[Move]:
        """One step of `send_outcome`."""
        gone = put(request, None)
        if task.taken and request.wire is None:  # it was a repeat: see `Protocol.tidy`
            yield Move(f"{who} posts again without an answer, and gives up", gone, "losses", False)
        if not task.taken:
            once = Mutant.FORGET_OUTCOME in self.mutants and task.message.kind == OUTCOME
            unanswered = task._replace(taken=True) if once else task
            for move in self.post(who, request, world, task._replace(taken=True), put, unanswered):
                yield move
                if move.cost:  # its time may be over by then
                    yield move._replace(
                        label=f"{move.label}, and gives up", after=put(move.after, None)
                    )
        elif task.message.kind == OUTCOME:
            noted = self.store.taken(gone, task.message.number)
            yield Move(f"{who} notes that {name(task.message)} is taken", noted)
            yield Move(f"{who} cannot note that", gone, "answers", False)
        else:
            yield from self.close(who, task.author, request, task, put)

    def close(
        self, who: str, author: str, request: Request, task: Task, put: Put
    ) -> Iterator[Move]:
        """Number the outcome after the message that was taken."""
        message = Message(task.message.number + 1, OUTCOME, author)
        gone = put(request, None)
        numbered = task._replace(message=message, taken=False)
        yield from self.write(
            f"{who} numbers the outcome: {name(message)}",
            lambda: self.store.close(request, message),
            lambda after: put(after, numbered),
            lambda: gone,
            lambda after: put(after, None),
            request,
        )


def step(label: str, make: Callable[[], Request], cost: str = "") -> Move:
    """A move whose making may break an invariant."""
    try:
        return Move(label, make(), cost, not cost)
    except BrokenError as broken:
        return Move(label, Request(), cost, not cost, str(broken))


def name(message: Message) -> str:
    """A message, for a reader."""
    return f"{message.number} ({message.kind} by {message.author})"
