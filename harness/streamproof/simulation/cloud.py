"""What runs functions: processes that live and die, the stream's mapping, the schedule.

Functions behind the gateway, on the stream and on the schedule have processes that take several
invocations side by side. A worker's environment takes one at a time and is frozen in between.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any, TypeVar

from streamproof.simulation.faults import CRASHES_MAX, PAUSE_S, Faults
from streamproof.simulation.loop import Process, SimulationLoop, current_process
from streamproof.simulation.store import CLAIMABLE, Change
from streamproof.simulation.system import Program
from streamproof.simulation.trace import Trace

T = TypeVar("T")

WINDOW_S = 0.02  # what a stream's records are gathered for
REPLAYS_MAX = 10
WORKERS_MAX = 3
CRASH_KINDS = {"worker": "crash", "isolated-worker": "crash", "sweeper": "sweeper crash"}


class CrashedError(Exception):
    """The process died under an invocation."""


class Refused(Exception):  # noqa: N818 - the cloud's word
    """An invocation that was not taken."""


class Server:
    """One process with its program."""

    def __init__(self, kind: str, process: Process) -> None:
        """The program is started by the cloud."""
        self.kind = kind
        self.process = process
        self.program: Program | None = None
        self.busy = False
        self.event: dict[str, Any] | None = None
        self.invocation_id = ""
        self.waiters: list[asyncio.Future[Any]] = []


class Cloud:
    """Runs the functions of one world."""

    def __init__(
        self, loop: SimulationLoop, faults: Faults, trace: Trace, start: Callable[[str], Program]
    ) -> None:
        """`start` makes the program of a new process by its name."""
        self._loop = loop
        self._faults = faults
        self._trace = trace
        self._start = start
        self._servers: dict[str, list[Server]] = {}
        self._by_process: dict[Process, Server] = {}
        self._born = 0
        self._queues: dict[str, deque[dict[str, Any]]] = {"worker": deque()}
        self._queues["isolated-worker"] = deque()
        self._invocations = 0
        self.records_under_way = 0
        self._batch: list[dict[str, Any]] = []
        self.deaths = 0
        self._harm: ContextVar[Callable[[], None] | None] = ContextVar("harm", default=None)

    # Processes

    def server(self, kind: str, number: int = 0) -> Server:
        """The process of this kind and number, born when there is none."""
        name = f"{kind}-{number}"
        there = self._servers.setdefault(name, [])
        if not there:
            there.append(self._birth(kind))
        return there[0]

    def _birth(self, kind: str) -> Server:
        self._born += 1
        process = Process(f"{kind}-{self._born}")
        server = Server(kind, process)
        self._by_process[process] = server
        server.program = process.context.run(self._start, process.name)
        return server

    def kill(self, process: Process, why: str) -> None:
        """SIGKILL, if it lives; whoever waits for it is told."""
        if not process.alive:
            return
        self.deaths += 1
        self._loop.kill_process(process)
        self._faults.record(why, process.name)
        server = self._by_process[process]
        for name, servers in self._servers.items():
            if server in servers:
                servers.remove(server)
                if CRASH_KINDS.get(server.kind) == "crash":
                    self._loop.outside(0.05, self._dispatch, name)
        for waiter in server.waiters:
            if not waiter.done():
                waiter.set_exception(CrashedError(process.name))

    def die(self) -> None:
        """What a process that kills itself calls."""
        process = current_process()
        if process is not None:
            self.kill(process, "handler crash")

    def pause(self, process: Process, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after a while."""
        if process.stopped or not process.alive:
            return
        self._loop.stop_process(process)
        self._faults.record("pause", f"{process.name} for {seconds:.1f} s")
        self._loop.outside(seconds, self._resume, process)

    def _resume(self, process: Process) -> None:
        if process.alive:
            self._loop.continue_process(process)

    def at_call(self) -> str | None:
        """A process is about to reach out: it may die or stop here. How, when it dies."""
        process = current_process()
        if process is None:
            return None
        if not process.alive:
            return "dead"
        server = self._by_process[process]
        kind = CRASH_KINDS.get(server.kind, "router crash")
        faults = self._faults
        if faults.hits(kind) and faults.count(kind) < CRASHES_MAX:
            self.harm()
            self.kill(process, kind)
            return faults.choose("before", "after")
        if kind == "crash" and faults.hits("pause"):
            self.pause(process, faults.between(*PAUSE_S))
        return None

    def here_alive(self) -> bool:
        """Whether who calls can still do anything; the world can."""
        process = current_process()
        return process is None or process.alive

    def here(self) -> str:
        """The name of the process that calls."""
        process = current_process()
        return "world" if process is None else process.name

    def harm(self) -> None:
        """The answer of the invocation that runs here may be lost."""
        harm = self._harm.get()
        if harm is not None:
            harm()

    # Invocations

    async def invoke(
        self,
        server: Server,
        call: Callable[[Program], Coroutine[Any, Any, T]],
        harm: Callable[[], None] | None = None,
    ) -> T:
        """Run a function and wait for its answer; `CrashedError` when its process dies."""
        process, program = server.process, server.program
        assert program is not None  # noqa: S101 - every server is born with one
        waiter: asyncio.Future[T] = self._loop.create_future()
        server.waiters.append(waiter)
        context = process.context.copy()
        context.run(self._harm.set, harm)
        task = self._loop.create_task(call(program), context=context)

        def done(_: asyncio.Future[Any]) -> None:
            if waiter.done():
                return
            error = task.exception()
            if error is None:
                waiter.set_result(task.result())
            else:
                waiter.set_exception(error)

        task.add_done_callback(done, context=self._loop.world)
        try:
            return await waiter
        finally:
            server.waiters.remove(waiter)

    def invoke_later(self, function: str, event: dict[str, Any]) -> None:
        """An asynchronous invocation, from inside a process; `Refused` when it is not taken."""
        if self.at_call() is not None:
            return
        if self._faults.strikes("invocation refused", function):
            raise Refused(function)
        times = 2 if self._faults.strikes("invocation doubled", function) else 1
        for number in range(times):
            delay_s = self._faults.between(0.001, 0.02) + number * self._faults.between(0, 4)
            self._loop.outside(delay_s, self._enqueue, function, event)

    def _enqueue(self, function: str, event: dict[str, Any]) -> None:
        self._queues[function].append(event)
        self._dispatch(function)

    def _dispatch(self, name: str) -> None:
        """Give what is queued to environments that are free, or new ones."""
        queue, servers = self._queues[name], self._servers.setdefault(name, [])
        while queue:
            free = next((server for server in servers if not server.busy), None)
            if free is None:
                if len(servers) >= WORKERS_MAX:
                    return
                free = self._birth(name)
                servers.append(free)
            free.busy = True
            event = queue.popleft()
            self._loop.go(self._work(name, free, event))

    async def _work(self, name: str, server: Server, event: dict[str, Any]) -> None:
        self._invocations += 1
        invocation_id = f"invocation-{self._invocations}"
        self._loop.continue_process(server.process)
        try:
            await self.invoke(server, lambda program: program.worker(event, invocation_id))
        except CrashedError:
            self._tell(invocation_id, event)
            return
        except Exception as error:  # noqa: BLE001 - what a function raises is a failed invocation
            self._trace.add("failed", server.process.name, repr(error))
            self._trace.classes["failed worker invocation"] += 1
            self._tell(invocation_id, event)
        self._loop.stop_process(server.process)  # frozen until its next event
        server.busy = False
        self._dispatch(name)

    def _tell(self, invocation_id: str, event: dict[str, Any]) -> None:
        """The destination of failed invocations; at times nobody saw the process die."""
        if self._faults.strikes("death untold", invocation_id):
            return
        failure = {"requestContext": {"requestId": invocation_id}, "requestPayload": event}
        self._loop.outside(self._faults.between(0.01, 0.3), self._sweep_for, failure)

    def _sweep_for(self, event: dict[str, Any]) -> None:
        self._loop.go(self.sweep(event))

    async def sweep(self, event: dict[str, Any], number: int = 0) -> None:
        """One invocation of the sweeper."""
        server = self.server("sweeper", number)
        try:
            await self.invoke(server, lambda program: program.sweeper(event))
        except CrashedError:
            return
        except Exception as error:  # noqa: BLE001 - the next one is a second away
            self._trace.add("failed", server.process.name, repr(error))
            self._trace.classes["failed sweep"] += 1

    @property
    def idle(self) -> bool:
        """Whether no worker runs and nothing is queued for one."""
        if any(self._queues.values()) or self.records_under_way:
            return False
        return not any(
            server.busy
            for name in ("worker", "isolated-worker")
            for server in self._servers.get(name, ())
        )

    # The stream

    def change(self, change: Change) -> None:
        """A record of the requests' stream, at its mapping's filter."""
        if change.new is None or change.new["status"] not in CLAIMABLE:
            return
        faults = self._faults
        delay_s = faults.between(0.001, 0.03)
        if faults.strikes("record late", change.key):
            delay_s += faults.between(0.2, 12.0)
        record = _record(change)
        if faults.strikes("record unreadable", change.key):
            record["dynamodb"]["NewImage"].pop("status")
        self._bring(delay_s, record)
        if faults.strikes("record duplicated", change.key):
            self._bring(delay_s + faults.between(0, 0.05), record)
        if faults.strikes("record replayed", change.key):
            self._bring(delay_s + faults.between(0.5, 20.0), record)

    def _bring(self, delay_s: float, record: dict[str, Any]) -> None:
        self.records_under_way += 1
        self._loop.outside(delay_s, self._gather, record)

    def _gather(self, record: dict[str, Any]) -> None:
        """What arrives within a few milliseconds is one batch."""
        if not self._batch:
            self._loop.outside(self._faults.between(0, WINDOW_S), self._flush)
        self._batch.append(record)

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        self._process(batch, 0)

    def _process(self, records: list[dict[str, Any]], attempts: int) -> None:
        self._loop.go(self._processed(records, attempts))

    async def _processed(self, records: list[dict[str, Any]], attempts: int) -> None:
        server = self.server("processor")
        try:
            await self.invoke(server, lambda program: program.processor({"Records": records}))
        except Exception as error:  # noqa: BLE001 - any failure brings the batch again
            self._trace.add("failed", server.process.name, repr(error))
            self._trace.classes["failed processor"] += 1
            if attempts < REPLAYS_MAX:
                pause_s = 0.5 * 1.5**attempts
                self._loop.outside(pause_s, self._process, records, attempts + 1)
                return
        self.records_under_way -= len(records)


def _record(change: Change) -> dict[str, Any]:
    """As Lambda shows it: texts are S, numbers are N and written as texts."""
    image = {
        name: {"S": value} if isinstance(value, str) else {"N": str(value)}
        for name, value in (change.new or {}).items()
    }
    return {
        "eventName": "MODIFY",
        "dynamodb": {"Keys": {"key": {"S": change.key}}, "NewImage": image},
    }
