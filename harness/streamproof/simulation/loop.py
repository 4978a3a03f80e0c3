"""Virtual time for a world of processes: an event loop that can stop or kill what runs in one.

Each callback belongs to a process, which it inherits from whoever scheduled it. One that is stopped
runs nothing until it is continued (SIGSTOP), and its timers fire late then. One that was killed
runs nothing ever again, not even its `finally` blocks (SIGKILL). The clock jumps to the next timer
when nothing is ready; when there is none either, nothing can ever happen again: `DeadlockError`.

It is a loop of its own, without sockets, signals and threads: one order of things per seed, and a
fraction of the time that a real loop takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

STEPS_MAX = 400_000  # callbacks of one world; more is a loop that never waits


class DeadlockError(Exception):
    """Every task waits, and nothing is left that could wake one."""


class Process:
    """What is stopped and killed together; the environment of a function, in Lambda's words."""

    __slots__ = ("alive", "context", "name", "stash", "stopped")

    def __init__(self, name: str) -> None:
        """It lives and runs until it is told otherwise."""
        self.name = name
        self.alive = True
        self.stopped = False
        self.stash: list[_Handle] = []  # what became ready while it was stopped
        self.context = contextvars.copy_context()
        self.context.run(_PROCESS.set, self)


_PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


def current_process() -> Process | None:
    """The process that is running; None for the world around all processes."""
    return _PROCESS.get()


class _Handle(asyncio.TimerHandle):
    """A callback with its context; lighter than asyncio's own."""

    __slots__ = ("callback", "context", "done", "due_s", "values")

    def __init__(
        self,
        callback: Callable[..., object],
        values: tuple[Any, ...],
        context: contextvars.Context,
        due_s: float = 0.0,
    ) -> None:
        self.callback = callback
        self.values = values
        self.context = context
        self.due_s = due_s
        self.done = False

    def cancel(self) -> None:
        """Never run it."""
        self.done = True

    def cancelled(self) -> bool:
        """Whether it will never run."""
        return self.done

    def when(self) -> float:
        """The moment it is due, in the loop's seconds."""
        return self.due_s


def _own(context: contextvars.Context | None) -> contextvars.Context:
    """The context to run in; an empty one, such as the world's, is false but there."""
    return contextvars.copy_context() if context is None else context


class SimulationLoop(asyncio.AbstractEventLoop):
    """A loop on virtual seconds that begin at 0; `run` a coroutine, then throw it away."""

    def __init__(self) -> None:
        """The context of whoever makes it is the world's, which no process owns."""
        self._ready: deque[_Handle] = deque()
        self._timers: list[tuple[float, int, _Handle]] = []
        self._now_s = 0.0
        self._number = 0
        self._tasks: list[asyncio.Task[Any]] = []
        self._failure: BaseException | None = None
        self.world = contextvars.copy_context()
        self.steps = 0

    def time(self) -> float:
        """Virtual seconds."""
        return self._now_s

    def get_debug(self) -> bool:
        """Never: tracebacks of every await would cost more than the world."""
        return False

    def is_running(self) -> bool:
        """A loop that can be reached is running."""
        return True

    def is_closed(self) -> bool:
        """It has nothing to close."""
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """An exception that nobody looked at: what it broke is seen in the history."""

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]  # typeshed's has the keywords of later versions
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Any = None
    ) -> asyncio.Task[T]:
        """A task in the current process, or in the one that `context` belongs to."""
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        # Held until the end: when a dead process's tasks are collected must not matter.
        self._tasks.append(task)
        return task

    def call_soon(  # type: ignore[override]  # a handle of our own
        self, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> _Handle:
        """Run it after what is ready already."""
        handle = _Handle(callback, args, _own(context))
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]  # there are no threads

    def call_at(  # type: ignore[override]  # a handle of our own
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> _Handle:
        """Run it at a moment; equal moments keep their order."""
        handle = _Handle(callback, args, _own(context), when)
        self._number += 1
        heapq.heappush(self._timers, (when, self._number, handle))
        return handle

    def call_later(  # type: ignore[override]  # a handle of our own
        self, delay: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> _Handle:
        """Run it after so many seconds."""
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def outside(self, delay_s: float, callback: Callable[..., object], *values: Any) -> None:
        """Run it later in the world, whatever becomes of the process that asked for it."""
        self.call_at(self._now_s + delay_s, callback, *values, context=self.world)

    def run_in_executor(  # type: ignore[override]  # typeshed spells the variadic differently
        self, executor: object, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Run it at once: there are no threads here."""
        del executor
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - it is whoever awaits it that must see it
            future.set_exception(error)
        return future

    # Processes

    def go(self, coro: Coroutine[Any, Any, object]) -> None:
        """Begin a task in the world; what it raises ends the run."""
        task = self.create_task(coro, context=self.world)
        task.add_done_callback(self._gone, context=self.world)

    def _gone(self, task: asyncio.Task[object]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = error

    async def pass_time(self, seconds: float) -> None:
        """Wait in the world."""
        moment = self.create_future()
        self.outside(seconds, moment.set_result, None)
        await moment

    def stop_process(self, process: Process) -> None:
        """SIGSTOP."""
        process.stopped = True

    def continue_process(self, process: Process) -> None:
        """SIGCONT: what became ready meanwhile runs, in its order."""
        process.stopped = False
        self._ready.extend(process.stash)
        process.stash = []

    def kill_process(self, process: Process) -> None:
        """SIGKILL."""
        process.alive = False
        process.stash = []

    # The run

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run the world to its end and return or raise what comes out of it."""
        asyncio._set_running_loop(self)
        try:
            task = self.create_task(main, context=self.world)
            while not task.done():
                self._turn()
                if self._failure is not None:
                    raise self._failure
            return task.result()
        finally:
            asyncio._set_running_loop(None)
            self._bury()

    def _turn(self) -> None:
        ready, timers = self._ready, self._timers
        if not ready:
            if not timers:
                raise DeadlockError("every task waits, and no timer is set")
            self._now_s = max(self._now_s, timers[0][0])
        while timers and timers[0][0] <= self._now_s:
            ready.append(heapq.heappop(timers)[2])
        self.steps += len(ready)
        if self.steps > STEPS_MAX:
            raise DeadlockError(f"{STEPS_MAX:,} steps, and no end")
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle.done:
                continue
            context = handle.context
            process = context.get(_PROCESS)
            if process is not None:
                if not process.alive:
                    continue
                if process.stopped:
                    process.stash.append(handle)
                    continue
            handle.done = True
            context.run(handle.callback, *handle.values)

    def _bury(self) -> None:
        """Let go of what never ended, without a word."""
        for task in self._tasks:
            if task.done():
                if not task.cancelled():
                    task.exception()
                continue
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # a killed task is no mistake
            with contextlib.suppress(BaseException):  # what a dead process says is not heard
                task.get_coro().close()
        self._tasks.clear()
        self._ready.clear()
        self._timers.clear()
